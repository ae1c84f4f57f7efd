"""Extraction: the features of every face at every scale, written into the store, and an estimate of that work."""

import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from fsrcache.announce import FirstSeconds, announce
from fsrcache.device import in_words
from fsrcache.extraction.batches import batch_features, picture_batches
from fsrcache.extraction.blocks import Extracted, WriteBlock, extract_blocks, pictures_of
from fsrcache.extraction.features import SIDE_BY_SIDE
from fsrcache.extraction.on_ray import RayCluster, extract_on_ray
from fsrcache.extraction.room import bytes_of_names, refuse_full_disk
from fsrcache.extraction.source import FaceSource, face_source, store_spec
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.identity import BATCH
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.faces import Faces
from fsrcache.progress import Progress, ProgressCallback, counted, no_progress, note
from fsrcache.store.blocks import Block
from fsrcache.store.layout import arrays
from fsrcache.store.metadata import documents
from fsrcache.store.writer import FeatureWriter, unwritten

_SAMPLED_SCALES, _SAMPLED_BATCHES = 3, 2  # of an estimate


@dataclass(frozen=True)
class ExtractResult:
    """What an extraction wrote.

    Attributes
    ----------
    store
        The store's folder or URL.
    rows
        Number of faces by split, those that only trainings read included.
    scales
        Scales in the store, ascending.
    blocks, resumed_from
        Number of blocks of this part, and how many of them were there before.
    complete
        Whether the store is complete; False while other parts are missing.
    digest
        Hexadecimal SHA-256 of what the store is about.
    seconds
        Duration of this call.
    """

    store: str
    rows: Mapping[str, int]
    scales: tuple[int, ...]
    blocks: int
    resumed_from: int
    complete: bool
    digest: str
    seconds: float


@dataclass(frozen=True)
class ExtractEstimate:
    """What an extraction would write, and how long it would take.

    Attributes
    ----------
    rows
        Number of faces by split.
    scales
        Scales of the store, ascending.
    blocks, objects, bytes
        Numbers of blocks and objects of the whole store, and its bytes without a few kilobytes of metadata.
    missing
        Number of blocks of this part that are not there yet.
    pictures
        Number of pictures in them, faces times scales.
    pictures_per_second, sampled
        Measured rate, and the number of pictures that it was measured on.
    seconds
        Estimated duration.
    preset, pretraining_seconds
        Preset and estimated duration of the pre-training that comes first; None where there is an extractor.
    """

    rows: Mapping[str, int]
    scales: tuple[int, ...]
    blocks: int
    objects: int
    bytes: int
    missing: int
    pictures: int
    pictures_per_second: float
    sampled: int
    seconds: float
    preset: str | None = None
    pretraining_seconds: float | None = None


def extract_features(
    source: FaceSource,
    *,
    store: str | PathLike[str],
    scales: Sequence[int],
    data: str,
    part: tuple[int, int] = (1, 1),
    cluster: RayCluster | None = None,
    on_begin: Callable[[], None] = lambda: None,
    on_progress: ProgressCallback = no_progress,
) -> ExtractResult:
    """Write what the extractor says of all faces into a store; what is there already is kept.

    Batches are decoded, resized and extracted side by side, each on a thread of its own, and blocks are written on
    one more; in memory are up to 256 MiB of a block's pictures, a few batches and two blocks of features. Where the
    pictures of a block are more, the others are decoded for each scale. On Ray that is so in every worker.

    Parameters
    ----------
    source
        Faces and extractor, as ``face_source`` returns them.
    store
        The store's folder, or a URL that Zarr opens through fsspec.
    scales
        Scales from 1, full resolution, which is written in any case.
    data
        The data in one line, for people.
    part
        ``(i, n)``: the i-th of n shares, i from 1; whoever finishes last completes the store.
    cluster
        The cluster of Ray that extracts; None for this process.
    on_begin
        Called once the store is open and nobody else writes it.
    on_progress
        Called after every batch, on Ray after every block, and while the store is completed. After the first seconds a
        note says how long all of it takes.

    Raises
    ------
    FsrcacheError
        If the store is of other content, somebody else writes it, its disk has no room, or it cannot be written; on Ray
        also if there is no such cluster, or its workers die.
    """
    began = time.perf_counter()
    spec = store_spec(source, scales=scales, data=data)
    refuse_full_disk(store, spec, source)
    device = source.extractor.device
    with FeatureWriter(store, spec, **source.columns(), part=part) as writer:
        on_begin()
        missing = writer.missing()
        if writer.removed:
            splits = ", ".join(writer.removed)
            on_progress(note(f"Removed: what an interrupted extraction of other faces had written of {splits}."))
        if cluster is None:
            extracted, where = extract_blocks(source, writer.spec, missing, write=_writing(writer)), in_words(device)
        else:
            extracted, where = extract_on_ray(source, writer.spec, missing, store=store, cluster=cluster), "Ray"
            on_progress(Progress("beginning workers", 0, 1, "clusters"))
        if missing:
            _finish_all(extracted, pictures_of(writer.spec, missing), where, on_progress)
        complete = writer.finish(on_progress)
        return ExtractResult(
            store=writer.name,
            rows={split: writer.spec.count(split) for split in writer.spec.every_split},
            scales=tuple(writer.spec.scales),
            blocks=writer.resumed_from + len(missing),
            resumed_from=writer.resumed_from,
            complete=complete,
            digest=writer.spec.digest,
            seconds=time.perf_counter() - began,
        )


