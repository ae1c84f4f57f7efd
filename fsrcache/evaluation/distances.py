"""Distances to trained faces: data have photographs twice, cut or compressed otherwise, which no hash finds."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.predictions import read_predictions, write_predictions
from fsrcache.progress import ProgressCallback, counted
from fsrcache.split_names import view_split
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import UNLABELLED

_PART = 1024  # trained faces at a time
_EXTRA = (view_split(1), UNLABELLED)  # the first is mirrored; what is shifted alone is near the face itself


def distances_to_training(
    store: FeatureStore, split: str, *, device: torch.device, folder: Path | None, on_progress: ProgressCallback
) -> NDArray[np.float32]:
    """Return the distance of every face of a split to the nearest face that is trained on, fp32 [n].

    It is the Euclidean distance of standardised features at full resolution. The held-out tenth is not trained on.
    Faces without labels count as well, and where the store has views, those of ``view-1``, which are mirrored. No more
    than the features of the split and a part of the trained ones are in memory.

    Parameters
    ----------
    store, split
        The features, and the split.
    device
        Device of the computation.
    folder
        Folder where the distances are kept; None keeps none.
    on_progress
        Callback, every second.

    Raises
    ------
    FsrcacheError
        If the store has no training split, or the file of kept distances is damaged.
    """
    if "train" not in store.splits:
        raise FsrcacheError(
            f"The store {store.name} has no split train, whose faces could be near.", "Leave out the measure distance."
        )
    distances = None if folder is None else kept_distances(store, split, folder)
    if distances is None:
        distances = _computed(store, split, device, on_progress)
        if folder is not None:
            write_predictions(_path(folder, split), {1: distances[:, None]}, source=_source(store, split))
    return distances


def kept_distances(store: FeatureStore, split: str, folder: Path) -> NDArray[np.float32] | None:
    """Return the distances that a folder keeps; None where there are none, or those of another store.

    Raises
    ------
    FsrcacheError
        If the file is damaged.
    """
    shape = store.spec.count(split), 1
    kept = read_predictions(_path(folder, split), source=_source(store, split), scales=(1,), shape=shape)
    return None if kept is None else kept[1][:, 0]


def _path(folder: Path, split: str) -> Path:
    return folder / f"{split}-distances.safetensors"  # kept like predictions, a column at full resolution


def _source(store: FeatureStore, split: str) -> dict[str, Any]:
    extra = {name: store.spec.extra.get(name, {}).get("digest") for name in _EXTRA}
    return {"distances": split, "store": store.digest, **extra}


def _computed(
    store: FeatureStore, split: str, device: torch.device, on_progress: ProgressCallback
) -> NDArray[np.float32]:
    parts = _trained_parts(store, "train")
    count, total, squares = 0, np.float64(0), np.float64(0)
    for rows in counted(parts, "averaging features", "parts", on_progress):
        values = store.features("train")[rows].astype(np.float64)
        count, total, squares = count + len(rows), total + values.sum(0), squares + np.square(values).sum(0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    inverse = 1 / np.where(deviation > 0, deviation, 1)

    def standardised(name: str, rows: Any) -> Tensor:
        values = (store.features(name)[rows] - mean) * inverse
        return torch.from_numpy(values.astype(np.float32)).to(device)

    own = standardised(split, slice(None))
    nearest = torch.full([len(own)], torch.inf, device=device)
    compared = [("train", rows) for rows in parts]
    compared += [(name, rows) for name in _EXTRA if name in store.spec.extra for rows in _trained_parts(store, name)]
    for name, rows in counted(compared, "distances to training", "parts", on_progress):
        torch.minimum(nearest, torch.cdist(own, standardised(name, rows)).amin(1), out=nearest)
    distances: NDArray[np.float32] = nearest.cpu().numpy()
    return distances


def _trained_parts(store: FeatureStore, split: str) -> list[NDArray[np.int64]]:
    """Return the rows of a split that are trained on, in parts."""
    rows = np.arange(store.spec.count(split)) if split == UNLABELLED else np.flatnonzero(~store.held_out(split))
    return [rows[start : start + _PART] for start in range(0, len(rows), _PART)]
