"""The splits that are reported, and that a row has outputs of: the store's, and the held-out tenth of its train."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fsrcache.errors import Blank, Remedy, arguments, call
from fsrcache.models.generators.form import early_width
from fsrcache.store.reader import FeatureStore

HELD_OUT = "held-out"
REPORTED = ("test", "val")  # the first of them that is there
SPLIT_FACES = Remedy(
    "Extract faces that have a split into another workspace, `{}`: folders `test` or `val` beside `train`, a table "
    "with a column `split`, or more drawn faces: `{}`.",
    call("extract", workspace=Blank("DIR"), data=Blank("PATH")),
    arguments(data="drawn:1400"),
)


def stored_rows(store: FeatureStore, split: str) -> tuple[str, slice | NDArray[np.int64]]:
    """Return the store's name of a split, and which of its rows are meant."""
    return ("train", np.flatnonzero(store.held_out())) if split == HELD_OUT else (split, slice(None))


def split_labels(store: FeatureStore, split: str) -> NDArray[np.integer[Any]]:
    """Return the labels [n] of a split."""
    name, rows = stored_rows(store, split)
    return store.labels(name)[rows]


def split_features(store: FeatureStore, split: str, scale: int) -> NDArray[np.floating[Any]]:
    """Return the features [n, P] of a split at a scale."""
    name, rows = stored_rows(store, split)
    return store.features(name, scale)[rows]


def split_inputs(generator: nn.Module, store: FeatureStore, split: str, scale: int) -> list[NDArray[np.floating[Any]]]:
    """Return what a generator reads of a split at a scale: features [n, P], and early features [n, Q] if it does.

    Raises
    ------
    FsrcacheError
        If it reads early features and the store has none.
    """
    name, rows = stored_rows(store, split)
    arrays = [store.features(name, scale), *([store.early(name, scale)] if early_width(generator) else [])]
    return [array[rows] for array in arrays]
