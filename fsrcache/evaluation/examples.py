"""Example faces of a table: the first of the split, and what each row says of them with the frozen head."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_COUNT = 4


@dataclass(frozen=True, kw_only=True)
class Example:
    """One face of the split and its predictions.

    Attributes
    ----------
    number
        Its row in the split.
    label
        Its class.
    answers
        Predicted class by row of the table and scale, with the frozen head; of several seeds, that of the first.
    """

    number: int
    label: int
    answers: Mapping[tuple[str, int], int]


def first_examples(
    labels: NDArray[np.integer[Any]], answers: Mapping[tuple[str, int], NDArray[np.integer[Any]]]
) -> tuple[Example, ...]:
    """Return the first faces of the split that are of different classes, four at most: no one chooses them.

    Parameters
    ----------
    labels
        int [n].
    answers
        Predictions int [n] by row and scale.
    """
    _, firsts = np.unique(labels, return_index=True)
    return tuple(
        Example(
            number=number, label=int(labels[number]), answers={key: int(one[number]) for key, one in answers.items()}
        )
        for number in sorted(firsts.tolist())[:_COUNT]
    )