def estimate_extraction(
    source: FaceSource,
    *,
    store: str | PathLike[str],
    scales: Sequence[int],
    part: tuple[int, int] = (1, 1),
    on_progress: ProgressCallback = no_progress,
) -> ExtractEstimate:
    """Estimate what :func:`extract_features` with these arguments would do, from a measured sample; write nothing.

    Raises
    ------
    FsrcacheError
        If the store is of other content, or cannot be read.
    """
    spec, missing = unwritten(store, store_spec(source, scales=scales, data=""), part=part)
    sampled, rate = _sample(source, spec.scales, on_progress)
    every = arrays(spec)
    total = pictures_of(spec, missing)
    return ExtractEstimate(
        rows={split: spec.count(split) for split in spec.every_split},
        scales=tuple(spec.scales),
        blocks=sum(map(spec.blocks, spec.every_split)) * len(spec.scales),
        objects=1 + len(documents(spec)) + sum(len(array.keys) for array in every),
        bytes=sum(array.nbytes for array in every) + bytes_of_names(source, spec.every_split),
        missing=len(missing),
        pictures=total,
        pictures_per_second=rate,
        sampled=sampled,
        seconds=total / rate,
    )


def following_extraction(
    faces: Faces,
    *,
    scales: Sequence[int],
    degradation: Degradation,
    views: int = 0,
    unlabelled: Faces | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Callable[[Extractor], tuple[float, str]]:
    """Return a function of an extractor that estimates its extraction of faces, in seconds and in words."""
    whole = sorted({1, *scales})

    def estimate(extractor: Extractor) -> tuple[float, str]:
        extractor.module.eval()
        source = face_source(
            faces, extractor, device=extractor.device, degradation=degradation, views=views, unlabelled=unlabelled
        )
        extra = sum(len(one.order) for one in source.extra.values())
        pictures = (len(faces.rows) + extra) * len(whole)
        return pictures / _sample(source, whole, on_progress)[1], f"the extraction of {pictures:,} pictures"

    return estimate


def _sample(
    source: FaceSource, scales: Sequence[int], on_progress: ProgressCallback = no_progress
) -> tuple[int, float]:
    """Extract a few batches; return their number of pictures and the pictures per second."""
    rows = next(iter(source.order.values()))[: BATCH * _SAMPLED_BATCHES]
    chosen = {scales[i] for i in np.linspace(0, len(scales) - 1, _SAMPLED_SCALES).astype(int)}
    warm_up = [(batch, 1) for batch in picture_batches(source, rows)]  # the first calls are slower
    deque(counted(batch_features(source, warm_up), "measuring", "batches", on_progress, total=len(warm_up)), maxlen=0)
    began = time.perf_counter()
    pictures = picture_batches(source, rows)
    sample = [(batch, scale) for scale in sorted(chosen) for batch in pictures]
    extracted = counted(batch_features(source, sample), "measuring", "batches", on_progress, total=len(sample))
    sampled = sum(len(features.features) for features in extracted)
    return sampled, sampled / (time.perf_counter() - began)


def _writing(writer: FeatureWriter) -> WriteBlock:
    """Return a function that writes a block by a writer."""

    def write(block: Block, values: Mapping[str, NDArray[np.float32]]) -> None:
        split, scale, number = block
        writer.write(split, scale, block=number, **values)

    return write


def _finish_all(extracted: Generator[Extracted], total: int, where: str, on_progress: ProgressCallback) -> None:
    """Have all pictures extracted, and report how many are; after the first seconds also how long the others take."""
    done, first = 0, FirstSeconds()
    with closing(extracted):
        for scale, count in extracted:
            done += count
            on_progress(Progress("extracting", done, total, "pictures", {"scale": scale}))
            pace = first.measured(done) if done >= SIDE_BY_SIDE * BATCH else None  # of all threads
            if pace is not None:
                left, work = pace.seconds_each * (total - done), f"{total:,} pictures on {where}"
                announce(on_progress, left, work, by=f"the first {pace.pieces:,}")
