"""The batches of a training: which pairs are drawn is a function of (seed, step) alone, wherever the cache lies.

A cache on the device is gathered from there: the draws of many steps ahead go over in one copy, and a step finds its
own by its number. A cache in the CPU's memory is drawn from there, and what a step needs is laid into a small cache on
the device before the step begins. Inside a step nothing is copied from the host and nothing is waited for, so that a
step can be captured.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fsrcache.presets import TrainConfig
from fsrcache.training.loader import FeatureBatch, FeatureCache, draw_pairs


class Plan(NamedTuple):
    """The draws of some steps: ``first`` is the number of the first, ``chosen`` int64 [steps, draws, 2, B]."""

    first: int
    chosen: Tensor
    seeds: list[int]


def plan_steps(cache: FeatureCache, config: TrainConfig, *, seed: int, first: int, count: int) -> Plan:
    """Return the draws of some steps and the seeds of whatever else is random in them, on the CPU."""
    places, faces = cache.features.shape[:2]
    chosen, seeds = [], []
    for step in range(first, first + count):
        random = np.random.default_rng([seed, step])
        seeds.append(int(random.integers(2**63)))
        chosen += [
            draw_pairs(random, config.batch, faces=faces, scales=places, full_resolution=config.full_resolution)
            for _ in range(draws(config))
        ]
    drawn = torch.from_numpy(np.stack(chosen))
    return Plan(first, drawn.view(count, draws(config), 2, config.batch), seeds)


def draws(config: TrainConfig) -> int:
    """Return how many batches a step needs: one for every step of the critic and of the generator."""
    return config.generator_steps + (0 if config.critic is None else config.critic_steps)


class Batches:
    """Gives a step its batches.

    Parameters
    ----------
    cache
        On the device, or for ``ram`` in the CPU's memory, pinned if the device is another.
    config
        What is drawn.
    mode
        ``device`` or ``ram``.
    seed
        Of the draws.
    device
        Where the steps are computed.
    ahead
        The most steps that are planned at once.

    Attributes
    ----------
    waited
        Seconds spent on drawing; inside a captured step drawing is a part of the step.
    """

    def __init__(
        self,
        cache: FeatureCache,
        config: TrainConfig,
        *,
        mode: Literal["device", "ram"],
        seed: int,
        device: torch.device,
        ahead: int,
    ) -> None:
        self.cache, self.config, self.mode, self.seed = cache, config, mode, seed
        self.waited = 0.0
        self.near = cache  # what batches are gathered from
        if mode == "ram":
            self.near = _room_for(cache, draws(config) * config.batch, device)
        self.chosen = torch.zeros(ahead, draws(config), 2, config.batch, dtype=torch.int64, device=device)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        if mode == "ram":
            self.chosen[:] = torch.stack([  # every place of the small cache in turn, at its coarse scale
                torch.arange(draws(config) * config.batch, device=device).view(draws(config), config.batch),
                torch.ones(draws(config), config.batch, dtype=torch.int64, device=device),
            ], 1)  # fmt: skip
        self.plan = Plan(0, self.chosen[:0], [])

    def prepare(self, first: int, count: int) -> None:
        """Draw for some steps."""
        with self._timed():
            self.plan = plan_steps(self.cache, self.config, seed=self.seed, first=first, count=count)
            if self.mode == "device":
                _copy(self.plan.chosen, self.chosen[:count])

    def begin(self, step: int) -> None:
        """Make the batches of a step, one of those prepared, those that ``batch`` gives; fix all other chance."""
        with self._timed():
            at = step - self.plan.first
            torch.manual_seed(self.plan.seeds[at])
            if self.mode == "device":
                self.position.fill_(at)
            else:
                self._feed(self.plan.chosen[at])

    def batch(self, number: int, *, lr_pictures: bool = False, hr_pictures: bool = False) -> FeatureBatch:
        """Return a batch of the step by its number, as vech or as pictures."""
        with self._timed():
            chosen = self.chosen.index_select(0, self.position)[0, number]
            return self.near.pairs(chosen, lr_pictures=lr_pictures, hr_pictures=hr_pictures)

    def _feed(self, chosen: Tensor) -> None:
        """Lay the pairs of a step, int64 [draws, 2, B] on the CPU, into the small cache."""
        face, place = chosen.movedim(1, 0).flatten(1)
        far, near = self.cache, self.near
        packed = far.features.flatten(0, 1)  # [S n, P]
        for at, places in enumerate((torch.zeros_like(place), place)):
            _copy(packed.index_select(0, places * len(far.labels) + face), near.features[at])
            _copy(far.probabilities[places, face], near.probabilities[at])
            _copy(far.scales[places, face], near.scales[at])
        _copy(far.embeddings.index_select(0, face), near.embeddings)
        _copy(far.labels[face], near.labels)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began


def _room_for(cache: FeatureCache, pairs: int, device: torch.device) -> FeatureCache:
    """Return a cache on the device with room for pairs of rows of another: full resolution, and the coarse scales."""
    return FeatureCache(
        features=cache.features.new_zeros(2, pairs, cache.features.shape[2], device=device),
        embeddings=cache.embeddings.new_zeros(pairs, cache.embeddings.shape[1], device=device),
        probabilities=cache.probabilities.new_zeros(2, pairs, device=device),
        labels=cache.labels.new_zeros(pairs, device=device),
        scales=cache.scales.new_zeros(2, pairs, device=device),
    )


def _copy(values: Tensor, target: Tensor) -> None:
    """Copy from the CPU; to a GPU from pinned memory, without waiting for it."""
    if target.device.type == "cuda":
        target.copy_(values.pin_memory(), non_blocking=True)
    else:
        target.copy_(values)
