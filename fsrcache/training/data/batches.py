"""The batches of a training: which pairs are drawn is a function of (seed, step) alone, wherever the cache lies.

A cache on the device is gathered from there: the draws of many steps ahead go over in one copy, and a step finds its
own by its number. From a cache in the CPU's memory, or from the stream of a store, what a step needs is laid into a
small cache on the device before the step begins. Inside a step nothing is copied from the host and nothing is waited
for, so that a step can be captured. A stream brings its own order of faces; their scales are drawn alike.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fsrcache.presets import TrainConfig
from fsrcache.training.data.loader import FeatureBatch, FeatureCache, draw_pairs
from fsrcache.training.data.stream import Stream


class Plan(NamedTuple):
    """The draws of some steps: ``first`` is the number of the first, ``chosen`` int64 [steps, draws, 2, B]."""

    first: int
    chosen: Tensor
    seeds: list[int]


def plan_steps(shape: tuple[int, int], config: TrainConfig, *, seed: int, first: int, count: int) -> Plan:
    """Return the draws of some steps, and the random seeds of all else in them.

    Parameters
    ----------
    shape
        Numbers of scales and of faces.
    config
        Settings of the training.
    seed
        Random seed of the training.
    first, count
        First step, and number of steps.
    """
    scales, faces = shape
    chosen, seeds = [], []
    for step in range(first, first + count):
        random = np.random.default_rng([seed, step])
        seeds.append(int(random.integers(2**63)))
        chosen += [
            draw_pairs(random, config.batch, faces=faces, scales=scales, full_resolution=config.full_resolution)
            for _ in range(draws(config))
        ]
    drawn = torch.from_numpy(np.stack(chosen))
    return Plan(first, drawn.view(count, draws(config), 2, config.batch), seeds)


def draws(config: TrainConfig) -> int:
    """Return how many batches a step needs: the critic's last one is the generator's first."""
    return config.generator_steps + (0 if config.critic is None else config.critic_steps - 1)


class Batches:
    """Gives a step its batches.

    Parameters
    ----------
    source
        For ``device`` a cache there; for ``ram`` one in the CPU's memory, pinned if the device is another; for
        ``stream`` a stream.
    config
        Settings of the training: size, number and mixture of scales of the batches.
    mode
        Location of the source.
    seed
        Random seed of the draws.
    device
        Device of the steps.
    ahead
        Largest number of steps that are planned at once.

    Attributes
    ----------
    waited
        Seconds spent on drawing; inside a captured step drawing is a part of the step.
    """

    def __init__(
        self,
        source: FeatureCache | Stream,
        config: TrainConfig,
        *,
        mode: Literal["device", "ram", "stream"],
        seed: int,
        device: torch.device,
        ahead: int,
    ) -> None:
        self.source, self.config, self.mode, self.seed = source, config, mode, seed
        self.waited = 0.0
        count = draws(config)
        self.chosen = torch.zeros(ahead, count, 2, config.batch, dtype=torch.int64, device=device)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self.shape = source.shape
        if mode == "device":
            assert isinstance(source, FeatureCache)
            self.near = source  # what batches are gathered from
        else:
            self.near = _gather(source, 0, torch.zeros(count, 2, config.batch, dtype=torch.int64))
            self.near = FeatureCache(*(torch.zeros_like(values, device=device) for values in self.near))
            every = torch.arange(count * config.batch, device=device).view(count, config.batch)
            self.chosen[:] = torch.stack([every, torch.ones_like(every)], 1)  # each pair once, its coarse scale
        self.plan = Plan(0, self.chosen[:0], [])

    def prepare(self, first: int, count: int) -> None:
        """Draw for some steps."""
        with self._timed():
            self.plan = plan_steps(self.shape, self.config, seed=self.seed, first=first, count=count)
            if self.mode == "device":
                _copy(self.plan.chosen, self.chosen[:count])

    def begin(self, step: int) -> None:
        """Begin a prepared step: ``batch`` returns its batches from now on, and all other randomness is seeded."""
        with self._timed():
            position = step - self.plan.first
            _seed(self.plan.seeds[position], self.chosen.device)
            if self.mode == "device":
                self.position.fill_(position)
            else:
                for values, kept in zip(_gather(self.source, step, self.plan.chosen[position]), self.near, strict=True):
                    _copy(values, kept)

    def batch(self, number: int, *, lr_pictures: bool = False, hr_pictures: bool = False) -> FeatureBatch:
        """Return a batch of the step by its number, its features as vectors or as pictures."""
        with self._timed():
            chosen = self.chosen.index_select(0, self.position)[0, number]
            return self.near.pairs(chosen, lr_pictures=lr_pictures, hr_pictures=hr_pictures)

    def close(self) -> None:
        """Read nothing more ahead."""
        if isinstance(self.source, Stream):
            self.source.close()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began


def _gather(source: FeatureCache | Stream, step: int, chosen: Tensor) -> FeatureCache:
    """Return the pairs of a step, drawn as int64 [draws, 2, B], as a small cache: full resolution, and their scales."""
    face, scale_index = chosen.movedim(1, 0).flatten(1)
    if isinstance(source, Stream):
        return source.pairs(step, scale_index)
    indices = torch.stack([torch.zeros_like(scale_index), scale_index])  # [2, m]
    rows = indices * len(source.labels) + face
    return FeatureCache(
        features=_at(source.features, rows),
        early=_at(source.early, rows),
        embeddings=source.embeddings.index_select(0, face),
        probabilities=source.probabilities[indices, face],
        labels=source.labels[face],
        labelled=source.labelled[face],
        scales=source.scales[indices, face],
    )


def _at(values: Tensor, rows: Tensor) -> Tensor:
    """Return rows [2, m] of values [S, n, P], counted through all scales, as [2, m, P]."""
    return values.flatten(0, 1).index_select(0, rows.flatten()).view(*rows.shape, values.shape[2])


def _seed(seed: int, device: torch.device) -> None:
    """Do what ``torch.manual_seed`` does, but for the devices that are not used: it formats a stack for those."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _copy(values: Tensor, target: Tensor) -> None:
    """Copy from the CPU; to a GPU from pinned memory, without waiting for it."""
    if target.device.type == "cuda":
        target.copy_(values.pin_memory(), non_blocking=True)
    else:
        target.copy_(values)
