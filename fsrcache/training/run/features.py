"""The features of a training: their location, those that are learnt from, and the held-out ones that are scored.

Nothing here depends on networks, so that several trainings of one store can share it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fsrcache.errors import FsrcacheError, Remedy, RequestError, arguments
from fsrcache.presets import TrainConfig
from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.batches import draws
from fsrcache.training.data.loader import (
    FeatureCache,
    cache_bytes,
    load_cache,
    load_splits,
    trained_count,
    trained_rows,
)
from fsrcache.training.data.memory import CacheLocation, locate_cache
from fsrcache.training.data.stream import Stream
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.training.run.checkpoint import CHECKPOINT, run_record

SCORED_FACES = 512  # faces that are scored at a time, and the first of them on the way
_DRAWN, _STREAMED = "drawn", "streamed"  # orders of faces


@dataclass(frozen=True, eq=False)
class TrainFeatures:
    """The features of a training.

    Attributes
    ----------
    source
        Training split without its held-out tenth, and the store's extra splits, all scales: a cache in memory, or a
        stream from the store. A stream gives the batches of one seed and one batch size; a cache serves any training.
    held_out
        The first 512 held-out faces at all scales, on the training's device.
    location
        Location of ``source``.
    device
        Device of the training.
    """

    source: FeatureCache | Stream
    held_out: FeatureCache
    location: CacheLocation
    device: torch.device

    @property
    def early(self) -> int:
        """Q, the number of values of the early features; 0 where there are none."""
        return self.held_out.early.shape[2]

    @property
    def order(self) -> str:
        """Order of the faces in words, which a run keeps."""
        if isinstance(self.source, Stream):
            return f"{_STREAMED}, {self.source.resident} chunks together"
        return _DRAWN


def store_of_run(
    store: FeatureStore,
    folder: Path | None,
    *,
    scales: Sequence[int] | None = None,
    extra: Sequence[str] | None = None,
) -> FeatureStore:
    """Return the store with the scales and extra splits that a training draws from.

    Parameters
    ----------
    store
        The store.
    folder
        Folder of the run; None for a new one.
    scales, extra
        Scales beside full resolution, and names of the extra splits; None for those that the run was begun with, and
        all for a new one.

    Raises
    ------
    RequestError
        If the store has no such scale or extra split.
    """
    record = None if folder is None else run_record(folder / CHECKPOINT)
    if record is not None and scales is None:
        begun = record["settings"].get("scales")
        scales = begun if isinstance(begun, list) else None
    if record is not None and extra is None:
        begun = record["settings"].get("extra")
        extra = [*store.spec.extra.keys() & (begun.keys() if isinstance(begun, Mapping) else ())]
    store = store if scales is None else store.at_scales(scales)
    return store if extra is None else store.with_extra(extra)


def read_by(store: FeatureStore, config: TrainConfig) -> FeatureStore:
    """Return the store as a training reads it: without early features where its generator reads none."""
    return store if getattr(config.generator, "early", False) else store.without_early()


def order_of_run(folder: Path | None) -> str | None:
    """Return the order of the faces of the run that a folder holds; None where there is none."""
    record = None if folder is None else run_record(folder / CHECKPOINT)
    order = None if record is None else record["settings"].get("order")
    return order if isinstance(order, str) else None


def goes_on_from(location: CacheLocation, order: str | None) -> bool:
    """Tell whether a location gives faces in a run's order; any does where there is none."""
    return order is None or order.startswith(_STREAMED) == (location.mode == "stream")


def choose_location(
    store: FeatureStore, cache: str, *, device: torch.device, folder: Path | None = None, ranks: Ranks = ALONE
) -> CacheLocation:
    """Return the location of the training split's features without its held-out tenth.

    A run that a folder holds goes on in its own order of faces: from the device or from memory, which give the same
    batches, or streamed. The memory that is free now may change the location, never the order.

    Parameters
    ----------
    store
        The features.
    cache
        ``auto``, ``device``, ``ram`` or ``stream``.
    device
        Device of the training.
    folder
        Folder of the run; None for a new one.
    ranks
        The processes that train; where one has to stream, all do.

    Raises
    ------
    RequestError
        If there is no such cache, or it has another order than the run.
    FsrcacheError
        If the cache is ``auto`` and the run's own does not fit any more.
    """
    sizes = cache_bytes(store, rows=trained_count(store))
    location = locate_cache(cache, sizes, device=device, ranks=ranks.local_size)
    streamed_by_some = any(streams for (streams,) in ranks.gathered(location.mode == "stream"))
    if streamed_by_some and location.mode != "stream":
        location = CacheLocation("stream", f"{location.reason}; another process has no room for them")
    order = order_of_run(folder)
    if order is None or goes_on_from(location, order):
        return location
    streamed = order.startswith(_STREAMED)
    if cache != "auto":
        raise RequestError(
            f"{folder} holds a run whose batches are {order}; the cache {cache} gives them in another order.",
            Remedy(
                "Go on with `{}`, or begin anew: another name, or `{}`.",
                arguments(cache="stream" if streamed else "ram"),
                arguments(restart=True),
            ),
        )
    if streamed:
        return CacheLocation("stream", f"{location.reason}; the run was begun so")
    raise FsrcacheError(
        f"{folder} holds a run whose batches are drawn from memory, where its features do not fit now: "
        f"{location.reason}.",
        Remedy(
            "Free some memory, go on all the same with `{}`, or begin anew: another name, or `{}`.",
            arguments(cache="ram"),
            arguments(restart=True),
        ),
    )


def open_features(
    store: FeatureStore,
    config: TrainConfig,
    *,
    location: CacheLocation,
    device: torch.device,
    seed: int,
    on_progress: ProgressCallback = no_progress,
) -> TrainFeatures:
    """Read the features of a training, or open their stream.

    Parameters
    ----------
    store
        The features.
    config
        Settings of the training; a stream's batches depend on them.
    location
        Location of the features.
    device
        Device of the training.
    seed
        Random seed of a stream's order.
    on_progress
        Callback while features are read.

    Raises
    ------
    FsrcacheError
        If there are no faces, or no scale but full resolution.
    """
    store = read_by(store, config)
    left_out, trained = store.held_out(), trained_rows(store)
    if not left_out.any():
        raise FsrcacheError(
            f"None of the {len(left_out):,} training faces of {store.name} is of the held-out tenth, which is scored.",
            "Extract more faces.",
        )
    near = device if location.mode == "device" else torch.device("cpu")
    pinned = near.type == "cpu" and device.type == "cuda"
    source: FeatureCache | Stream
    if location.mode == "stream":
        source = Stream(store, trained, count=draws(config) * config.batch, seed=seed)
    else:
        rows = {split: np.flatnonzero(wanted) for split, wanted in trained.items()}
        source = load_splits(store, rows, device=near, pinned=pinned, on_progress=on_progress)
    held_out = load_cache(store, "train", rows=np.flatnonzero(left_out)[:SCORED_FACES], device=device)
    return TrainFeatures(source, held_out, location, device)


def held_out_parts(store: FeatureStore, *, device: torch.device) -> Iterator[FeatureCache]:
    """Yield all held-out faces at all scales from the store, 512 at a time, on a device."""
    rows = np.flatnonzero(store.held_out())
    for start in range(0, len(rows), SCORED_FACES):
        yield load_cache(store, "train", rows=rows[start : start + SCORED_FACES], device=device)
