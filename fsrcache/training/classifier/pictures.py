"""The pictures of a classifier's training: which are trained on, held out and reported, and their pixels in memory."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.faces import Faces
from fsrcache.held_out import held_out
from fsrcache.progress import Progress, ProgressCallback
from fsrcache.training.run.due import ReportDue

_READ = 256  # pictures between two looks at the clock


def split_rows(faces: Faces) -> dict[str, NDArray[np.intp]]:
    """Return the rows of ``train`` without its held-out tenth, of ``held-out``, and of ``val`` and ``test`` if any.

    Raises
    ------
    FsrcacheError
        If there are too few to train on, or none held out.
    """
    left_out = held_out(faces.hashes)
    train = faces.splits == SPLITS.index("train")
    rows = {"train": np.flatnonzero(train & ~left_out), "held-out": np.flatnonzero(train & left_out)}
    for split in ("val", "test"):
        rows[split] = np.flatnonzero(faces.splits == SPLITS.index(split))
    if len(rows["train"]) < 2 or not len(rows["held-out"]):
        raise FsrcacheError(
            f"There are {len(rows['train'])} pictures to train on and {len(rows['held-out'])} held out.",
            "Give data with a larger training split, or a higher limit: about a tenth, which the pictures' hashes "
            "decide, is held out.",
        )
    return {split: chosen for split, chosen in rows.items() if len(chosen)}


def read_splits(
    faces: Faces, rows: dict[str, NDArray[np.intp]], *, on_progress: ProgressCallback
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return pictures uint8 ``[n, C, S, S]`` and labels int64 ``[n]`` by split, in the CPU's memory."""
    due, total, done = ReportDue(), sum(map(len, rows.values())), 0
    splits = {}
    for split, chosen in rows.items():
        pictures = np.empty((len(chosen), faces.side, faces.side, 1 if faces.grey else 3), np.uint8)
        for start in range(0, len(chosen), _READ):
            if due:
                on_progress(Progress("reading pictures", done, total, "pictures"))
            part = faces.batch(chosen[start : start + _READ])
            pictures[start : start + len(part)] = part
            done += len(part)
        labels = torch.from_numpy(faces.labels[chosen].astype(np.int64))
        splits[split] = torch.from_numpy(pictures).permute(0, 3, 1, 2), labels
    return splits


def picture_bytes(faces: Faces, rows: dict[str, NDArray[np.intp]]) -> int:
    """Return how much memory ``read_splits`` takes."""
    return sum(map(len, rows.values())) * faces.side**2 * (1 if faces.grey else 3)
