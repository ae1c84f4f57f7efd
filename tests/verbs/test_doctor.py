"""Doctor names what is wrong and what to do, whatever is missing or damaged, and changes nothing."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from fsrcache.kernels import covariance_pool
from fsrcache.store.spec import StoreSpec
from fsrcache.store.writer import FeatureWriter
from fsrcache.verbs import machine, op_errors
from fsrcache.verbs.doctor import doctor
from fsrcache.verbs.findings import Finding, examined
from fsrcache.workspace import Data, Workspace
from studies.program import run


def wrong(diagnosis):
    """Return the text of what needs attention, by subject."""
    assert all(finding.remedy for finding in diagnosis.findings if not finding.ok)
    return {finding.subject: finding.text for finding in diagnosis.findings if not finding.ok}


def text_of(diagnosis, subject):
    return next(finding.text for finding in diagnosis.findings if finding.subject == subject)


def test_an_empty_folder_is_in_order_and_stays_empty(tmp_path):
    done = run("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("All is well.\n")
    assert "`fsrcache pretrain --data PATH`, then `fsrcache extract` make it." in done.stdout
    assert "8 of 8 ops agree" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_in_order(trained, files):
    before = files(trained)
    done = run("doctor", "--json", cwd=trained)
    assert done.returncode == 0, done.stdout
    by_subject = {finding["subject"]: finding for finding in done.answer["findings"]}
    assert list(by_subject) == [
        "versions", "device", "threads", "kernels", "disk", "workspace", "data", "extractor", "store", "runs"
    ]  # fmt: skip
    assert done.answer["ok"] is True
    assert by_subject["data"]["text"] == "drawn:140, built in"
    assert by_subject["store"]["text"].startswith("complete: ")
    assert by_subject["store"]["remedy"].startswith("`fsrcache verify`")
    assert by_subject["runs"]["text"] == "default finished"
    assert files(trained) == before
    assert by_subject["extractor"]["text"].endswith(" numbers, early features of 432")


def test_a_damaged_workspace(tmp_path):
    for name in ("data.json", "extractor.safetensors", "runs/one/generator.safetensors", "features.zarr/zarr.json"):
        (tmp_path / "w" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "w" / name).write_text("{")
    done = run("doctor", "--workspace", "w", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == ""
    for subject in ("data", "extractor", "store", "runs"):
        assert f"\nattention  {subject}" in done.stdout
    assert "fsrcache train --workspace w --name one --restart" in done.stdout
    assert "Findings that need attention: 4 of 11." in done.stdout
    assert set(wrong(doctor(tmp_path / "w"))) == {"data", "extractor", "store", "runs"}


def test_data_that_have_moved(tmp_path):
    Workspace(tmp_path).remember(Data(str(tmp_path / "gone.csv")))
    assert wrong(doctor(tmp_path)) == {"data": f"There is nothing at {tmp_path / 'gone.csv'}."}


def test_new_paths_of_moved_data_add_no_scale(tmp_path):
    Workspace(tmp_path).remember(Data(str(tmp_path / "gone.csv")))
    spec = StoreSpec.for_vectors(4, rows={"train": 6}, classes=("a", "b"), content={}, scales=(1, 2, 4))
    with FeatureWriter(tmp_path / "features.zarr", spec, labels={"train": np.arange(6) % 2},
                       ids={"train": [str(i) for i in range(6)]}):  # fmt: skip
        pass
    done = run("doctor", "--workspace", tmp_path.name, cwd=tmp_path.parent)
    assert f"`fsrcache extract --workspace {tmp_path.name} --data PATH --scales 2,4`, and the other" in done.stdout


def test_a_store_that_is_incomplete(tmp_path):
    spec = StoreSpec.for_vectors(4, rows={"train": 6}, classes=("a", "b"), content={})
    with FeatureWriter(tmp_path / "features.zarr", spec, labels={"train": np.arange(6) % 2},
                       ids={"train": [str(i) for i in range(6)]}):  # fmt: skip
        pass
    assert wrong(doctor(tmp_path))["store"].startswith("incomplete, 3 of 4 files: train 6 faces at 1 scales")


@pytest.mark.slow
def test_a_store_of_another_extractor(trained, tmp_path):
    shutil.copytree(trained / "fsr", tmp_path / "fsr")
    done = run("pretrain", "--restart", "--seed", 1, "--side", 24, "--epochs", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "was written with other weights of" in wrong(doctor(tmp_path / "fsr"))["store"]


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)  # root may write nearly everywhere
    assert wrong(doctor(tmp_path)) == {"disk": f"Nothing can be written in {tmp_path}: Permission denied."}


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_where_a_workspace_should_be(tmp_path, name):
    (tmp_path / "file").touch()
    assert wrong(doctor(tmp_path / name)) == {"workspace": f"{tmp_path / 'file'} is a file."}


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["triton", "torch"])
def test_without_a_library(tmp_path, missing):
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from fsrcache.cli import main\nmain(['doctor', '--json'])"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    bad = [finding["subject"] for finding in json.loads(done.stdout)["findings"] if not finding["ok"]]
    assert bad == ([] if missing == "triton" else ["device", "kernels"])
    assert done.returncode == bool(bad)


def test_an_old_and_a_missing_library(monkeypatch):
    true = machine.metadata.version

    def version(name):
        if name == "rich":
            raise machine.metadata.PackageNotFoundError(name)
        return "3.1.0" if name == "zarr" else true(name)

    monkeypatch.setattr(machine.metadata, "version", version)
    monkeypatch.setattr(machine.metadata, "requires", lambda _: ["rich>=13.7", "zarr>=3.1.1", "numpy>=2.0", "x>=9; y"])
    texts = [(finding.text, finding.remedy) for finding in machine.versions() if not finding.ok]
    assert texts == [
        ("rich is not installed; 13.7 or newer is needed.", "Run pip install 'rich>=13.7'."),
        ("zarr is 3.1.0; 3.1.1 or newer is needed.", "Run pip install 'zarr>=3.1.1'."),
    ]


@pytest.mark.parametrize(("free", "speed", "words"), [(5e8, 1e9, "Make room"), (1e12, 1e6, "faster disk")])
def test_a_disk_that_is_full_or_slow(tmp_path, monkeypatch, free, speed, words):
    monkeypatch.setattr(machine, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    monkeypatch.setattr(machine, "_speed", lambda _: (speed, 1e9))
    (finding,) = machine.disk(tmp_path)
    assert not finding.ok
    assert words in finding.remedy


def test_threads_that_the_environment_limits(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (finding,) = machine.threads()
    assert finding.ok
    assert finding.text.endswith("8 by its control group's quota; commands compute on 1")
    assert "threads=8" in finding.remedy


@pytest.mark.parametrize(
    ("broken", "words"),
    [(lambda x, _: covariance_pool(x, 1e-3) * 1.001, "relative error is 0.001"), (lambda x, _: x @ x, "RuntimeError"),
     (lambda x, _: covariance_pool(x, 1e-3) + torch.nan, "relative error is nan")],
)  # fmt: skip
def test_an_op_that_is_wrong_or_fails(monkeypatch, broken, words):
    def on_fp32(x, ridge):
        return (broken if x.dtype == torch.float32 else covariance_pool)(x, ridge)

    monkeypatch.setattr(op_errors.kernels, "covariance_pool", on_fp32)
    count, bad = machine.ops()
    assert count.ok
    assert count.text.startswith("7 of 8 ops")
    assert not bad.ok
    assert bad.text.startswith("covariance_pool: ")
    assert words in bad.text


def test_a_gradient_that_is_wrong(monkeypatch):
    class Forgetful(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # noqa: ARG004
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):  # noqa: ARG004
            return gradient * (2 if gradient.dtype == torch.float32 else 1)

    monkeypatch.setattr(op_errors.kernels, "log_eig", lambda S, _: Forgetful.apply(S))
    assert [error.name for error in op_errors.op_errors(torch.device("cpu")) if not error.agrees] == ["log_eig"]


def test_random_numbers_stay_as_they_are():
    before = torch.get_rng_state()
    assert all(error.agrees for error in op_errors.op_errors(torch.device("cpu")))
    assert torch.equal(torch.get_rng_state(), before)


def test_whatever_fails_is_a_finding():
    def examination():
        yield Finding("thing", "one part is there")
        raise ZeroDivisionError("division\nby zero")

    first, last = examined("thing", examination)
    assert first.ok
    assert not last.ok
    assert last.text == "It cannot be examined: ZeroDivisionError: division"
