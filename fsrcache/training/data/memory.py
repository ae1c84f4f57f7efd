"""Where the features lie while one trains: on the device, in the CPU's memory, or in the store, which is streamed."""

import os
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from fsrcache.errors import RequestError
from fsrcache.records import shortened

CACHES = ("auto", "device", "ram", "stream")
_GROUPS = (("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
           ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"))  # fmt: skip
_SHARE = {"device": 0.6, "ram": 0.7}  # of the free memory that a cache may take: networks and others need some too


class Place(NamedTuple):
    """Where the features lie, and why, in words."""

    mode: Literal["device", "ram", "stream"]
    reason: str


def locate_cache(asked: str, size: int, *, device: torch.device) -> Place:
    """Return where features of a size in bytes lie: for ``auto`` the first of the three where they fit.

    Parameters
    ----------
    asked
        ``auto``, ``device``, ``ram`` or ``stream``; what is asked for by name is done, whether or not it fits.
    size
        Of the cache.
    device
        Where the training is computed. On a CPU ``device`` and ``ram`` are the same memory, and ``auto`` is ``ram``.

    Raises
    ------
    RequestError
        If the name is another one.
    """
    if asked not in CACHES:
        raise RequestError(f"There is no cache {shortened(asked)}.", f"Take {', '.join(CACHES)}.")
    if asked == "device":
        return Place("device", f"{_gigabytes(size)} on {device}")
    taken, pinned = _in_memory(size, device)
    if asked == "ram":
        return Place("ram", f"{_gigabytes(size)} in memory{pinned}")
    if asked == "stream":
        return Place("stream", f"{_gigabytes(size)} in the store")
    said = []
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        said.append(f"{_gigabytes(size)}, {_gigabytes(free)} free on {device}")
        if size <= _SHARE["device"] * free:
            return Place("device", said[0])
    free = free_memory()
    said.append(f"{_gigabytes(size)}{pinned}, {_gigabytes(free)} free in memory")
    if taken <= _SHARE["ram"] * free:
        return Place("ram", "; ".join(said))
    return Place("stream", "; ".join(said))


def _in_memory(size: int, device: torch.device) -> tuple[int, str]:
    """Return what a cache takes of the CPU's memory: more than its size, which is said, where a GPU copies from it."""
    if device.type != "cuda":
        return size, ""
    block = 1 << (size - 1).bit_length()  # PyTorch pins memory in powers of two
    return block, f" (pinned in {_gigabytes(block)})"


def free_memory() -> int:
    """Return the bytes that this process may still take, a container's limit included."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    for limit, used in _GROUPS:
        try:
            free = min(free, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such group, or no limit in it
            continue
    return max(0, free)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
