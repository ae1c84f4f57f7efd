"""Threads of a process: the number of cores it may use, the number of threads it computes on, and how they wait."""

import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_COUNT, _WAITING = "OMP_NUM_THREADS", "OMP_WAIT_POLICY"  # of OpenMP, read when torch is imported
_SPINS, _FEW_SPINS = "GOMP_SPINCOUNT", "1000"  # of GNU's OpenMP, which torch has on Linux
_FIRST = "sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"  # where control groups of version 1 are mounted
_MOUNTS = {"": ("sys/fs/cgroup",), "cpu": _FIRST, "cpu,cpuacct": _FIRST}  # by controllers


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use: those of its affinity, and no more than its quota.

    The quota is the least of its control groups, ``cpu.max`` in version 2 and ``cpu.cfs_quota_us`` in version 1,
    rounded up. macOS and Windows have neither, and all cores count.

    Parameters
    ----------
    root
        Folder of ``proc`` and ``sys``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *_quotas(root)]))


def usable_threads(root: Path = Path("/")) -> int:
    """Return the number of threads of a pool: that of the usable cores, or of ``OMP_NUM_THREADS`` if it is less."""
    cores, wanted = usable_cores(root), re.match(r"\s*([1-9][0-9]{0,5})\b", os.environ.get(_COUNT, ""))
    return min(cores, int(wanted[1])) if wanted else cores


def use_threads(count: int | None = None) -> None:
    """Have this process compute and decode on a number of threads, whether torch is imported yet or will be.

    It is for a whole process, so commands do it, and the library by itself does not.

    Parameters
    ----------
    count
        Number of threads; None for ``usable_threads``, and no more than torch has by itself.
    """
    threads = count or usable_threads()
    if count is not None or "torch" in sys.modules:  # else it follows the environment when it is imported
        import torch

        threads = count or min(threads, torch.get_num_threads())
        torch.set_num_threads(threads)
    os.environ[_COUNT] = str(threads)


def wait_passively() -> None:
    """Have threads that wait for work soon sleep, unless the environment says otherwise; before torch is imported.

    By itself OpenMP spins: where other processes want the cores, threads wait for threads that do not run, and a
    training of small steps takes ten times as long and more. Some microseconds of spinning do no harm there, and spare
    most of the waking.
    """
    if _WAITING not in os.environ:
        os.environ[_WAITING] = "PASSIVE"
        os.environ.setdefault(_SPINS, _FEW_SPINS)


def _quotas(root: Path) -> Iterator[int]:
    """Yield the quotas of this process's control groups and of those above them, in cores."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(errors="replace").splitlines():
            controllers, _, group = line.partition(":")[2].partition(":")
            for mount in (root / name for name in _MOUNTS.get(controllers, ())):
                folder = mount / group.strip("/")
                for one in (folder, *folder.parents):
                    if one.is_relative_to(mount):
                        yield from _quota(one)


def _quota(folder: Path) -> Iterator[int]:
    """Yield the quota of a control group in cores, if it has one."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with suppress(OSError, ValueError):  # no such file, or ``max``
            quota, period = map(int, " ".join((folder / name).read_text() for name in names).split())
            if quota > 0 and period > 0:
                yield math.ceil(quota / period)
