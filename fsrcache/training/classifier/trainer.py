"""One step of a classifier's training, and its score. What a step draws depends on seed, epoch and step alone."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fsrcache.device import computes_bf16
from fsrcache.errors import RequestError
from fsrcache.extractors.extractor import Extractor
from fsrcache.faces.degrade import SCALE_FORM, Degradation, low_resolution_view
from fsrcache.presets import PretrainConfig
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.records import Between, check_value
from fsrcache.spd.layers import BiMap
from fsrcache.training.classifier.augment import augment
from fsrcache.training.classifier.distillation import Teacher
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.training.run.due import ReportDue
from fsrcache.training.step.schedules import one_cycle, set_rate
from fsrcache.training.whole_batch import whole_batch

_EVALUATED = 128  # pictures at a time
_Scales = tuple[Annotated[int, Between(1, 2048)], ...]


@dataclass(frozen=True)
class Views:
    """The scales at which pictures are seen, and how they are made coarse.

    Raises
    ------
    RequestError
        If there are no scales, or one is no number of 1 to 2048.
    """

    scales: tuple[int, ...]
    degradation: Degradation = SCALE_FORM

    def __post_init__(self) -> None:
        check_value(_Scales, self.scales, name="scales")
        if not self.scales:
            raise RequestError("There are no scales.", "Full resolution alone is (1,).")

    def draw(self, pictures: Tensor, random: np.random.Generator) -> Tensor:
        """Return pictures uint8 ``[B, C, S, S]``, each seen at a scale drawn for it."""
        if self.scales == (1,):
            return pictures
        drawn = random.choice(self.scales, len(pictures))
        seen = pictures.numpy().transpose(0, 2, 3, 1).copy()
        for scale in self.scales:
            if len(here := np.flatnonzero(drawn == scale)):
                seen[here] = low_resolution_view(seen[here], scale, self.degradation)
        return torch.from_numpy(seen).permute(0, 3, 1, 2)


class ClassifierTrainer:
    """Takes the steps of one epoch after the other, and sums up loss and right answers of the epoch.

    Parameters
    ----------
    extractor
        Network to train in place, on its device.
    optimiser
        As ``make_optimiser`` returns it.
    pictures, labels
        uint8 ``[n, C, S, S]`` and int64 ``[n]``, in the CPU's memory.
    schedule, views, seed
        Settings of the training.
    teacher
        Frozen extractor that it learns from; None for the labels alone.
    ranks
        The processes that share every batch; each prepares all its pictures.

    Attributes
    ----------
    steps
        Steps of an epoch.
    loss, right
        Sum of the losses and number of right answers since the epoch began: fp32 and int64, on the device.
    """

    def __init__(
        self,
        extractor: Extractor,
        optimiser: torch.optim.Optimizer,
        pictures: Tensor,
        labels: Tensor,
        schedule: PretrainConfig,
        *,
        views: Views,
        seed: int,
        teacher: Teacher | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.extractor, self.optimiser, self.schedule = extractor, optimiser, schedule
        self.pictures, self.labels, self.views, self.seed = pictures, labels, views, seed
        self.teacher, self.ranks = teacher, ranks
        self.device = extractor.device
        self.batch = min(schedule.batch, len(labels))
        if self.batch < schedule.batch and self.batch % ranks.size:
            most = self.batch - self.batch % ranks.size
            raise RequestError(
                f"There are {self.batch:,} faces to train on, fewer than a batch of {schedule.batch:,}, for "
                f"{ranks.size} processes.",
                f"Set a batch of {most:,}, or start another number of processes." if most else "Start fewer processes.",
            )
        ranks.refuse_uneven(self.batch)
        self.steps = len(labels) // self.batch
        self.begin(0)

    def begin(self, epoch: int, *, loss: float = 0.0, right: int = 0) -> None:
        """Shuffle the pictures for an epoch; loss and right answers of its steps so far are those of a checkpoint."""
        self.epoch = epoch
        self.order = torch.from_numpy(self._random(0).permutation(len(self.labels)))
        self.loss = torch.tensor(loss, device=self.device)
        self.right = torch.tensor(right, device=self.device)
        self.extractor.module.train()

    def step(self, step: int) -> None:
        """Take a step of the epoch, counted from 0.

        Raises
        ------
        RequestError
            If the network's logits take no gradients.
        """
        random = self._random(step + 1)
        torch.manual_seed(int(random.integers(2**63)))  # a network of somebody's may have dropout
        chosen = self.order[step * self.batch : (step + 1) * self.batch]
        taken, steps = self.epoch * self.steps + step, self.schedule.epochs * self.steps
        set_rate(self.optimiser, one_cycle(taken, steps=steps, top=self.schedule.learning_rate))
        pictures = self.views.draw(self.pictures[chosen], random).to(self.device)
        labels = self.ranks.share(self.labels[chosen]).to(self.device)
        again = copy.deepcopy(random)  # a teacher sees the same changes
        changed = self.ranks.share(augment(pictures, self.schedule, random=random))
        reduced = torch.autocast(self.device.type, torch.bfloat16, enabled=computes_bf16(self.device))
        with reduced, whole_batch(self.ranks):
            taps = self.extractor.embed(changed)
        logits = taps.logits
        if not logits.requires_grad:
            raise _untrainable(self.extractor, "its embed returns logits without gradients")
        if self.teacher is None:
            loss = cross_entropy(logits, labels, label_smoothing=self.schedule.label_smoothing)
        else:
            fine = self.ranks.share(augment(self.pictures[chosen].to(self.device), self.schedule, random=again))
            with reduced:
                wanted = self.teacher.outputs(fine)
            loss = self.teacher.loss(taps, wanted, labels)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        loss, right = self._average(loss, (logits.argmax(1) == labels).float().mean())
        bimaps = _bimaps(self.extractor.module)
        for bimap in bimaps:
            bimap.project_gradient()
        self.optimiser.step()
        for bimap in bimaps:
            bimap.retract()
        self.loss += loss
        self.right += (right * self.batch).round().long()

    def _average(self, *numbers: Tensor) -> list[Tensor]:
        """Average gradients and some numbers [] over the ranks; return the numbers."""
        trained = [(weight, weight.grad) for weight in self.extractor.module.parameters() if weight.grad is not None]
        means = self.ranks.mean([*(number.detach() for number in numbers), *(gradient for _, gradient in trained)])
        for (weight, _), gradient in zip(trained, means[len(numbers) :], strict=True):
            weight.grad = gradient
        return means[: len(numbers)]

    def finite_weights(self) -> bool:
        """Return whether all weights are finite; it waits for the device."""
        return all(bool(weight.isfinite().all()) for weight in self.extractor.module.parameters())

    def _random(self, number: int) -> np.random.Generator:
        """Return the numbers of the epoch's order (0) or of one of its steps (from 1)."""
        return np.random.default_rng([self.seed, self.epoch, number])


