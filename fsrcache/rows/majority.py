"""majority: the commonest class of the training split, whatever the face."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.evaluation.networks import Networks
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.splits import split_labels
from fsrcache.rows.row import RowContext, no_obstacle

NAME = "majority"
NOTE = "the commonest class of the training split, whatever the face"
SETTINGS = None
train = None
obstacle = no_obstacle


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the shares of the classes in the training split, its held-out tenth left out; none without that split."""
    store = context.store
    if "train" not in store.splits:
        return []
    counts = np.bincount(store.labels("train")[~store.held_out()], minlength=len(store.classes))
    shares = (counts / max(1, counts.sum())).astype(np.float32)

    def probabilities(split: str, scale: int) -> NDArray[np.floating[Any]]:  # noqa: ARG001  # a row's signature
        return np.tile(shares, (len(split_labels(store, split)), 1))

    return [
        Predictor(row=NAME, name=NAME, source={}, probabilities=probabilities, note=NOTE, networks=lambda _: Networks())
    ]
