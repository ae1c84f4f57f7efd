"""Arrays of several splits as one, chunk after chunk, so that their rows are shuffled together."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.store.layout import ArrayLayout
from fsrcache.store.stored import StoredArray


def joined(arrays: Sequence[StoredArray]) -> StoredArray:
    """Return arrays of one width, dtype and chunk as one; where the last chunk of one is short, undefined rows fill it.

    ``joined_rows`` returns which rows these are.
    """
    if len(arrays) == 1:
        return arrays[0]
    first, starts = arrays[0], _starts(list(map(len, arrays)), arrays[0].chunk)
    layout = ArrayLayout("joined", (starts[-1], first.shape[1]), first.dtype.name, first.chunk, first.chunk)
    return StoredArray(layout, partial(_read, arrays, starts))


def joined_rows(parts: Sequence[NDArray[Any]], *, chunk: int, fill: object) -> NDArray[Any]:
    """Return what belongs to the rows of several arrays, ``[n, ...]`` each, as one for the rows of the joined array.

    Parameters
    ----------
    parts
        Values of the rows of every array.
    chunk
        Rows of a chunk.
    fill
        Value of the undefined rows.
    """
    if len(parts) == 1:
        return parts[0]
    starts = _starts(list(map(len, parts)), chunk)
    out = np.full((starts[-1], *parts[0].shape[1:]), fill, parts[0].dtype)
    for start, part in zip(starts, parts, strict=False):
        out[start : start + len(part)] = part
    return out


def _starts(lengths: Sequence[int], chunk: int) -> list[int]:
    """Return the first row of every array, and the number of all rows."""
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + -(-length // chunk) * chunk)
    return starts


def _read(arrays: Sequence[StoredArray], starts: Sequence[int], out: NDArray[Any], *, start: int) -> None:
    for array, first in zip(arrays, starts, strict=False):
        begin, end = max(start, first), min(start + len(out), first + len(array))
        if begin < end:
            array.read_into(out[begin - start : end - start], start=begin - first)
