"""Memory that is freed is kept, by the commands that ask for it."""

import subprocess
import sys
from importlib import import_module

import pytest

from fsrcache.device import keep_freed_memory

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_memory_is_not_mapped_anew():
    assert faults(keep=True) < 100 < faults(keep=False)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_is_done(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    assert not keep_freed_memory()


@pytest.mark.parametrize("name", ["pretrain", "baselines"])
def test_commands_ask_for_it(monkeypatch, tmp_path, name):
    def asked():
        raise KeyError(name)

    module = import_module(f"fsrcache.cli.{name}")
    monkeypatch.setattr(module, "keep_freed_memory", asked)
    with pytest.raises(KeyError, match=name):
        getattr(module, name).main(["--workspace", str(tmp_path)], standalone_mode=False)
