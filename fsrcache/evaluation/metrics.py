"""The measures of a table: accuracies, F1, their intervals, the share of the gap closed, and McNemar's test.

Accuracies and scores here are fractions in [0, 1]; tables show percent. The three scores are those of
scikit-learn (``accuracy_score``, ``balanced_accuracy_score``, ``f1_score(average="macro")``), to the last bits.
All raise ``RequestError`` for arguments of another type or out of range.
"""

from math import sqrt
from statistics import NormalDist
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import RequestError
from fsrcache.evaluation.arguments import check_array, check_classes, check_number
from fsrcache.records import Between

Classes = NDArray[np.integer[Any]]  # [n] class indices, n at least 1
_Share, _Count = Annotated[float, Between(0, 1)], Annotated[int, Between(1, 1 << 62)]


def confusion_matrix(labels: Classes, predictions: Classes, *, classes: int | None = None) -> NDArray[np.int64]:
    """Count pictures by true class (rows) and predicted class (columns): [K, K].

    K is ``classes``, or the largest class seen + 1 where that is None.
    """
    check_classes(labels=labels, predictions=predictions)
    true, predicted = labels.astype(np.int64), predictions.astype(np.int64)
    largest = int(max(true.max(), predicted.max()))
    if classes is None:
        classes = largest + 1
    elif largest >= classes:
        raise RequestError(
            f"There is a picture of the class {largest}.", f"Of {classes} classes it is the last at most."
        )
    return np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)


def total_accuracy(labels: Classes, predictions: Classes) -> float:
    """Return the share of pictures whose class is right."""
    check_classes(labels=labels, predictions=predictions)
    return float((labels == predictions).mean())


def mean_class_accuracy(labels: Classes, predictions: Classes) -> float:
    """Return the mean over the classes that have pictures of the share that is right in each (balanced accuracy)."""
    counts = confusion_matrix(labels, predictions)
    pictures = counts.sum(1)
    present = pictures > 0
    return float((counts.diagonal()[present] / pictures[present]).mean())


def macro_f1(labels: Classes, predictions: Classes) -> float:
    """Return the mean F1 over the classes that have pictures or were predicted; a class never right counts 0."""
    counts = confusion_matrix(labels, predictions)
    marked = counts.sum(0) + counts.sum(1)  # [K], 2 TP + FP + FN
    present = marked > 0
    return float((2 * counts.diagonal()[present] / marked[present]).mean())


def standard_error(accuracy: float, n: int) -> float:
    """Return the standard error of an accuracy measured on n pictures, sqrt(a (1 - a) / n)."""
    check_number(_Share, accuracy, name="accuracy")
    check_number(_Count, n, name="n")
    return sqrt(accuracy * (1 - accuracy) / n)


def wilson_interval(correct: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (E. B. Wilson, JASA 22, 1927), without continuity correction.

    Unlike accuracy +- 1.96 standard errors it stays inside [0, 1] and keeps its coverage near 0 and 1. ``correct`` may
    be a mean over trainings.
    """
    check_number(_Count, n, name="n")
    check_number(Annotated[float, Between(0, n)], correct, name="correct")
    check_number(Annotated[float, Between(1e-9, 1 - 1e-9)], confidence, name="confidence")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / n
    centre = share + z**2 / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    low = (centre - half) / scale if correct > 0 else 0.0  # exact at the ends, where rounding would leave 1e-17
    high = (centre + half) / scale if correct < n else 1.0
    return low, high


def gap_closed(accuracy: float, *, bicubic: float, hr: float) -> float | None:
    """Return (accuracy - bicubic) / (hr - bicubic), or None where there is no gap to close (hr <= bicubic)."""
    for name, value in (("accuracy", accuracy), ("bicubic", bicubic), ("hr", hr)):
        check_number(float, value, name=name)
    return (accuracy - bicubic) / (hr - bicubic) if hr > bicubic else None


def mcnemar(correct: NDArray[np.bool_], other_correct: NDArray[np.bool_]) -> float:
    """Return the two-sided p-value of McNemar's exact test: does one method get more of the same pictures right.

    Under the null hypothesis a picture that exactly one method gets right belongs to either method with probability
    1/2 (Q. McNemar, Psychometrika 12, 1947). The binomial test is summed in integers: exact for any
    number of pictures, never the chi-square approximation. 1 where the methods never disagree.

    Parameters
    ----------
    correct, other_correct
        bool [n], whether each method is right on each picture.
    """
    check_array(correct, "b", None, name="correct", wanted="a NumPy array [n] of booleans")
    check_array(other_correct, "b", len(correct), name="other_correct", wanted=f"as many booleans: {len(correct):,}")
    won = int((correct & ~other_correct).sum())
    lost = int((other_correct & ~correct).sum())
    discordant = won + lost
    ways = tail = 1  # subsets of exactly i discordant pictures, and of at most i
    for i in range(min(won, lost)):
        ways = ways * (discordant - i) // (i + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << discordant))
