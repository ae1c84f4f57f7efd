"""Trainings on drawn features, without a store."""

from typing import Literal

import torch

from fsrcache.extractors.covpool import Head
from fsrcache.models.critic import VGGCritic
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.forms import form_of, make_generator
from fsrcache.presets import TrainConfig
from fsrcache.spd import vech_length
from fsrcache.training.data.batches import Batches
from fsrcache.training.data.loader import FeatureCache
from fsrcache.training.step.capture import capturer
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import Networks

from studies.gpu.drawn import drawn  # isort: skip

_FACES, _SCALES, _CLASSES, _EMBEDDING, _HIDDEN, _EARLY = 500, (1, 2, 4, 8), 7, 128, 256, 96


def drawn_cache(side: int, device: torch.device) -> FeatureCache:
    """Return a cache of random features, about as large as log-covariances."""
    length, shape = vech_length(side), (len(_SCALES), _FACES)
    random = torch.Generator().manual_seed(2)
    cpu = torch.device("cpu")
    return FeatureCache(
        features=drawn(*shape, length, device=cpu).half().to(device),
        early=drawn(*shape, _EARLY, device=cpu, seed=3).half().to(device),
        embeddings=drawn(_FACES, _EMBEDDING, device=cpu, seed=1).relu().half().to(device),
        probabilities=torch.rand(*shape, generator=random).to(device),
        labels=torch.randint(_CLASSES, (_FACES,), generator=random).to(device),
        labelled=torch.ones(_FACES, device=device),
        scales=torch.tensor(_SCALES, device=device)[:, None].expand(shape),
    )


def drawn_trainer(
    config: TrainConfig,
    side: int,
    device: torch.device,
    *,
    mode: Literal["device", "ram"] = "device",
    eager: bool = False,
    plain: bool = False,
    ahead: int,
) -> Trainer:
    """Return a trainer at its first step; the same arguments give the same weights.

    Parameters
    ----------
    config
        Settings of the training.
    side
        Side D of the features.
    device
        Device of the training; on a GPU steps are captured unless they are eager or plain.
    mode
        Location of the cache.
    ahead
        Largest number of steps prepared together.
    """
    cache = drawn_cache(side, device if mode == "device" else torch.device("cpu"))
    torch.manual_seed(0)
    length = vech_length(side)
    generator = make_generator(config.generator, FeatureForm(length, side, early=_EARLY), plain=plain)
    standardise = form_of(config.generator).standardise
    if standardise is not None:
        standardise(generator, *(moment.cpu() for moment in cache.moments()))
    critic = None if config.critic is None else VGGCritic(config.critic, side).to(device)
    head = Head(length, _HIDDEN, _EMBEDDING, _CLASSES).to(device).eval().requires_grad_(False)
    batches = Batches(cache, config, mode=mode, seed=0, device=device, ahead=ahead)
    captures = capturer(device, plain=plain or eager)
    return Trainer(Networks(generator.to(device), critic, head), batches, config, plain=plain, capturer=captures)
