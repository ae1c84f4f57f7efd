"""The order of a split's rows: a function of the pictures and labels, never of where the files lie."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def row_order(
    hashes: NDArray[np.uint8], labels: NDArray[np.uint8], *, ids: Sequence[str] | NDArray[np.str_], seed: int = 0
) -> NDArray[np.int64]:
    """Return the order in which a split's rows are stored: sorted by hash, label and id, then shuffled once.

    Contiguous rows of a store are thus random draws, and moving pictures or listing them otherwise changes nothing.

    Parameters
    ----------
    hashes
        Hashes of the decoded pictures, uint8 ``[n, 16]``.
    labels
        Labels, uint8 ``[n]``.
    ids
        ``n`` names, which order equal pictures of equal label.
    seed
        Seed of the shuffle.

    Returns
    -------
    numpy.ndarray
        int64 ``[n]``: row ``i`` of the store is picture ``order[i]``.
    """
    halves = np.ascontiguousarray(hashes).view(">u8").astype(np.uint64)  # [n, 2]
    order = np.lexsort((labels, halves[:, 1], halves[:, 0]))  # the last key is the first to sort by
    differs = (halves[order[1:]] != halves[order[:-1]]).any(axis=1) | (labels[order[1:]] != labels[order[:-1]])
    starts = np.flatnonzero(np.concatenate([[True], differs, [True]]))
    for i in np.flatnonzero(np.diff(starts) > 1):
        alike = slice(starts[i], starts[i + 1])
        order[alike] = sorted(order[alike], key=lambda picture: str(ids[picture]))
    shuffle = np.random.Generator(np.random.PCG64(seed)).permutation(len(labels))
    return order[shuffle].astype(np.int64)
