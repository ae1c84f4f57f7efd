"""Whether a probability means what it says, and what is gained where the unsure faces are left out."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_BINS = 10
_Reals = NDArray[np.float64]


class Reliability(NamedTuple):
    """Confidence and accuracy of the bins that hold a face.

    Attributes
    ----------
    confidence, accuracy
        [b], mean largest probability and share of right classes, fractions.
    """

    confidence: _Reals
    accuracy: _Reals


def reliability(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> Reliability:
    """Compare confidence and accuracy in ten bins of equal width.

    Parameters
    ----------
    probabilities
        [n, K].
    labels
        int [n].
    """
    confidence, right = _confidence(probabilities, labels)
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    held = counts > 0
    means, shares = (np.bincount(bins, one, _BINS)[held] / counts[held] for one in (confidence, right))
    return Reliability(means, shares)


def reject_curve(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> tuple[_Reals, _Reals]:
    """Return the share of faces that are kept and the accuracy on them, [n] each, the surest faces first.

    Parameters
    ----------
    probabilities
        [n, K].
    labels
        int [n].
    """
    confidence, right = _confidence(probabilities, labels)
    order = np.argsort(-confidence, kind="stable")
    kept = np.arange(1, len(labels) + 1)
    return kept / len(labels), np.cumsum(right[order]) / kept


def _confidence(probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> tuple[_Reals, _Reals]:
    """Return the largest probability of every face, and 1 where its class is right, [n] each."""
    return probabilities.max(1).astype(np.float64), (probabilities.argmax(1) == labels).astype(np.float64)
