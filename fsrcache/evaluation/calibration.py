"""How far probabilities can be trusted: the expected calibration error, and the temperature that lowers it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST, _MOST = 1 / 20, 20.0  # of a temperature
_HALVINGS = 40  # of that range: the temperature is exact to nine digits

Probabilities = NDArray[np.floating[Any]]


def calibration_error(probabilities: Probabilities, labels: NDArray[np.integer[Any]], *, bins: int = 15) -> float:
    """Return the expected calibration error of the most probable class (Guo et al., arXiv 1706.04599).

    Parameters
    ----------
    probabilities
        Floating-point ``[n, K]``, n at least 1.
    labels
        The true classes, integers ``[n]``.
    bins
        Number of bins of equal width from 0 to 1.

    Returns
    -------
    float
        The distance of accuracy and mean confidence of a bin, averaged over all faces, from 0 to 1.
    """
    confidence = probabilities.max(1).astype(np.float64)
    gap = (probabilities.argmax(1) == labels) - confidence
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return float(np.abs(np.bincount(bin_of, gap)).sum() / len(labels))


def fit_temperature(probabilities: Probabilities, labels: NDArray[np.integer[Any]]) -> float:
    """Return the temperature that minimises the negative log-likelihood of labels, between 1/20 and 20.

    The likelihood is convex in the inverse temperature, whose derivative is halved until it is zero.

    Parameters
    ----------
    probabilities
        Floating-point ``[n, K]``, n at least 1.
    labels
        The true classes, integers ``[n]``.
    """
    logits = _logarithm(probabilities)
    of_truth = logits[np.arange(len(labels)), labels].mean()
    low, high = 1 / _MOST, 1 / _LEAST
    for _ in range(_HALVINGS):
        inverse = (low + high) / 2
        expected = (_softmax(inverse * logits) * logits).sum(1).mean()
        low, high = (inverse, high) if expected <= of_truth else (low, inverse)
    return float(1 / low)


def at_bound(temperature: float) -> bool:
    """Tell whether a fitted temperature is an end of the range, 1/20 or 20, so that a better one may lie beyond."""
    return not _LEAST * (1 + 1e-9) < temperature < _MOST * (1 - 1e-9)


def with_temperature(probabilities: Probabilities, temperature: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities ``[n, K]`` at a temperature, or at one for each row ``[n]``; the order of classes stays."""
    return _softmax(_logarithm(probabilities) / np.reshape(temperature, (-1, 1)))


def _logarithm(probabilities: Probabilities) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(1, keepdims=True))
