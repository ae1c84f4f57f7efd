"""``extract``: run the frozen extractor over every face at every scale, into the store."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.faces import Faces
from fsrcache.features import features_of
from fsrcache.models.extractor import PREPROCESSING, CovPoolFER, load_extractor
from fsrcache.models.weights import file_digest
from fsrcache.progress import Progress, Watch, unwatched
from fsrcache.spd import vech_length
from fsrcache.store.order import row_order
from fsrcache.store.spec import StoreSpec, chunk_and_block
from fsrcache.store.writer import FeatureWriter

BATCH = 128  # pictures; never across two blocks
_ORDER = "hash, label, id; then one shuffle, PCG64, seed 0"


def extract(
    faces: Faces,
    extractor: Path,
    *,
    store: Path,
    scales: Sequence[int],
    device: torch.device,
    data: str,
    degradation: Degradation = SCALE_FORM,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Write features, embeddings and probabilities of all faces into a store; what is there already is kept.

    Parameters
    ----------
    faces
        The pictures, of the extractor's side.
    extractor
        The weights' file.
    store
        The store's folder.
    scales
        From 1, full resolution, which is written in any case.
    device
        Where the extractor runs.
    data
        The data in one line, for people.
    degradation
        How coarse pictures are made.
    watch
        Called after every batch.

    Returns
    -------
    dict
        ``rows`` by split, ``scales``, ``blocks``, ``resumed_from`` (blocks that were there), ``seconds``, ``digest``.

    Raises
    ------
    FsrcacheError
        If the classes are not the extractor's, the store is of other content, or it cannot be written.
    """
    began = time.perf_counter()
    model = load_extractor(extractor).to(device)
    if faces.classes != model.classes:
        raise FsrcacheError(
            f"The faces have the classes {', '.join(faces.classes)}; {extractor} knows {', '.join(model.classes)}.",
            "Pre-train an extractor on these data, in a workspace of its own.",
        )
    order = _order(faces)
    spec = _spec(faces, model, order, weights=file_digest(extractor), scales=scales, degradation=degradation, data=data)
    writer = FeatureWriter(
        store,
        spec,
        labels={split: faces.labels[rows] for split, rows in order.items()},
        ids={split: list(faces.names[rows]) for split, rows in order.items()},
        hashes={split: faces.hashes[rows] for split, rows in order.items()},
    )
    missing = writer.missing()
    blocks = sum(writer.blocks(split) for split in order) * len(writer.spec.scales)
    total = sum(len(rows) for rows in order.values()) * len(writer.spec.scales)
    done = total - sum(_length(writer.rows(split, block)) for split, _, block in missing)
    current: tuple[str, int] | None = None
    pictures: NDArray[np.uint8] = np.empty(0, np.uint8)
    for split, scale, block in missing:
        if current != (split, block):  # decoded once for all scales
            current, pictures = (split, block), faces.batch(order[split][writer.rows(split, block)])
        parts = []
        for start in range(0, len(pictures), BATCH):
            batch = pictures[start : start + BATCH]
            parts.append(features_of(model, batch, scale=scale, degradation=degradation))
            done += len(batch)
            watch(Progress("extracting", done, total, "pictures", {"scale": scale}))
        features, embeddings, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
        writer.write(split, scale, block=block, features=features, embeddings=embeddings, probabilities=probabilities)
    writer.finish()
    return {
        "store": str(store),
        "rows": dict(writer.spec.rows),
        "scales": list(writer.spec.scales),
        "blocks": blocks,
        "resumed_from": blocks - len(missing),
        "digest": writer.spec.digest,
        "seconds": time.perf_counter() - began,
    }


def _order(faces: Faces) -> dict[str, NDArray[np.int64]]:
    """Return which pictures are the rows of every split that has any, in the store's order."""
    hashes, labels, names = faces.hashes, faces.labels, faces.names
    order = {}
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(faces.splits == number)
        if len(rows):
            order[split] = rows[row_order(hashes[rows], labels[rows], ids=list(names[rows]))]
    return order


def _spec(
    faces: Faces,
    model: CovPoolFER,
    order: Mapping[str, NDArray[np.int64]],
    *,
    weights: str,
    scales: Sequence[int],
    degradation: Degradation,
    data: str,
) -> StoreSpec:
    rows = {split: len(chosen) for split, chosen in order.items()}
    chunk, block = chunk_and_block(vech_length(model.config.spd_side), rows)
    every = np.concatenate(list(order.values()))
    return StoreSpec(
        digests={
            "pictures": sha256(faces.hashes[every].tobytes()).hexdigest(),
            "labels": sha256(",".join(faces.classes).encode() + faces.labels[every].tobytes()).hexdigest(),
            "order": sha256(f"{_ORDER} {rows}".encode()).hexdigest(),
            "weights": weights,
            "preprocessing": sha256(f"{PREPROCESSING} {faces.side} {asdict(degradation)} {BATCH}".encode()).hexdigest(),
        },
        classes=faces.classes,
        side=faces.side,
        spd_side=model.config.spd_side,
        embedding=model.config.embedding,
        scales=tuple(sorted({1, *scales})),
        degradation=asdict(degradation),
        data=data,
        rows=rows,
        chunk=chunk,
        block=block,
    )


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)
