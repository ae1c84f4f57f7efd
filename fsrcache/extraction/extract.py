"""``extract``: run the frozen extractor over every face at every scale, into the store."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.ahead import ordered_map
from fsrcache.device import check_device
from fsrcache.errors import FsrcacheError
from fsrcache.extraction.features import Features, features_of_view, side_by_side, view_of
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.faces import Faces
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.store.layout import ITEMSIZE, documents, places
from fsrcache.store.order import row_order
from fsrcache.store.spec import StoreSpec, chunk_and_block
from fsrcache.store.writer import FeatureWriter, unwritten

BATCH = 128  # pictures; never across two blocks
_BATCHES_AHEAD = 2  # that wait for a thread
_ORDER = "hash, label, id; then one shuffle, PCG64, seed 0"
_SAMPLED_SCALES, _SAMPLED_BATCHES = 3, 2  # of a dry run
_DTYPE = "float16"


class Sources(NamedTuple):
    """What is extracted, how, and with what.

    Attributes
    ----------
    faces
        The pictures, of the extractor's side.
    extractor
        The frozen network, on its device.
    order
        Of every split: which pictures are its rows.
    degradation
        How coarse pictures are made.
    """

    faces: Faces
    extractor: Extractor
    order: Mapping[str, NDArray[np.int64]]
    degradation: Degradation


def sources(
    faces: Faces, extractor: Extractor | Path, *, device: torch.device, degradation: Degradation = SCALE_FORM
) -> Sources:
    """Open the extractor and put the faces in the store's order.

    Raises
    ------
    FsrcacheError
        If there is no such extractor, or the classes are not the extractor's.
    """
    check_device(device)
    extractor = open_extractor(extractor, device=device)
    if faces.classes != extractor.classes:
        raise FsrcacheError(
            f"The classes of the faces are {', '.join(faces.classes)}; "
            f"those of {extractor.name} are {', '.join(extractor.classes)}.",
            "Pre-train an extractor on these data, in a workspace of its own.",
        )
    if faces.side != extractor.side:
        raise FsrcacheError(
            f"The faces have {faces.side} pixels a side; {extractor.name} takes {extractor.side}.",
            f"Read them at its side: usable_faces(listing, side={extractor.side}).",
        )
    return Sources(faces, extractor, _order(faces), degradation)


def extract(
    given: Sources,
    *,
    store: str | PathLike[str],
    scales: Sequence[int],
    data: str,
    part: tuple[int, int] = (1, 1),
    on_progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Write features, embeddings and probabilities of all faces into a store; what is there already is kept.

    Batches are decoded, resized and extracted side by side, each on a thread of its own, and blocks are written on
    one more; in memory are the pictures of a block, a few batches and two blocks of features.

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
    on_progress
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
        _extract_blocks(given, writer, missing, on_progress)
        complete = writer.finish(on_progress)
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


def dry_run(
    given: Sources, *, store: str | PathLike[str], scales: Sequence[int], part: tuple[int, int] = (1, 1)
) -> dict[str, Any]:
    """Return what :func:`extract` with these arguments would do and how long it would take, from a measured sample.

    Returns
    -------
    dict
        ``rows`` by split, ``scales``, ``blocks``, ``objects`` and ``bytes`` of the whole store, but for a few kilobytes
        of metadata; ``missing`` blocks of this part, ``pictures`` of them (faces times scales),
        ``pictures_per_second`` of a sample, ``sampled`` (its pictures), ``seconds``.

    Raises
    ------
    FsrcacheError
        If the store is of other content, or cannot be read.
    """
    spec, missing = unwritten(store, _spec(given, scales=scales, data=""), part=part)
    rows = given.order[spec.splits[0]][: BATCH * _SAMPLED_BATCHES]
    scales_sampled = {spec.scales[i] for i in np.linspace(0, len(spec.scales) - 1, _SAMPLED_SCALES).astype(int)}
    deque(_extracted(given, [(batch, 1) for batch in _pictures(given, rows)]), maxlen=0)  # the first calls are slower
    began = time.perf_counter()
    pictures = _pictures(given, rows)
    sample = [(batch, scale) for scale in sorted(scales_sampled) for batch in pictures]
    sampled = sum(len(features.features) for features in _extracted(given, sample))
    rate = sampled / (time.perf_counter() - began)
    found = places(spec)
    blocks = [spec.rows_of(split, block) for split, _, block in missing]
    total = sum(block.stop - block.start for block in blocks)
    return {
        "rows": dict(spec.rows),
        "scales": list(spec.scales),
        "blocks": sum(map(spec.blocks, spec.splits)) * len(spec.scales),
        "objects": 1 + len(documents(spec)) + sum(len(place.keys) for place in found),
        "bytes": sum(place.nbytes for place in found)
        + sum(len(str(name)) + 4 for rows in given.order.values() for name in given.faces.names[rows]),
        "missing": len(missing),
        "pictures": total,
        "pictures_per_second": rate,
        "sampled": sampled,
        "seconds": total / rate,
    }  # fmt: skip


def _extract_blocks(
    given: Sources, writer: FeatureWriter, missing: Sequence[tuple[str, int, int]], on_progress: ProgressCallback
) -> None:
    """Extract and write what is missing, every block while the next one is extracted."""
    lengths = [len(_rows(given, writer, split, block)) for split, _, block in missing]
    done, total = 0, sum(lengths)
    writing: Future[None] | None = None
    with ThreadPoolExecutor(1) as pen, closing(_extracted(given, _batches(given, writer, missing))) as extracted:
        for (split, scale, block), length in zip(missing, lengths, strict=True):
            values: dict[str, NDArray[np.float32]] = {}
            for start, part in zip(range(0, length, BATCH), extracted, strict=False):
                for name, rows in part._asdict().items():
                    whole = values.setdefault(name, np.empty((length, rows.shape[1]), np.float32))
                    whole[start : start + len(rows)] = rows
                done += len(part.features)
                on_progress(Progress("extracting", done, total, "pictures", {"scale": scale}))
            if writing is not None:
                writing.result()
            writing = pen.submit(writer.write, split, scale, block=block, **values)
        if writing is not None:
            writing.result()


def _extracted(given: Sources, batches: Iterable[tuple["_Once", int]]) -> Generator[Features]:
    """Yield the features of batches, each pictures and their scale, in order."""

    def extract_batch(batch: tuple[_Once, int]) -> Features:
        pictures, scale = batch
        return features_of_view(given.extractor, view_of(pictures.get(), scale=scale, degradation=given.degradation))

    with side_by_side(given.extractor) as workers:
        under_way = workers.threads + _BATCHES_AHEAD
        yield from ordered_map(
            extract_batch, batches, threads=workers.threads, under_way=under_way, begin=workers.begin
        )


def _rows(given: Sources, writer: FeatureWriter, split: str, block: int) -> NDArray[np.int64]:
    return given.order[split][writer.rows(split, block)]


def _batches(
    given: Sources, writer: FeatureWriter, missing: Sequence[tuple[str, int, int]]
) -> Iterator[tuple["_Once", int]]:
    """Yield pictures and scale of every batch of the missing blocks; the scales of a block share its pictures."""
    current: tuple[str, int] | None = None
    batches: list[_Once] = []
    for split, scale, block in missing:
        if current != (split, block):
            current, rows = (split, block), _rows(given, writer, split, block)
            batches = _pictures(given, rows)
        yield from ((batch, scale) for batch in batches)


def _pictures(given: Sources, rows: NDArray[np.int64]) -> list["_Once"]:
    """Return the pictures of rows in batches, to be decoded."""
    parts = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    return [_Once(partial(given.faces.batch, part, threads=1)) for part in parts]


class _Once:
    """Pictures that the first thread to ask for them decodes."""

    def __init__(self, decode: Callable[[], Pictures]) -> None:
        self._decode, self._lock = decode, Lock()
        self._pictures: Pictures | None = None

    def get(self) -> Pictures:
        with self._lock:
            if self._pictures is None:
                self._pictures = self._decode()
            return self._pictures


def _order(faces: Faces) -> dict[str, NDArray[np.int64]]:
    """Return which pictures are the rows of every split that has any, in the store's order."""
    hashes, labels, names = faces.hashes, faces.labels, faces.names
    order = {}
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(faces.splits == number)
        if len(rows):
            order[split] = rows[row_order(hashes[rows], labels[rows], ids=names[rows])]
    return order


