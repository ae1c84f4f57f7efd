"""Features of a split's faces at scales that the store does not have, whole or not, for ``studies.controls``."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.extraction.features import features_of_view
from fsrcache.extraction.source import face_source, store_spec
from fsrcache.extractors.extractor import Extractor
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import Degradation, coarse_pictures
from fsrcache.progress import ProgressCallback, counted
from fsrcache.store.reader import FeatureStore
from fsrcache.verbs.data import has_store_of, read_faces
from fsrcache.workspace import Workspace

_BATCH = 256  # faces


class Inputs(NamedTuple):
    """What a generator reads of faces: features [n, P], and early features [n, Q]; Q is 0 where there are none."""

    features: NDArray[np.floating[Any]]
    early: NDArray[np.floating[Any]]


def unseen_features(
    workspace: Workspace,
    store: FeatureStore,
    extractor: Extractor,
    split: str,
    *,
    scales: Sequence[float],
    on_progress: ProgressCallback,
) -> dict[float, Inputs]:
    """Return what the store would keep of a split's faces for a generator, in its order, fp16 by scale.

    The low resolution of a whole scale is made as the store's was; that of any other has the side ``ceil(S / scale)``
    and is made by the size form.

    Raises
    ------
    FsrcacheError
        If the workspace has no record of its faces, or they are not those of the store.
    """
    data = workspace.data()
    if data is None:
        raise FsrcacheError(f"{workspace.folder} has no record of its faces.", "Run `fsrcache extract` there.")
    degradation = Degradation(**store.spec.recipe["degradation"])
    faces, title = read_faces(data, side=extractor.side, on_progress=on_progress)
    source = face_source(faces, extractor, device=torch.device("cpu"), degradation=degradation)
    has_store_of(workspace, store_spec(source, scales=store.scales, data=title), data)  # compares
    rows = source.order[split]
    length, width = extractor.form.length, store.spec.widths.get("early", 0)
    unseen = {scale: Inputs(*(np.empty((len(rows), one), np.float16) for one in (length, width))) for scale in scales}
    parts = range(0, len(rows), _BATCH)
    for start in counted(parts, "extracting unseen scales", "parts", on_progress):
        pictures = source.faces.batch(rows[start : start + _BATCH])
        for scale, inputs in unseen.items():
            outputs = features_of_view(extractor, view_at(pictures, scale, degradation))
            inputs.features[start : start + _BATCH] = outputs.features
            inputs.early[start : start + _BATCH] = outputs.early[:, :width]
    return unseen


def view_at(pictures: Pictures, scale: float, degradation: Degradation) -> Pictures:
    """Return pictures uint8 [B, S, S, C] as seen at any scale, as the extractor takes them: [B, C, S, S]."""
    degradation = degradation if scale == int(scale) else replace(degradation, form="size")
    small = coarse_pictures(pictures, scale, degradation)
    coarse = imresize_batch(small, size=(pictures.shape[1], pictures.shape[2]), border=degradation.border)
    return np.ascontiguousarray(coarse.transpose(0, 3, 1, 2))