def make_optimiser(extractor: Extractor, schedule: PretrainConfig) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and kernels, but neither biases, norms nor orthonormal maps.

    Raises
    ------
    RequestError
        If none of the weights takes a gradient.
    """
    maps = [bimap.weight for bimap in _bimaps(extractor.module)]
    trained = [weight for weight in extractor.module.parameters() if weight.requires_grad]
    if not extractor.trainable or not trained:
        raise _untrainable(extractor, "none of its weights takes a gradient")
    decayed = [weight for weight in trained if weight.ndim > 1 and all(weight is not one for one in maps)]
    others = [weight for weight in trained if weight.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": [*others, *maps], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate)


@torch.inference_mode()
def accuracy(extractor: Extractor, pictures: Tensor, labels: Tensor, *, on_progress: ProgressCallback) -> float:
    """Return the share of pictures that get their class, in percent.

    Parameters
    ----------
    extractor
        Network, in evaluation mode afterwards.
    pictures, labels
        uint8 ``[n, C, S, S]`` and int64 ``[n]``, in the CPU's memory.
    on_progress
        Callback, every second.
    """
    extractor.module.eval()
    right, due = 0, ReportDue()
    for start in range(0, len(labels), _EVALUATED):
        if due:
            on_progress(Progress("scoring", start, len(labels), "pictures"))
        part = slice(start, start + _EVALUATED)
        logits = extractor.embed(pictures[part].to(extractor.device)).logits
        right += int((logits.argmax(1).cpu() == labels[part]).sum())
    return 100 * right / len(labels)


def scoring_seconds(extractor: Extractor, pictures: Tensor, labels: Tensor) -> float:
    """Return the seconds that scoring takes for each picture, measured on some; the arguments are those of a score."""
    for _ in range(2):  # the first time chooses algorithms
        began = time.perf_counter()
        accuracy(extractor, pictures, labels, on_progress=no_progress)
    return (time.perf_counter() - began) / len(labels)


def _bimaps(module: nn.Module) -> Sequence[BiMap]:
    return [layer for layer in module.modules() if isinstance(layer, BiMap)]


def _untrainable(extractor: Extractor, why: str) -> RequestError:
    return RequestError(
        f"{extractor.name} cannot be trained: {why}.",
        "Its embed should compute without torch.no_grad, on weights that require gradients.",
    )
