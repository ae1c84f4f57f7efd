"""Threads: no more than affinity, quota and OMP_NUM_THREADS allow, asleep while they wait, and as many as one names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fsrcache.cli.main import main
from fsrcache.device import with_threads
from fsrcache.errors import RequestError
from fsrcache.threads import usable_cores, usable_threads, use_threads

COMMAND = """
import sys
from fsrcache.cli.main import main
assert "torch" not in sys.modules
try:
    main({arguments})
except SystemExit as end:
    assert end.code == 0
import torch
from fsrcache.threads import usable_threads
print("threads", torch.get_num_threads(), usable_threads())
"""


@pytest.fixture
def eight_cores(monkeypatch):
    """A machine of eight cores, none of them forbidden."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def torchs_threads():
    """Put back torch's own number at the end."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def system(root, groups, **quotas):
    """Write what Linux says of this process's control groups below a folder; return it."""
    for name, text in {"proc/self/cgroup": groups, **quotas}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


UNIFIED = "0::/user/job\n"
FIRST = "12:memory:/job\n3:cpu,cpuacct:/job\n0::/\n"
GROUPS = "sys/fs/cgroup"


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("groups", "quotas", "cores"),
    [
        (UNIFIED, {}, 8),
        (UNIFIED, {f"{GROUPS}/user/job/cpu.max": "max 100000\n"}, 8),
        (UNIFIED, {f"{GROUPS}/user/job/cpu.max": "200000 100000\n"}, 2),
        (UNIFIED, {f"{GROUPS}/user/job/cpu.max": "250000 100000\n"}, 3),
        (UNIFIED, {f"{GROUPS}/user/job/cpu.max": "50000 100000\n"}, 1),
        (UNIFIED, {f"{GROUPS}/user/job/cpu.max": "9900000 100000\n"}, 8),
        (UNIFIED, {f"{GROUPS}/user/job/cpu.max": "max 100000\n", f"{GROUPS}/user/cpu.max": "400000 100000\n"}, 4),
        (UNIFIED, {f"{GROUPS}/cpu.max": "300000 100000\n"}, 3),  # a container, whose group is the root of what it sees
        (UNIFIED, {f"{GROUPS}/elsewhere/cpu.max": "100000 100000\n"}, 8),
        (UNIFIED, {f"{GROUPS}/user/job/cpu.max": "nonsense"}, 8),
        (FIRST, {f"{GROUPS}/cpu/job/cpu.cfs_quota_us": "-1\n", f"{GROUPS}/cpu/job/cpu.cfs_period_us": "100000\n"}, 8),
        (FIRST, {f"{GROUPS}/cpu,cpuacct/job/cpu.cfs_quota_us": "150000\n",
                 f"{GROUPS}/cpu,cpuacct/job/cpu.cfs_period_us": "50000\n"}, 3),
        (FIRST, {f"{GROUPS}/cpu/cpu.cfs_quota_us": "150000\n", f"{GROUPS}/cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ("nonsense", {}, 8),
    ],
)  # fmt: skip
def test_cores_are_those_of_the_affinity_within_the_quota(tmp_path, groups, quotas, cores):
    assert usable_cores(system(tmp_path, groups, **quotas)) == cores


def test_cores_where_the_system_does_not_say(monkeypatch, tmp_path):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5, 7}, raising=False)
    assert usable_cores(tmp_path) == 3
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    assert usable_cores(tmp_path) == 12
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert usable_cores(tmp_path) == 1


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("variable", "threads"), [("3", 3), ("4,2", 4), (" 2 ", 2), ("99", 8), ("0", 8), ("", 8), ("many", 8), ("-1", 8)]
)
def test_threads_are_those_of_the_environment_where_they_are_fewer(monkeypatch, tmp_path, variable, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    assert usable_threads(tmp_path) == threads


def test_by_default_torch_has_no_more_threads_than_cores_and_not_more_than_it_had(monkeypatch, torchs_threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    torch.set_num_threads(torchs_threads + 1)
    use_threads()
    assert torch.get_num_threads() == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    use_threads()
    assert torch.get_num_threads() == 1
    use_threads(torchs_threads + 1)
    assert torch.get_num_threads() == torchs_threads + 1
    assert os.environ["OMP_NUM_THREADS"] == str(torchs_threads + 1)


def test_a_call_with_threads_puts_torchs_own_back(torchs_threads):
    with with_threads(torchs_threads + 1):
        assert torch.get_num_threads() == torchs_threads + 1
    assert torch.get_num_threads() == torchs_threads
    with with_threads(None):
        assert torch.get_num_threads() == torchs_threads
    for wrong in (0, -1, 2.0, "2", True):
        with pytest.raises(RequestError, match="threads is"), with_threads(wrong):
            pass


def command(arguments, tmp_path, **environment):
    """Run a command in a process of its own; return its threads and those of a pool, and what OpenMP says of itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(arguments=arguments)],
        env={**kept, "OMP_DISPLAY_ENV": "VERBOSE", **environment}, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    _, of_torch, of_pools = done.stdout.splitlines()[-1].split()
    return int(of_torch), int(of_pools), done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libgomp's")
@pytest.mark.parametrize(
    ("arguments", "environment", "of_torch", "spins"),
    [
        (["train", "--show", "--threads", "1"], {}, 1, "1000"),
        (["train", "--show", "--threads", "3"], {"OMP_NUM_THREADS": "1"}, 3, "1000"),
        (["train", "--show"], {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1"}, 1, "0"),
        (["train", "--show"], {"GOMP_SPINCOUNT": "7", "OMP_NUM_THREADS": "1"}, 1, "7"),
    ],
)
def test_a_command_computes_on_the_threads_that_it_is_asked_for_and_none_spins_for_long(
    tmp_path, arguments, environment, of_torch, spins
):
    torchs, pools, openmp = command(arguments, tmp_path, **environment)
    assert torchs == of_torch
    assert pools == min(of_torch, usable_cores())
    assert f"GOMP_SPINCOUNT = '{spins}'" in openmp


@pytest.mark.parametrize("name", ["pretrain", "extract", "train", "baselines", "evaluate", "bench", "verify"])
def test_a_number_of_threads_that_is_none_is_a_wrong_request(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # as the command would
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main([name, "--threads", "0"])
    assert end.value.code == 2
    assert "'--threads'" in capsys.readouterr().err
    assert not any(Path(tmp_path).iterdir())
