"""Freed memory is kept by the commands that ask for it; products have the precision asked for, and no other's."""

import subprocess
import sys
from importlib import import_module

import pytest
import torch

from fsrcache.device import check_device, computed_precision, fp32_precision, keep_freed_memory, pick_device
from fsrcache.errors import RequestError

FAULTS = """
import resource, torch
from fsrcache.device import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
faults = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(2**24).fill_(1)  # 64 MiB
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(max(faults[10:]))
"""


def faults(*, keep):
    """Return the most page faults of filling 64 MiB for the eleventh to twentieth time, in a process of its own."""
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_memory_is_not_mapped_anew():
    assert faults(keep=True) < 100 < faults(keep=False)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_is_done(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    assert not keep_freed_memory()


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("pretrain", "fsrcache.device"),
        ("extract", "fsrcache.device"),
        ("train", "fsrcache.device"),
        ("baselines", "fsrcache.cli.baselines"),
    ],
)
def test_commands_ask_for_it(monkeypatch, tmp_path, name, at):
    def asked():
        raise KeyError(name)

    command = getattr(import_module(f"fsrcache.cli.{name}"), name)
    monkeypatch.setattr(f"{at}.keep_freed_memory", asked)
    with pytest.raises(KeyError, match=name):
        command.main(["--workspace", str(tmp_path)], standalone_mode=False)


def setting():
    backends = torch.backends
    parts = backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv
    return tuple(part.fp32_precision for part in parts)


@pytest.fixture
def restored():
    """Put torch's own settings back, by the old names too: either remembers what it was told by the other."""
    rnn, before = torch.backends.cudnn.rnn.fp32_precision, setting()
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    parts = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul
    for part, precision in zip((*parts, torch.backends.mkldnn.conv), before, strict=True):
        part.fp32_precision = precision
    torch.backends.cudnn.rnn.fp32_precision = rnn


def by_the_old_names():
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = True


def by_the_new_names():
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"


def by_a_word():
    torch.set_float32_matmul_precision("medium")


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("ambient", [lambda: None, by_the_old_names, by_the_new_names, by_a_word])
@pytest.mark.parametrize("tf32", [False, True])
def test_precision_is_the_one_asked_for_and_the_callers_afterwards(ambient, tf32):
    ambient()
    before = setting()
    within = ("tf32", "tf32", "ieee", "ieee") if tf32 else ("ieee",) * 4
    with fp32_precision(tf32=tf32):
        assert setting() == within
        with fp32_precision(tf32=not tf32):
            assert setting() != within
        assert setting() == within
    assert setting() == before
    with pytest.raises(KeyError), fp32_precision(tf32=tf32):
        raise KeyError
    assert setting() == before


def test_torchs_own_reading_of_the_setting_does_not_fail_afterwards():
    with fp32_precision(tf32=True):
        pass
    assert torch.backends.cudnn.allow_tf32 is True
    assert torch.backends.cuda.matmul.allow_tf32 is False
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("ambient", [lambda: None, by_the_old_names, by_a_word])
@pytest.mark.parametrize("tf32", [False, True])
def test_torchs_own_reading_of_the_setting_does_not_fail_within(ambient, tf32):
    ambient()
    with fp32_precision(tf32=tf32):
        assert torch.backends.cuda.matmul.allow_tf32 is tf32
        assert torch.backends.cudnn.allow_tf32 is tf32
        assert torch.get_float32_matmul_precision() == ("high" if tf32 else "highest")
        with torch.backends.cudnn.flags(deterministic=True):
            assert torch.backends.cudnn.deterministic


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("backend", [torch.backends, torch.backends.mkldnn, torch.backends.cudnn])
def test_a_part_that_follows_a_whole_goes_on_following_it(backend):
    parts = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    for part in parts:
        part.fp32_precision = "none"
    try:
        backend.fp32_precision = "tf32"
        with fp32_precision(tf32=True):
            pass
        backend.fp32_precision = "ieee"
        assert "tf32" not in [part.fp32_precision for part in parts]
    finally:
        backend.fp32_precision = "none"


def test_a_cpu_has_no_tf32():
    assert computed_precision("tf32", torch.device("cpu")) == computed_precision("fp32", torch.device("cpu")) == "fp32"


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp32"), ((8, 0), "tf32"), ((9, 0), "tf32")])
def test_a_gpu_has_tf32_from_ampere_on(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert computed_precision("tf32", torch.device("cuda")) == precision


@pytest.mark.parametrize(
    "name",
    ["meta", "hpu", "privateuseone", "mps", "xla", "cuda:99", "cuda:-1", "cuda:1000000000000", "cpu:7", "cpu:", "CPU",
     "", " cpu", "gpu", "cuda:٣", "cpu\n", 0, None],
)  # fmt: skip
def test_a_device_that_is_none_is_a_wrong_request(name):
    with pytest.raises(RequestError, match="There is no device"):
        pick_device(name)


def test_a_cpu_is_one_device_however_it_is_written():
    assert pick_device("cpu") == pick_device("cpu:0") == torch.device("cpu")
    check_device(pick_device())
    for other in ("cpu", torch.device("meta")):
        with pytest.raises(RequestError, match="The device is"):
            check_device(other)