def _spec(given: Sources, *, scales: Sequence[int], data: str) -> StoreSpec:
    faces, extractor, degradation = given.faces, given.extractor, asdict(given.degradation)
    rows = {split: len(chosen) for split, chosen in given.order.items()}
    length = extractor.form.length
    chunk, block = chunk_and_block(length * ITEMSIZE[_DTYPE], rows)
    every = np.concatenate(list(given.order.values()))
    return StoreSpec(
        digests={
            "pictures": sha256(faces.hashes[every].tobytes()).hexdigest(),
            "labels": sha256(",".join(faces.classes).encode() + faces.labels[every].tobytes()).hexdigest(),
            "order": sha256(f"{_ORDER} {rows}".encode()).hexdigest(),
            "weights": extractor.digest,
            "preprocessing": sha256(
                f"{extractor.preprocessing} {faces.side} {degradation} {BATCH}".encode()
            ).hexdigest(),
        },
        classes=faces.classes,
        scales=tuple(sorted({1, *scales})),
        widths={"features": length, "embeddings": extractor.embedding, "probabilities": len(faces.classes)},
        dtype=_DTYPE,
        recipe={
            "extractor": extractor.name,
            "side": faces.side,
            "spd_side": extractor.form.side,
            "degradation": degradation,
        },
        data=data,
        rows=rows,
        chunk=chunk,
        block=block,
    )
