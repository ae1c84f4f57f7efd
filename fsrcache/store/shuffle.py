"""Shuffled epochs over arrays larger than memory: random chunks resident, their rows shuffled together."""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.store.stored import StoredArray

_RUN_BYTES = 8 << 20  # neighbouring chunks are read by one request up to here

Buffers = list[NDArray[Any]]


class _Pool(NamedTuple):
    """The chunks that are resident together.

    Attributes
    ----------
    chunks
        int64 [C], ascending.
    slots, rows
        int64 [n] each, in the epoch's order: where in the buffers a row lies, and its number in the arrays.
    """

    chunks: NDArray[np.int64]
    slots: NDArray[np.int64]
    rows: NDArray[np.int64]


class ShuffledRows:
    """The rows of one or several stored arrays in a shuffled order, every row once an epoch, in bounded memory.

    An epoch draws an order of the chunks, makes some resident at a time and yields their rows shuffled together, while
    the next ones are read. The order is a function of the seed, the epoch's number and ``resident`` alone.

    Parameters
    ----------
    arrays
        Arrays of the same rows and chunks, such as the features of a split at scales 4 and 1, and the probabilities.
    batch
        Rows of a batch; the last one of an epoch may be short.
    seed
        Random seed, from 0.
    memory
        Bytes of the buffers, half for the resident chunks and half for those read ahead.
    rows
        Mask of the rows to yield, bool ``[n]``, such as those not held out; None for all.
    requests
        Reads under way at once; an object storage's latency wants 64.

    Attributes
    ----------
    resident
        Number of chunks of every array that are shuffled together.
    count
        Rows of an epoch.

    Raises
    ------
    FsrcacheError
        If the arrays differ in rows or chunks, no row is left, or the memory does not hold two chunks of each.

    Examples
    --------
    >>> arrays = [store.features("train", 4), store.features("train", 1)]
    >>> pairs = ShuffledRows(arrays, batch=128, seed=0, memory=1 << 30)
    >>> for rows, lr_features, hr_features in pairs.epoch(0):
    ...     print(len(rows), lr_features.shape, hr_features.dtype)
    128 (128, 2080) float16
    72 (72, 2080) float16
    """

    def __init__(
        self,
        arrays: Sequence[StoredArray],
        *,
        batch: int,
        seed: int,
        memory: int,
        rows: NDArray[np.bool_] | None = None,
        requests: int = 4,
    ) -> None:
        forms = {(len(array), array.chunk) for array in arrays}
        if len(forms) != 1:
            raise FsrcacheError(
                f"Arrays of (rows, chunk) {sorted(forms)} cannot be read together.", "Pass arrays of one split."
            )
        ((length, self._chunk),) = forms
        wanted = np.ones(length, np.bool_) if rows is None else np.asarray(rows)
        if wanted.shape != (length,) or wanted.dtype != np.bool_ or not wanted.any():
            raise FsrcacheError(f"The rows are {wanted.dtype} {list(wanted.shape)}, not some of bool [{length}].")
        if batch < 1 or requests < 1:
            raise FsrcacheError(f"The batch is {batch}, the requests at once {requests}.", "Both are 1 or more.")
        of_a_chunk = self._chunk * sum(array.shape[1] * array.dtype.itemsize for array in arrays)
        fitting = memory // (2 * of_a_chunk)
        if fitting < 1:
            raise FsrcacheError(f"{memory} bytes do not hold two chunks.", f"Allow at least {2 * of_a_chunk}.")
        self._arrays, self._batch, self._seed, self._wanted = tuple(arrays), batch, seed, wanted
        self._counts = np.add.reduceat(wanted, np.arange(0, length, self._chunk), dtype=np.int64)  # rows of a chunk
        self._chunks = np.flatnonzero(self._counts)
        self._pools = -(-len(self._chunks) // fitting)
        self.resident = -(-len(self._chunks) // self._pools)  # pools of one size: none is shuffled among a few alone
        self.count = int(wanted.sum())
        self._run = max(1, _RUN_BYTES // of_a_chunk)
        self._requests = requests
        self._spare: list[Buffers] = []

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return -(-self.count // self._batch)

    def epoch(self, number: int, *, skip: int = 0) -> Generator[tuple[NDArray[Any], ...]]:
        """Yield the batches of an epoch: the numbers of rows, int64 ``[B]``, and ``[B, width]`` of every array.

        Parameters
        ----------
        number
            Number of the epoch, from 0.
        skip
            Number of rows to leave out at its beginning, which are not read.

        Raises
        ------
        FsrcacheError
            If ``skip`` exceeds the rows, the storage fails, or a checksum is wrong.
        """
        if not 0 <= skip <= self.count:
            raise FsrcacheError(f"{skip} rows of an epoch of {self.count} cannot be skipped.")
        left, filled = self.count - skip, 0
        numbers, out = self._empty(left)
        with closing(self._resident(number, skip)) as resident:
            for pool, buffers in resident:
                at = 0
                while at < len(pool.rows):
                    part = slice(at, at + len(numbers) - filled)
                    target = slice(filled, filled + len(pool.rows[part]))
                    numbers[target] = pool.rows[part]
                    for batch, buffer in zip(out, buffers, strict=True):
                        np.take(buffer, pool.slots[part], axis=0, out=batch[target], mode="clip")  # "raise" copies
                    at, filled = part.stop, target.stop
                    if filled == len(numbers):
                        yield numbers, *out
                        left, filled = left - filled, 0
                        numbers, out = self._empty(left)

    def _empty(self, left: int) -> tuple[NDArray[np.int64], Buffers]:
        """Return the arrays of a batch."""
        rows = min(self._batch, left)
        return np.empty(rows, np.int64), [np.empty((rows, array.shape[1]), array.dtype) for array in self._arrays]

    def _resident(self, number: int, skip: int) -> Generator[tuple[_Pool, Buffers]]:
        """Yield the pools of an epoch and what holds their chunks, the next one read while one is used."""
        parts = np.array_split(_random(self._seed, number).permutation(self._chunks), self._pools)
        ends = np.cumsum([self._counts[part].sum() for part in parts])
        first = int(np.searchsorted(ends, skip, side="right"))
        skip -= int(ends[first - 1]) if first else 0
        held = [self._buffers() for _ in parts[first : first + 2]]
        readers = ThreadPoolExecutor(self._requests, "shuffle")

        def begin(index: int) -> tuple[_Pool, list[Future[None]]]:
            pool = self._pool(parts[index], _random(self._seed, number, index))
            return pool, list(self._reads(readers, pool, held[index % len(held)]))

        try:
            coming = begin(first) if first < len(parts) else None
            for index in range(first, len(parts)):
                assert coming is not None
                pool, reads = coming
                for read in reads:
                    read.result()
                coming = begin(index + 1) if index + 1 < len(parts) else None
                yield pool._replace(slots=pool.slots[skip:], rows=pool.rows[skip:]), held[index % len(held)]
                skip = 0
        finally:
            readers.shutdown(cancel_futures=True)
            self._spare += held

    def _pool(self, chunks: NDArray[np.int64], random: np.random.Generator) -> _Pool:
        chunks = np.sort(chunks)
        rows = (chunks[:, None] * self._chunk + np.arange(self._chunk)).reshape(-1)
        rows = rows[: len(rows) - max(0, int(rows[-1]) + 1 - len(self._wanted))]  # the last chunk may be short
        slots = random.permutation(np.flatnonzero(self._wanted[rows]))
        return _Pool(chunks, slots, rows[slots])

    def _reads(self, readers: ThreadPoolExecutor, pool: _Pool, buffers: Buffers) -> Iterator[Future[None]]:
        """Begin to read the chunks of a pool, neighbours together."""
        chunks, begin = pool.chunks, 0
        while begin < len(chunks):
            end = begin + 1
            while end < len(chunks) and chunks[end] == chunks[end - 1] + 1 and end - begin < self._run:
                end += 1
            start = int(chunks[begin]) * self._chunk
            rows = min((end - begin) * self._chunk, len(self._wanted) - start)
            for array, buffer in zip(self._arrays, buffers, strict=True):
                target = buffer[begin * self._chunk : begin * self._chunk + rows]
                yield readers.submit(array.read_into, target, start=start)
            begin = end

    def _buffers(self) -> Buffers:
        """Return memory for a pool, that of an epoch that ended if there is some."""
        if self._spare:
            return self._spare.pop()
        rows = self.resident * self._chunk
        return [np.empty((rows, array.shape[1]), array.dtype) for array in self._arrays]


def _random(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))
