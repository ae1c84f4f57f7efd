"""From a store and a config to something that takes steps: caches, networks, batches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.critic import VGGCritic
from fsrcache.models.generator import MLPGenerator, make_generator
from fsrcache.presets import TrainConfig
from fsrcache.spd import vech_side
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.batches import Batches, draws
from fsrcache.training.data.loader import FeatureCache, cache_bytes, load_cache
from fsrcache.training.data.memory import Place, locate_cache
from fsrcache.training.data.stream import Stream
from fsrcache.training.run.checkpoint import settings_of
from fsrcache.training.run.loop import CHECKPOINT, MOST_STEPS
from fsrcache.training.step.capture import capturer
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import Networks

_HELD_OUT = 512  # faces that are scored
_DRAWN, _STREAMED = "drawn", "streamed"  # orders of faces


@dataclass(frozen=True)
class TrainSetup:
    """What takes the steps, the held-out faces, and in words the order of the others."""

    trainer: Trainer
    held_out: FeatureCache
    order: str


def refuse_other_extractor(store: FeatureStore, extractor: Extractor) -> None:
    """Raise if a store was not written with an extractor.

    Raises
    ------
    FsrcacheError
        Naming both.
    """
    if extractor.digest != store.spec.digests["weights"]:
        name = store.spec.recipe.get("extractor", "another extractor")
        other = f"other weights of {name}" if name == extractor.name else name
        raise FsrcacheError(
            f"The store {store.name} was written with {other}, not with this {extractor.name}.",
            "Extract again into a new workspace, or restore the extractor.",
        )


def choose_location(store: FeatureStore, asked: str, *, device: torch.device, folder: Path | None = None) -> Place:
    """Return where the features of the training split lie without its held-out tenth.

    A run that a folder holds goes on in its own order of faces: from the device or from memory, which give the same
    batches, or streamed. What else is free now changes nothing.

    Raises
    ------
    RequestError
        If there is no such cache.
    FsrcacheError
        If what is asked for has another order than the run, or the run's own does not fit any more.
    """
    size = cache_bytes(store, rows=int((~store.held_out()).sum()))
    place = locate_cache(asked, size, device=device)
    settings = None if folder is None else settings_of(folder / CHECKPOINT)
    order = None if settings is None else settings.get("order")
    if not isinstance(order, str):
        return place
    streamed = order.startswith(_STREAMED)
    if streamed == (place.mode == "stream"):
        return place
    if asked != "auto":
        raise FsrcacheError(
            f"{folder} holds a run whose batches are {order}; --cache {asked} gives them in another order.",
            f"Go on with --cache {'stream' if streamed else 'ram, or device'}, or begin anew under another --name.",
        )
    if streamed:
        return Place("stream", f"{place.reason}; the run was begun so")
    raise FsrcacheError(
        f"{folder} holds a run whose batches are drawn from memory, where its features do not fit now: {place.reason}.",
        "Free some memory, go on all the same with --cache ram, or begin anew under another --name.",
    )


def build(
    store: FeatureStore,
    extractor: Extractor | Path,
    config: TrainConfig,
    *,
    place: Place,
    device: torch.device,
    seed: int,
    plain: bool,
    measured: bool = False,
) -> TrainSetup:
    """Return what trains, at its first step.

    Parameters
    ----------
    store, extractor
        The features, and the extractor that they come from, whose head is the frozen one.
    config, seed, plain, measured
        As for ``Trainer``; the seed fixes the first weights too.
    place
        Where the cache lies.
    device
        Where it is trained.
    """
    left_out = store.held_out()
    near = device if place.mode == "device" else torch.device("cpu")
    pinned = near.type == "cpu" and device.type == "cuda"
    source: FeatureCache | Stream
    if place.mode == "stream":
        source = Stream(store, ~left_out, count=draws(config) * config.batch, seed=seed)
    else:
        source = load_cache(store, "train", rows=np.flatnonzero(~left_out), device=near, pinned=pinned)
    held_out = load_cache(store, "train", rows=np.flatnonzero(left_out)[:_HELD_OUT], device=device)
    torch.manual_seed(seed)
    length = store.spec.widths["features"]
    generator = make_generator(config.generator, length, plain=plain)
    critic = None if config.critic is None else VGGCritic(config.critic, vech_side(length)).to(device)
    if isinstance(generator, MLPGenerator):
        generator.standardise_by(*(moment.cpu() for moment in source.moments()))
    head = open_extractor(extractor).frozen_head()
    batches = Batches(source, config, mode=place.mode, seed=seed, device=device, ahead=MOST_STEPS)
    networks = Networks(generator.to(device), critic, head.to(device))
    trainer = Trainer(networks, batches, config, plain=plain, capturer=capturer(device, plain=plain), measured=measured)
    order = f"{_STREAMED}, {source.resident} chunks together" if isinstance(source, Stream) else _DRAWN
    return TrainSetup(trainer, held_out, order)
