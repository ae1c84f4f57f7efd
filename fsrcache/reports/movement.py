"""What a generator moves: coarse, super-resolved and fine features on the first two principal axes of the fine ones."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_FITTED = 600  # faces that the axes are fitted on, at most
_Features = NDArray[np.floating[Any]]
_Reals = NDArray[np.float32]


class Movement(NamedTuple):
    """Features on two axes.

    Attributes
    ----------
    fine
        [n, 2].
    starts, ends, goals
        [c, 2], means of the coarse, the super-resolved and the fine features of every class that has faces.
    classes
        int [c], ascending.
    explained
        Share of the fine features' variance on the two axes.
    closer
        Share of the mean squared distance between coarse and fine features that the generator removes, in all
        dimensions; negative where it adds some.
    """

    fine: _Reals
    starts: _Reals
    ends: _Reals
    goals: _Reals
    classes: NDArray[np.int64]
    explained: float
    closer: float


def movement(coarse: _Features, restored: _Features, fine: _Features, labels: NDArray[np.integer[Any]]) -> Movement:
    """Project features on the two directions in which the fine ones vary most.

    Parameters
    ----------
    coarse, restored, fine
        [n, P] each: of coarse faces, the same as the generator turns them, and at full resolution.
    labels
        int [n].
    """
    coarse, restored, fine = (one.astype(np.float32) for one in (coarse, restored, fine))
    mean = fine.mean(0)
    _, lengths, axes = np.linalg.svd(fine[:_FITTED] - mean, full_matrices=False)
    classes = np.unique(labels)
    points = [(one - mean) @ axes[:2].T for one in (coarse, restored, fine)]
    starts, ends, goals = (np.stack([one[labels == label].mean(0) for label in classes]) for one in points)
    remaining, distance = (float(((one - fine) ** 2).sum(1).mean()) for one in (restored, coarse))
    explained = float((lengths[:2] ** 2).sum() / (lengths**2).sum())
    closer = 1 - remaining / distance if distance else 0.0
    return Movement(points[2], starts, ends, goals, classes.astype(np.int64), explained, closer)
