"""The subject of a step's measurements: an extractor, pictures, their features in a cache, and a trainer.

Weights and pictures are random, at the sizes of a preset, since a step's time does not depend on values. The
features are really the extractor's of the pictures, so that a batch from the cache can be checked against the same
batch extracted. The learning rate is 0: every step is the same step.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsrcache.extraction.features import features_of
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.extractors.extractor import Extractor
from fsrcache.models.critic import VGGCritic
from fsrcache.models.generators.forms import make_generator
from fsrcache.presets import EXTRACTORS, TRAINING, CriticConfig, ExtractorConfig, RRDBConfig, TrainConfig
from fsrcache.spd import vech_length
from fsrcache.training.data.batches import Batches
from fsrcache.training.data.loader import FeatureCache
from fsrcache.training.step.capture import capturer
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import Networks

_CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_SCALES = (1, 2, 4, 8)
_AT_ONCE = 64  # pictures extracted


class Subject(NamedTuple):
    """A preset at a size: its name, settings, extractor, and the faces that it trains on."""

    name: str
    config: TrainConfig
    extractor: Extractor
    pictures: NDArray[np.uint8]
    cache: FeatureCache

    def trainer(self, *, plain: bool = False, eager: bool = False) -> Trainer:
        """Return a trainer; on a GPU its steps are captured unless they are plain or eager."""
        device = self.cache.features.device
        torch.manual_seed(0)
        form = self.extractor.form
        generator = make_generator(self.config.generator, form, plain=plain).to(device)
        critic = None if self.config.critic is None else VGGCritic(self.config.critic, form.side).to(device)
        batches = Batches(self.cache, self.config, mode="device", seed=0, device=device, ahead=1)
        batches.prepare(0, 1)
        networks = Networks(generator, critic, self.extractor.head)
        captures = capturer(device, plain=plain or eager)
        return Trainer(networks, batches, self.config, plain=plain, capturer=captures)

    def extract(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fine and coarse features and early features of faces at scale indices.

        int64 [2, B] -> fp32 [2, B, P] and [2, B, Q].
        """
        face, scale_index = chosen.cpu().numpy()
        fine = self._features(face, 1)
        coarse = [np.empty_like(values) for values in fine]
        for one in np.unique(scale_index):
            here = np.flatnonzero(scale_index == one)
            for values, extracted in zip(coarse, self._features(face[here], _SCALES[one]), strict=True):
                values[here] = extracted
        features, early = (torch.from_numpy(np.stack(pair)) for pair in zip(fine, coarse, strict=True))
        return features, early

    def write(self, chosen: Tensor, features: Tensor, early: Tensor) -> None:
        """Write features and early features of faces, as ``extract`` returns them, into the cache."""
        face, scale_index = chosen.to(self.cache.features.device)
        for values, pair in ((self.cache.features, features), (self.cache.early, early)):
            fine, coarse = pair.to(values.device).half()
            values[torch.zeros_like(scale_index), face] = fine
            values[scale_index, face] = coarse

    def _features(self, faces: NDArray[np.int64], scale: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        extracted = features_of(self.extractor, self.pictures[faces], scale=scale)
        return extracted.features, extracted.early


def subjects(device: torch.device, *, quick: bool, own_batches: bool = False) -> list[Subject]:
    """Return ``best`` at D 64 and ``paper``, which on a CPU has D 64 and, unless asked for its own, batches of 4."""
    best, paper, shape, name = TRAINING["best"], TRAINING["paper"], EXTRACTORS["paper"], "paper, D 128"
    if device.type != "cuda":
        shape, name = EXTRACTORS["small"], "paper, D 64"
        paper = paper if own_batches else replace(paper, batch=4)
    if quick:
        best = replace(best, batch=16)
        paper = replace(paper, batch=2, critic=CriticConfig(filters=4), generator=RRDBConfig(filters=8, growth=4))
    return [_subject("best, D 64", best, EXTRACTORS["small"], device), _subject(name, paper, shape, device)]


def _subject(name: str, config: TrainConfig, shape: ExtractorConfig, device: torch.device) -> Subject:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    faces = config.batch
    pictures = random.integers(0, 256, (faces, shape.side, shape.side, 3), np.uint8)
    extractor = extractor_of(CovPoolFER(shape, _CLASSES).to(device).eval())
    extractor.head.requires_grad_(False)
    labels = torch.from_numpy(random.integers(len(_CLASSES), size=faces)).to(device)
    cache = FeatureCache(
        features=torch.zeros(len(_SCALES), faces, vech_length(shape.spd_side), dtype=torch.float16, device=device),
        early=torch.zeros(len(_SCALES), faces, extractor.form.early, dtype=torch.float16, device=device),
        embeddings=torch.zeros(faces, shape.embedding, dtype=torch.float16, device=device),
        probabilities=torch.zeros(len(_SCALES), faces, device=device),
        labels=labels,
        labelled=torch.ones(faces, device=device),
        scales=torch.tensor(_SCALES, device=device)[:, None].expand(len(_SCALES), faces),
    )
    for scale_index, scale in enumerate(_SCALES):
        for start in range(0, faces, _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            batch = features_of(extractor, pictures[here], scale=scale)
            cache.features[scale_index, here] = torch.from_numpy(batch.features).half()
            cache.early[scale_index, here] = torch.from_numpy(batch.early).half()
            truth = labels[here].cpu().numpy()
            probabilities = batch.probabilities[np.arange(len(truth)), truth]
            cache.probabilities[scale_index, here] = torch.from_numpy(probabilities).to(device)
            if scale == 1:
                cache.embeddings[here] = torch.from_numpy(batch.embeddings).half()
    return Subject(f"{name}, B {config.batch}", replace(config, learning_rate=0.0, l2_steps=0), extractor, pictures,
                   cache)  # fmt: skip
