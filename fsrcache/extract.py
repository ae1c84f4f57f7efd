"""``extract``: run the frozen extractor over every face at every scale, into the store."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.ahead import ahead
from fsrcache.errors import FsrcacheError
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.faces import Faces
from fsrcache.features import Features, features_of_view, view_of
from fsrcache.models.extractor import PREPROCESSING, CovPoolFER, load_extractor
from fsrcache.models.weights import file_digest
from fsrcache.progress import Progress, Watch, unwatched
from fsrcache.spd import vech_length
from fsrcache.store.layout import ITEMSIZE, documents, places
from fsrcache.store.order import row_order
from fsrcache.store.spec import StoreSpec, chunk_and_block
from fsrcache.store.writer import FeatureWriter

BATCH = 128  # pictures; never across two blocks
_VIEWS_AHEAD = 3  # batches decoded and resized while the extractor works
_ORDER = "hash, label, id; then one shuffle, PCG64, seed 0"
_SAMPLED = 3  # scales, of a dry run
_DTYPE = "float16"


class Sources(NamedTuple):
    """What is extracted, how, and with what.

    Attributes
    ----------
    faces
        The pictures, of the extractor's side.
    model, weights
        The extractor, on its device, and its file's digest.
    order
        Of every split: which pictures are its rows.
    degradation
        How coarse pictures are made.
    """

    faces: Faces
    model: CovPoolFER
    weights: str
    order: Mapping[str, NDArray[np.int64]]
    degradation: Degradation


def sources(faces: Faces, extractor: Path, *, device: torch.device, degradation: Degradation = SCALE_FORM) -> Sources:
    """Load the extractor and put the faces in the store's order.

    Raises
    ------
    FsrcacheError
        If there is no such extractor, or the classes are not the extractor's.
    """
    model = load_extractor(extractor).to(device)
    if faces.classes != model.classes:
        raise FsrcacheError(
            f"The faces have the classes {', '.join(faces.classes)}; {extractor} knows {', '.join(model.classes)}.",
            "Pre-train an extractor on these data, in a workspace of its own.",
        )
    return Sources(faces, model, file_digest(extractor), _order(faces), degradation)


def extract(
    given: Sources,
    *,
    store: str | PathLike[str],
    scales: Sequence[int],
    data: str,
    part: tuple[int, int] = (1, 1),
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Write features, embeddings and probabilities of all faces into a store; what is there already is kept.

    Decoding and resizing run ahead on a thread of their own, writing on another; in memory are a few batches of
    pictures and two blocks of features.

    Parameters
    ----------
    given
        What :func:`sources` gave.
    store
        The store's folder, or a URL that Zarr opens through fsspec.
    scales
        From 1, full resolution, which is written in any case.
    data
        The data in one line, for people.
    part
        ``(i, n)``: this call does the i-th of n shares, i from 1; whoever finishes last completes the store.
    watch
        Called after every batch, and while the store is completed.

    Returns
    -------
    dict
        ``store``, ``rows`` by split, ``scales``, ``blocks`` of this part, ``resumed_from`` (those that were there),
        ``complete``, ``seconds``, ``digest``.

    Raises
    ------
    FsrcacheError
        If the store is of other content, somebody else writes it, or it cannot be written.
    """
    began = time.perf_counter()
    spec = _spec(given, scales=scales, data=data)
    faces, order = given.faces, given.order
    with FeatureWriter(
        store,
        spec,
        labels={split: faces.labels[rows] for split, rows in order.items()},
        ids={split: faces.names[rows] for split, rows in order.items()},
        hashes={split: faces.hashes[rows] for split, rows in order.items()},
        part=part,
    ) as writer:
        missing = writer.missing()
        _extract_blocks(given, writer, missing, watch)
        complete = writer.finish(watch)
        blocks = writer.found + len(missing)
        return {
            "store": writer.name,
            "rows": dict(writer.spec.rows),
            "scales": list(writer.spec.scales),
            "blocks": blocks,
            "resumed_from": writer.found,
            "complete": complete,
            "digest": writer.spec.digest,
            "seconds": time.perf_counter() - began,
        }


