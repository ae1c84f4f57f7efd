"""Faces that a row helps and harms: right where bicubic was wrong, and the other way round."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fsrcache.evaluation.predictions import Probabilities
from fsrcache.evaluation.scores import BICUBIC

_SHOWN = 8  # of each kind


class Change(NamedTuple):
    """A face whose class changed.

    Attributes
    ----------
    number
        Its row in the split.
    label, before, after
        Its class, and what bicubic and the row say.
    """

    number: int
    label: int
    before: int
    after: int


class Changes(NamedTuple):
    """What a row changes at a scale.

    Attributes
    ----------
    counts
        Faces that both get right, that are helped, that are harmed, that neither gets right.
    helped, harmed
        The first eight of the split: no one chooses them.
    """

    counts: tuple[int, int, int, int]
    helped: tuple[Change, ...]
    harmed: tuple[Change, ...]


def changes(
    probabilities: Mapping[str, Probabilities], labels: NDArray[np.integer[Any]], row: str, scale: int
) -> Changes:
    """Compare a row with bicubic, face by face.

    Parameters
    ----------
    probabilities
        [n, K] by row and scale.
    labels
        int [n].
    row, scale
        The row, and the scale.
    """
    before, after = (probabilities[one][scale].argmax(1) for one in (BICUBIC, row))
    was, now = before == labels, after == labels

    def first(chosen: NDArray[np.bool_]) -> tuple[Change, ...]:
        numbers = np.flatnonzero(chosen)[:_SHOWN].tolist()
        return tuple(Change(i, int(labels[i]), int(before[i]), int(after[i])) for i in numbers)

    kinds = was & now, ~was & now, was & ~now, ~was & ~now
    both, helped, harmed, neither = (int(kind.sum()) for kind in kinds)
    return Changes((both, helped, harmed, neither), first(kinds[1]), first(kinds[2]))
