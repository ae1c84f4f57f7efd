"""A split's pairs of low and full resolution as a data set that PyTorch's DataLoader reads; needs no torch itself."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fsrcache.store.stored import StoredArray

if TYPE_CHECKING:
    from fsrcache.store.reader import FeatureStore


class Pair(NamedTuple):
    """One face, or several along a leading axis; a DataLoader makes tensors of all three.

    Attributes
    ----------
    lr, hr
        Features at the low and at full resolution, fp32 ``[P]`` each.
    label
        Index into the store's ``classes``, an int; of several faces int64 ``[n]``.
    """

    lr: NDArray[np.float32]
    hr: NDArray[np.float32]
    label: int | NDArray[np.int64]


class PairDataset:
    """The pairs of a split in the store's order, a map-style data set: made by ``FeatureStore.dataset``.

    It pickles without rows, and every process opens the store for itself at the first row that it reads, so that
    workers of a DataLoader may be forked or spawned.

    Parameters
    ----------
    open_store
        Opens the store; picklable.
    split, scale
        Split, and scale of the low resolution.
    rows
        Number of faces.
    """

    def __init__(self, open_store: "Callable[[], FeatureStore]", split: str, scale: int, *, rows: int) -> None:
        self.split, self.scale = split, scale
        self._open_store, self._rows = open_store, rows
        self._opened: tuple[int, StoredArray, StoredArray, NDArray[np.int64]] | None = None  # the first is the process

    def __len__(self) -> int:
        return self._rows

    def __repr__(self) -> str:
        return f"PairDataset(split={self.split!r}, scale={self.scale}, rows={self._rows:,})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    def __getitem__(self, key: Any) -> Pair:
        """Return the pair of a row; of a slice, a mask or an array of rows one Pair of stacked arrays, as NumPy does.

        Raises
        ------
        IndexError
            If there is no such row.
        FsrcacheError
            If the storage fails, or a checksum is wrong.
        """
        lr, hr, labels = self._arrays()
        label = labels[key]  # first: whatever is no key for rows alone is refused before anything is read
        return Pair(
            lr[key].astype(np.float32), hr[key].astype(np.float32), int(label) if np.ndim(label) == 0 else label
        )

    def __getitems__(self, rows: Sequence[int]) -> list[Pair]:
        """Return the pairs of a batch, every chunk that holds some of them read once: what a DataLoader calls."""
        batch = self[np.asarray(rows, np.int64)]
        labels = np.asarray(batch.label).tolist()
        return [Pair(lr, hr, label) for lr, hr, label in zip(batch.lr, batch.hr, labels, strict=True)]

    def _arrays(self) -> tuple[StoredArray, StoredArray, NDArray[np.int64]]:
        """Return both features and the labels, opened by this process: a connection does not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            store = self._open_store()
            lr, hr = (store.features(self.split, scale) for scale in (self.scale, 1))
            self._opened = os.getpid(), lr, hr, store.labels(self.split).astype(np.int64)
        return self._opened[1:]