def dry_run(given: Sources, *, scales: Sequence[int]) -> dict[str, Any]:
    """Return what an extraction from nothing would write and how long it would take, from a measured sample.

    Returns
    -------
    dict
        ``rows`` by split, ``scales``, ``blocks``, ``objects`` and ``bytes`` of the store, but for a few kilobytes of
        metadata, ``pictures`` (faces times scales), ``pictures_per_second`` of a sample, ``sampled`` (its pictures),
        ``seconds``.
    """
    spec = _spec(given, scales=scales, data="")
    split = spec.splits[0]
    rows = given.order[split][:BATCH]
    sampled = [spec.scales[i] for i in np.unique(np.linspace(0, len(spec.scales) - 1, _SAMPLED).astype(int))]
    features_of_view(given.model, view_of(given.faces.batch(rows)))  # the first call is slower
    began = time.perf_counter()
    pictures = given.faces.batch(rows)
    for scale in sampled:
        features_of_view(given.model, view_of(pictures, scale=scale, degradation=given.degradation))
    rate = len(rows) * len(sampled) / (time.perf_counter() - began)
    found = places(spec)
    total = sum(spec.rows.values()) * len(spec.scales)
    return {
        "rows": dict(spec.rows),
        "scales": list(spec.scales),
        "blocks": sum(map(spec.blocks, spec.splits)) * len(spec.scales),
        "objects": 1 + len(documents(spec)) + sum(len(place.keys) for place in found),
        "bytes": sum(place.nbytes for place in found)
        + sum(len(str(name)) + 4 for rows in given.order.values() for name in given.faces.names[rows]),
        "pictures": total,
        "pictures_per_second": rate,
        "sampled": len(rows) * len(sampled),
        "seconds": total / rate,
    }  # fmt: skip


def _extract_blocks(
    given: Sources, writer: FeatureWriter, missing: Sequence[tuple[str, int, int]], watch: Watch
) -> None:
    """Extract and write what is missing."""
    lengths = [writer.rows(split, block).stop - writer.rows(split, block).start for split, _, block in missing]
    done, total = 0, sum(lengths)
    parts: list[Features] = []
    current = 0
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1) as pool, closing(ahead(_views(given, writer, missing), depth=_VIEWS_AHEAD)) as views:
        for view in views:
            parts.append(features_of_view(given.model, view))
            done += len(view)
            split, scale, block = missing[current]
            watch(Progress("extracting", done, total, "pictures", {"scale": scale}))
            if sum(len(part.features) for part in parts) < lengths[current]:
                continue
            values = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Features._fields}
            parts, current = [], current + 1
            if writing is not None:
                writing.result()
            writing = pool.submit(writer.write, split, scale, block=block, **values)
        if writing is not None:
            writing.result()


def _views(given: Sources, writer: FeatureWriter, missing: Sequence[tuple[str, int, int]]) -> Iterator[Pictures]:
    """Yield the batches of every missing block, none across two; pictures are decoded once for all scales."""
    current: tuple[str, int] | None = None
    pictures: Pictures = np.empty(0, np.uint8)
    for split, scale, block in missing:
        if current != (split, block):
            current, pictures = (split, block), given.faces.batch(given.order[split][writer.rows(split, block)])
        for start in range(0, len(pictures), BATCH):
            yield view_of(pictures[start : start + BATCH], scale=scale, degradation=given.degradation)


def _order(faces: Faces) -> dict[str, NDArray[np.int64]]:
    """Return which pictures are the rows of every split that has any, in the store's order."""
    hashes, labels, names = faces.hashes, faces.labels, faces.names
    order = {}
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(faces.splits == number)
        if len(rows):
            order[split] = rows[row_order(hashes[rows], labels[rows], ids=list(names[rows]))]
    return order


def _spec(given: Sources, *, scales: Sequence[int], data: str) -> StoreSpec:
    faces, config, degradation = given.faces, given.model.config, asdict(given.degradation)
    rows = {split: len(chosen) for split, chosen in given.order.items()}
    length = vech_length(config.spd_side)
    chunk, block = chunk_and_block(length * ITEMSIZE[_DTYPE], rows)
    every = np.concatenate(list(given.order.values()))
    return StoreSpec(
        digests={
            "pictures": sha256(faces.hashes[every].tobytes()).hexdigest(),
            "labels": sha256(",".join(faces.classes).encode() + faces.labels[every].tobytes()).hexdigest(),
            "order": sha256(f"{_ORDER} {rows}".encode()).hexdigest(),
            "weights": given.weights,
            "preprocessing": sha256(f"{PREPROCESSING} {faces.side} {degradation} {BATCH}".encode()).hexdigest(),
        },
        classes=faces.classes,
        scales=tuple(sorted({1, *scales})),
        widths={"features": length, "embeddings": config.embedding, "probabilities": len(faces.classes)},
        dtype=_DTYPE,
        recipe={"side": faces.side, "spd_side": config.spd_side, "degradation": degradation},
        data=data,
        rows=rows,
        chunk=chunk,
        block=block,
    )
