"""One array of a store as NumPy sees it: nothing is read until rows are asked for."""

import operator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fsrcache.store.layout import ArrayLayout

_RUN_BYTES = 8 << 20  # neighbouring chunks are read by one request up to here

Rows = NDArray[np.integer]


class Source(Protocol):
    """Reads rows into a buffer.

    Fills ``out``, C-contiguous ``[rows, width]``, with the rows from ``start`` on.
    """

    def __call__(self, out: NDArray[Any], *, start: int) -> None:
        """Read."""


class StoredArray:
    """Vectors ``[n, width]`` in a store: slices and integer arrays of rows give NumPy arrays, read at that moment.

    It pickles as its store does, without rows: a loader's worker processes each read for themselves.

    Parameters
    ----------
    layout
        Layout of the array.
    source
        Reader of its rows.

    Attributes
    ----------
    shape, dtype, chunk
        ``[n, width]``, the NumPy dtype, and the rows of a chunk, the unit of reading.
    """

    def __init__(self, layout: ArrayLayout, source: Source) -> None:
        assert layout.chunk is not None
        self.shape: tuple[int, int] = (layout.shape[0], layout.shape[1])
        self.dtype = np.dtype(layout.dtype)
        self.chunk = layout.chunk
        self._read = source

    ndim = 2

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array in memory."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"StoredArray(shape={self.shape}, dtype={self.dtype}, chunk={self.chunk})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("A stored array is read into memory, which is a copy.")
        return np.asarray(self[:], dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return what NumPy returns for the key; other keys than rows, and a slice or a number of columns, read all."""
        rows, *columns = key if isinstance(key, tuple) and key else (key,)
        if self._are_rows(rows) and not columns:
            return self._rows(rows)
        if self._are_rows(rows) and len(columns) == 1 and isinstance(columns[0], slice | int | np.integer):
            part: NDArray[Any] = self._rows(rows)[..., columns[0]]
            return part
        whole: NDArray[Any] = self[:][key]
        return whole

    def read_into(self, out: NDArray[Any], *, start: int = 0) -> None:
        """Read as many rows as ``out`` has, from ``start`` on, into it, without a copy in between.

        Parameters
        ----------
        out
            Writable buffer, C-contiguous ``[rows, width]`` of the array's dtype: a pinned tensor's ``numpy()``, say.
        start
            First row.

        Raises
        ------
        ValueError
            If the buffer does not fit.
        TypeError
            If ``start`` is no whole number.
        FsrcacheError
            If the storage fails, or a checksum is wrong.
        """
        fits = out.dtype == self.dtype and out.shape[1:] == self.shape[1:]
        if not fits or not out.flags.c_contiguous or not out.flags.writeable:
            kept = "" if out.flags.writeable else " read-only"
            raise ValueError(f"The buffer is{kept} {out.dtype} {list(out.shape)}, not writable contiguous {self.dtype} "
                             f"[rows, {self.shape[1]}].")  # fmt: skip
        start = operator.index(start)
        if not 0 <= start <= start + len(out) <= len(self):
            raise ValueError(f"Rows {start} to {start + len(out)} were asked for; there are {len(self)}.")
        if len(out):
            self._read(out, start=start)

    def _are_rows(self, key: Any) -> bool:
        """Tell whether a key is a slice, an integer, an array of integers, or booleans for all rows."""
        if isinstance(key, slice | int | np.integer) and not isinstance(key, bool):
            return True
        if not isinstance(key, list | np.ndarray):
            return False
        if isinstance(key, list) and not key:
            return True
        index = np.asarray(key)
        return index.shape == self.shape[:1] if index.dtype == np.bool_ else index.ndim > 0 and index.dtype.kind in "iu"

    def _rows(self, rows: Any) -> NDArray[Any]:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._range(start, max(start, stop))
            return self._gather(np.arange(start, stop, step))
        index = np.asarray(rows)
        if index.dtype == np.bool_:
            return self._gather(np.flatnonzero(index))
        index = index.astype(np.int64)
        beyond = index[(index < -len(self)) | (index >= len(self))]
        if beyond.size:
            raise IndexError(f"Row {beyond.flat[0]} was asked for; there are {len(self)}.")
        chosen = self._gather(np.where(index < 0, index + len(self), index).reshape(-1))
        return chosen.reshape(*index.shape, self.shape[1])

    def _range(self, start: int, stop: int) -> NDArray[Any]:
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        self.read_into(out, start=start)
        return out

    def _gather(self, rows: Rows) -> NDArray[Any]:
        """Return rows in any order, every chunk that holds some of them read once, neighbours together."""
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        if not len(rows):
            return out
        order = np.argsort(rows, kind="stable")
        chunks = rows[order] // self.chunk
        run = max(1, _RUN_BYTES // (self.chunk * self.shape[1] * self.dtype.itemsize))
        apart = (np.diff(chunks) > 1) | (np.diff(chunks // run) > 0)
        for targets in np.split(order, np.flatnonzero(apart) + 1):
            wanted = rows[targets]
            first, last = int(wanted[0]), int(wanted[-1]) + 1
            out[targets] = self._range(first, last)[wanted - first]
        return out
