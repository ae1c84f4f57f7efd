"""The profile of a step: its table and picture, and that its figures add up."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from torch.autograd import DeviceType

from studies.profile_step import device_operations, device_parts, main


@pytest.mark.slow
def test_the_profile(tmp_path):
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--quick", "--steps", "1", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "profile-step.json").read_text())
    assert [one["case"].split(",")[0] for one in record["profiles"]] == ["best", "best", "paper", "paper"]
    for one in record["profiles"]:
        assert sum(one["operations"].values()) == pytest.approx(one["ms"])
        assert one["parts"]["generator"] > one["parts"]["draw"] > 0
        assert (one["parts"]["critic"] > 0) == one["case"].startswith("paper")
    assert "### best" in (tmp_path / "profile-step.md").read_text()
    assert (tmp_path / "profile-step.png").read_bytes().startswith(b"\x89PNG")


def call(name, start, end, *kernels, annotation=False):
    return SimpleNamespace(
        name=name, device_type=DeviceType.CPU, is_user_annotation=annotation,
        time_range=SimpleNamespace(start=start, end=end), kernels=[SimpleNamespace(duration=each) for each in kernels],
    )  # fmt: skip


def test_kernels_belong_to_the_part_that_was_going_on_when_they_were_launched():
    events = [
        call("generator", 100, 200, 999.0, annotation=True),  # its range on the GPU
        call("aten::mm", 110, 120, 5.0, 2.0),
        call("MmBackward0", 150, 180, 7.0),  # on another thread, while this one waits
        call("update", 210, 300, annotation=True),
        call("Optimizer.step#Adam.step", 220, 290, 999.0, annotation=True),
        call("aten::_fused_adam_", 230, 240, 3.0),
        call("aten::zero_", 205, 206, 1.0),  # between parts
        call("aten::zero_", 10, 20, 1.0),
        SimpleNamespace(name="gemm", device_type=DeviceType.CUDA, time_range=SimpleNamespace(start=130, end=160)),
    ]
    assert device_parts(events) == {"draw": 0.0, "critic": 0.0, "generator": 14.0, "update": 3.0}


def test_a_kernel_is_counted_once():
    def total(key, device, us, *, annotation=False):
        return SimpleNamespace(key=key, device_type=device, is_user_annotation=annotation, self_device_time_total=us)

    cpu, cuda = DeviceType.CPU, DeviceType.CUDA
    totals = [total("aten::mm", cpu, 5.0), total("gemm", cuda, 5.0), total("draw", cuda, 9.0, annotation=True)]
    assert device_operations(totals) == {"gemm": 5.0}
