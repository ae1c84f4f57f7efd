"""The time of extracting into a store, beside that of the extractor itself, on drawn faces in PNG files."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fsrcache.ahead import ordered_map
from fsrcache.benchmarks.harness import Case
from fsrcache.drawn.face import draw_face, drawn_expression
from fsrcache.extraction.extract import ExtractResult, extract_features
from fsrcache.extraction.features import features_of_view, side_by_side, view_of
from fsrcache.extraction.source import FaceSource, face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.extractors.identity import BATCH
from fsrcache.faces.decode import Pictures
from fsrcache.faces.expressions import EXPRESSIONS
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import EXTRACTORS
from fsrcache.store.reader import FeatureStore

_SCALES = (1, 4)


def writing_case(folder: Path, device: torch.device, *, faces: int) -> Case:
    """Return the case: ``extract`` from files to a complete store, against the extractor on the same views in memory.

    The extractor has the shape of ``small`` and untrained weights.
    """
    draw_files(folder / "faces", faces)
    usable = usable_faces(list_faces(folder / "faces"), side=EXTRACTORS["small"].side)
    torch.manual_seed(0)
    model = CovPoolFER(EXTRACTORS["small"], usable.classes).eval()
    save_covpool(folder / "extractor.safetensors", model, training={})
    source = face_source(usable, folder / "extractor.safetensors", device=device)
    views = _views(source)
    store = folder / "features.zarr"
    return Case(
        name=f"extraction of {faces:,} faces at scales {_SCALES[0]} and {_SCALES[1]}, shape of small",
        candidate="extract, PNG files to store",
        work=lambda: extract_features(source, store=store, scales=_SCALES, data="drawn faces"),
        reference=partial(_extracted, source, views),
        error=0.01,  # half precision
        alternatives={
            "the extractor alone, views in memory, batches in turn": partial(_extracted, source, views),
            "the extractor alone, views in memory, batches side by side": partial(_side_by_side, source, views),
        },
        samples=faces * len(_SCALES),
        before=lambda: shutil.rmtree(store, ignore_errors=True),
        to_tensors=partial(_to_tensors, store),
    )  # fmt: skip


def draw_files(folder: Path, faces: int) -> None:
    """Write drawn faces as PNG files in a folder of class folders."""
    for number in range(faces):
        target = folder / "train" / EXPRESSIONS[drawn_expression(0, number)] / f"{number:06}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_face(0, number)).save(target)


def _views(source: FaceSource) -> list[list[Pictures]]:
    """Return the extractor's inputs in the order of the store, a list of batches for every scale."""
    pictures = source.faces.batch(source.order["train"])
    return [
        [view_of(pictures[start : start + BATCH], scale=scale) for start in range(0, len(pictures), BATCH)]
        for scale in _SCALES
    ]


def _extracted(source: FaceSource, views: list[list[Pictures]]) -> list[NDArray[np.float32]]:
    return [
        np.concatenate([features_of_view(source.extractor, view).features for view in batches]) for batches in views
    ]


def _side_by_side(source: FaceSource, views: list[list[Pictures]]) -> list[NDArray[np.float32]]:
    with side_by_side(source.extractor) as workers:
        every = [view for batches in views for view in batches]
        work = partial(features_of_view, source.extractor)
        parts = list(ordered_map(work, every, threads=workers.threads, begin=workers.begin))
    return [
        np.concatenate([part.features for part in parts[start : start + len(views[0])]])
        for start in range(0, len(parts), len(views[0]))
    ]


def _to_tensors(store: Path, result: Any) -> list[Tensor]:
    """Return the features by scale, of a finished store or as they are."""
    if isinstance(result, ExtractResult):
        return [torch.from_numpy(FeatureStore(store).features("train", scale)[:]) for scale in _SCALES]
    return list(map(torch.from_numpy, result))
