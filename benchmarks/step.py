"""The cases of ``fsrcache bench step``: where the time of one training step goes, a row for every part of it.

The parts are timed alone, on features of drawn numbers at the sizes of the presets: what a part takes does not depend
on values. The row below the loader's is the extractor run over the same pictures, as training without a cache would;
the penalty's alternative is the double backward.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from fsrcache.benchmarks.harness import Case
from fsrcache.kernels import closed_form_penalty
from fsrcache.kernels.closed_form_penalty import closed_form_penalty_reference
from torch import Tensor

from fsrcache.models.critic import VGGCritic
from fsrcache.models.extractor import CovPoolFER
from fsrcache.models.generator import make_generator
from fsrcache.presets import EXTRACTORS, TRAINING, CriticConfig, ExtractorConfig, TrainConfig
from fsrcache.spd import unvech, vech_length
from fsrcache.training.loader import FeatureCache
from fsrcache.training.steps import Networks, generator_terms

_CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_SCALES = 8


def step_cases(device: torch.device, *, quick: bool) -> Iterator[Case]:
    """Yield the parts of a step of ``best`` at D 64 and of ``paper``, whose networks are cut to size on a CPU."""
    best, paper = TRAINING["best"], TRAINING["paper"]
    if quick:
        best = replace(best, batch=16)
    if device.type != "cuda":
        paper = replace(paper, batch=2 if quick else 4, critic=CriticConfig(filters=8))
    yield from _parts("best, D 64", best, EXTRACTORS["small"], device)
    yield from _parts("paper, D 64" if device.type != "cuda" else "paper, D 128", paper,
                      EXTRACTORS["small" if device.type != "cuda" else "paper"], device)  # fmt: skip


def _parts(name: str, config: TrainConfig, shape: ExtractorConfig, device: torch.device) -> Iterator[Case]:
    torch.manual_seed(0)
    length, faces = vech_length(shape.spd_side), 512
    cache = FeatureCache(
        features=torch.randn(_SCALES, faces, length, device=device).half(),
        embeddings=torch.rand(faces, shape.embedding, device=device).half(),
        probabilities=torch.rand(_SCALES, faces, device=device),
        labels=torch.randint(len(_CLASSES), (faces,), device=device),
        scales=torch.arange(1, _SCALES + 1, device=device),
    )
    extractor = CovPoolFER(shape, _CLASSES).to(device).eval()
    pictures = torch.randint(256, (config.batch, 3, shape.side, shape.side), dtype=torch.uint8, device=device)
    generator = make_generator(config.generator, length).to(device)
    networks = Networks(generator, None, extractor.head.requires_grad_(False))
    batch = cache.draw(np.random.default_rng(0), config.batch, full_resolution=0.0)
    parameters = list(generator.parameters())
    optimiser = torch.optim.AdamW(parameters, 0.0, fused=True)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    title = f"step of {name}, B {config.batch}: "

    def draw() -> Tensor:
        return cache.draw(np.random.default_rng(0), config.batch, full_resolution=0.0).lr_features

    @torch.no_grad()
    def on_the_fly() -> Tensor:
        extractor(pictures)
        features: Tensor = extractor(pictures).features  # at full resolution and at the sample's scale
        return features

    yield _row(title + "loader", "cache", draw)
    yield _row(title + "the same batch extracted from pictures", "extractor, twice", on_the_fly)

    def generate() -> Any:
        terms = generator_terms(batch, networks, config, l2_alone=False)
        return torch.autograd.grad(torch.stack(list(terms.values())).sum(), parameters)

    yield _row(title + "generator and losses, forward and backward", type(generator).__name__, generate)
    if config.critic is not None:
        critic = VGGCritic(config.critic, shape.spd_side).to(device)
        hr, sr = unvech(batch.hr_features)[:, None], unvech(batch.lr_features)[:, None]

        def judge() -> Any:
            return torch.autograd.grad(critic(hr).mean() - critic(sr).mean(), list(critic.parameters()))

        yield _row(title + "critic's own terms, forward and backward", "VGGCritic", judge)
        yield Case(
            name=title + "penalty and its gradient", candidate="closed_form_penalty",
            work=lambda: closed_form_penalty(critic, hr), reference=lambda: closed_form_penalty_reference(critic, hr),
            error=1e-3, alternatives={"double backward": lambda: closed_form_penalty_reference(critic, hr)},
        )  # fmt: skip

    def update() -> Tensor:
        optimiser.step()
        return parameters[0]

    yield _row(title + "optimiser", "fused AdamW", update)


def _row(name: str, candidate: str, work: Any) -> Case:
    """Return a case that nothing is compared with: it is its own reference, dropout and all, by its seed."""

    def seeded() -> Any:
        torch.manual_seed(0)
        return work()

    return Case(name=name, candidate=candidate, work=seeded, reference=seeded, error=1e-6)
