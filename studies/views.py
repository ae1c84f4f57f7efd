"""A store whose training faces stand twice: as they are, and mirrored and shifted by up to two pixels each way."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import load_covpool
from fsrcache.faces.decode import Pictures
from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.faces import Faces
from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.store.reader import FeatureStore
from fsrcache.verbs.data import read_faces
from fsrcache.workspace import Workspace

_SHIFT = 2  # pixels


def store_with_views(workspace: Workspace, *, on_progress: ProgressCallback = no_progress) -> FeatureStore:
    """Return ``views.zarr`` of a workspace, extracted at its store's scales if it does not exist.

    A view has the hash of the picture that it is made from, so that both are held out or neither is.
    """
    data, path = workspace.data(), workspace.folder / "views.zarr"
    if data is None:
        raise FsrcacheError(f"{workspace.folder} has no record of its faces.", "Run `fsrcache extract` there.")
    side = load_covpool(workspace.extractor).config.side
    faces, title = read_faces(data, side=side, on_progress=on_progress)
    source = face_source(with_views(faces), workspace.extractor, device=torch.device("cpu"))
    scales = FeatureStore(workspace.store).scales
    extract_features(source, store=path, scales=scales, data=f"{title}, with views", on_progress=on_progress)
    return FeatureStore(path)


def with_views(faces: Faces) -> Faces:
    """Return all faces, and after them a view of each of the training split."""
    train = np.flatnonzero(faces.splits == SPLITS.index("train"))
    rows = np.concatenate([faces.rows, faces.rows[train]])
    return _WithViews(faces.listing, faces.seen, rows, faces.side, originals=len(faces.rows))


@dataclass(frozen=True)
class _WithViews(Faces):
    """Faces of which the first ``originals`` are unchanged, and the others are views."""

    originals: int

    @property
    def names(self) -> NDArray[np.str_]:
        names = super().names
        views = np.char.add(names[self.originals :], " view")
        return np.concatenate([names[: self.originals], views])

    def batch(self, rows: NDArray[np.integer], *, threads: int | None = None) -> Pictures:
        batch = super().batch(rows, threads=threads)
        for i in np.flatnonzero(rows >= self.originals):
            batch[i] = _view(batch[i], seed=int(rows[i]))
        return batch


def _view(picture: Pictures, *, seed: int) -> Pictures:
    """Return a picture [S, S, C] mirrored and shifted at random, its edge repeated."""
    down, right = np.random.default_rng(seed).integers(0, 2 * _SHIFT + 1, size=2)
    wide = np.pad(picture[:, ::-1], ((_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="edge")
    return wide[down : down + len(picture), right : right + len(picture)]
