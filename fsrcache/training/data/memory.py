"""The memory of a training: the location of its features, and what is said where the memory is short."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch

from fsrcache.errors import FsrcacheError, Remedy, RequestError, arguments
from fsrcache.memory import free_memory, gigabytes
from fsrcache.presets import CACHES
from fsrcache.records import shortened

_TRAINED = 16  # bytes of a weight, its gradient and two moments in fp32
_SMALL = 1e9  # bytes that are found at once, whatever is free now
_SHORT = ("out of memory", "can't allocate memory", "not enough memory")  # in a RuntimeError of torch
_SHARE = {"device": 0.6, "ram": 0.7}  # of the free memory that a cache may take: networks and others need some too


class CacheLocation(NamedTuple):
    """The location of the features, and the reason for it in words."""

    mode: Literal["device", "ram", "stream"]
    reason: str


def locate_cache(cache: str, sizes: Sequence[int], *, device: torch.device, ranks: int = 1) -> CacheLocation:
    """Return the location of features: for ``auto`` the first of the three where they fit.

    Parameters
    ----------
    cache
        ``auto``, ``device``, ``ram`` or ``stream``; a location that is named is used, whether or not they fit.
    sizes
        Bytes of each array of features.
    device
        Device of the training. On a CPU ``device`` and ``ram`` are the same memory, and ``auto`` is ``ram``.
    ranks
        Processes on this host that share its memory, each with features of its own.

    Raises
    ------
    RequestError
        If there is no such cache.
    """
    if cache not in CACHES:
        raise RequestError(f"There is no cache {shortened(cache)}.", f"Use {', '.join(CACHES)}.")
    size = sum(sizes)
    if cache == "device":
        return CacheLocation("device", f"{gigabytes(size)} on {device}")
    needed, pinned = _in_memory(sizes, device)
    if cache == "ram":
        return CacheLocation("ram", f"{gigabytes(size)} in memory{pinned}")
    if cache == "stream":
        return CacheLocation("stream", f"{gigabytes(size)} in the store")
    reasons = []
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        reasons.append(f"{gigabytes(size)}, {gigabytes(free)} free on {device}")
        if size <= _SHARE["device"] * free:
            return CacheLocation("device", reasons[0])
    free = free_memory() // ranks
    reasons.append(f"{gigabytes(size)}{pinned}, {gigabytes(free)} free in memory")
    if needed <= _SHARE["ram"] * free:
        return CacheLocation("ram", "; ".join(reasons))
    return CacheLocation("stream", "; ".join(reasons))


def _in_memory(sizes: Sequence[int], device: torch.device) -> tuple[int, str]:
    """Return the bytes of the CPU's memory for a cache, and a note where they are more than its arrays' sizes."""
    if device.type != "cuda":
        return sum(sizes), ""
    pinned = sum(1 << (size - 1).bit_length() for size in sizes)  # PyTorch pins memory in powers of two
    return pinned, f" (pinned in {gigabytes(pinned)})"


def refuse_too_large(weights: int, *, networks: str, device: torch.device) -> None:
    """Raise if networks of so many weights cannot be trained in the memory that is free.

    Raises
    ------
    RequestError
        With the number of weights and the bytes.
    """
    needed = _TRAINED * weights
    if needed < _SMALL:
        return
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    if needed > free:
        raise RequestError(
            f"{networks} would have {weights:,} weights: {gigabytes(needed)} with gradients and moments, and "
            f"{gigabytes(free)} are free.",
            "Set fewer or narrower layers.",
        )


@contextmanager
def memory_errors(batch: int, *, streams: bool = False) -> Iterator[None]:
    """Say in words that a training does not fit into the memory.

    Parameters
    ----------
    batch
        Samples of a step.
    streams
        Whether features in memory could be streamed from the store.

    Raises
    ------
    FsrcacheError
        In place of Python's and torch's errors.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in _SHORT):
            raise
        reason = shortened(str(error).strip().partition("\n")[0].rstrip("."), most=200)[1:-1]
        raise FsrcacheError(
            f"A training in batches of {batch:,} does not fit into the memory{reason and ': '}{reason}.",
            Remedy("Set a smaller batch, or `{}`.", arguments(cache="stream")) if streams else "Set a smaller batch.",
        ) from None
