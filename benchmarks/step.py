"""The cases of ``fsrcache bench step``: the time of a training step and of its parts.

Drawing a batch from the cache against extracting the same batch from pictures, and against the whole step; the whole
step with a cache against one that extracts on the fly, against its plain twin, and on a GPU against an uncaptured one;
then the parts alone. A reference is the plain way in fp32.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fsrcache.benchmarks.harness import Case
from fsrcache.benchmarks.subject import Subject, subjects
from fsrcache.device import computed_precision, fp32_precision
from fsrcache.spd import vech
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import critic_update, generate, generator_update

_HALF = 2e-3  # tolerance of features kept in half precision


def step_makers(device: torch.device, *, quick: bool) -> Iterator[Callable[[], Iterator[Case]]]:
    """Yield functions that make the cases of ``best`` and of ``paper``."""
    for subject in subjects(device, quick=quick, own_batches=True):
        yield partial(_drawing, subject)
    for subject in subjects(device, quick=quick):
        yield from (partial(_share, subject), partial(_whole, subject, device), partial(_parts, subject))


def _drawing(subject: Subject) -> Iterator[Case]:
    draw, extract = _draw(subject.trainer()), _extract(subject)
    yield Case(
        name=f"step of {subject.name}: drawing a batch", candidate="cache", work=draw, reference=extract, error=_HALF,
        alternatives={"the same batch extracted from pictures": extract}, clock="host", to_tensors=_as_vectors,
    )  # fmt: skip


def _share(subject: Subject) -> Iterator[Case]:
    trainer = subject.trainer()
    draw = _draw(trainer)

    def step() -> list[Tensor]:
        trainer.step(0)
        return draw()

    yield Case(
        name=f"step of {subject.name}: drawing a batch, in a step", candidate="cache", work=draw,
        reference=_extract(subject), error=_HALF, alternatives={"drawing and the whole step": step},
        clock="host", to_tensors=_as_vectors,
    )  # fmt: skip


def _draw(trainer: Trainer) -> Callable[[], list[Tensor]]:
    """Return a function that draws the generator's last batch of a step, planning included."""
    batches = trainer.batches
    pictures = trainer.lr_pictures
    last = len(batches.plan.chosen[0]) - 1

    def draw() -> list[Tensor]:
        batches.prepare(0, 1)
        batches.begin(0)
        batch = batches.batch(last, lr_pictures=pictures)
        return [batch.hr_features, batch.lr_features, batch.lr_early, batch.lr_probabilities]

    return draw


def _extract(subject: Subject) -> Callable[[], list[Tensor]]:
    """Return a function that extracts the same batch."""
    batches = subject.trainer().batches
    chosen = batches.plan.chosen[0, -1]

    def extract() -> list[Tensor]:
        features, early = (pair.to(batches.chosen.device) for pair in subject.extract(chosen))
        return [*features, early[1], batches.batch(len(batches.plan.chosen[0]) - 1).lr_probabilities]

    return extract


def _as_vectors(batch: list[Tensor]) -> list[Tensor]:
    """Return the tensors of a batch, features that are pictures [B, 1, D, D] as vectors [B, P]."""
    return [vech(tensor[:, 0]) if tensor.ndim == 4 else tensor for tensor in batch]


def _whole(subject: Subject, device: torch.device) -> Iterator[Case]:
    cached, plain = subject.trainer(), subject.trainer(plain=True)

    def on_the_fly() -> Tensor:
        for chosen in cached.batches.plan.chosen[0]:
            subject.write(chosen, *subject.extract(chosen))
        return _losses(cached)

    alternatives: dict[str, Callable[[], Tensor]] = {
        "extracting on the fly": on_the_fly, "plain twin": lambda: _losses(plain),
    }  # fmt: skip
    if device.type == "cuda":
        eager = subject.trainer(eager=True)
        alternatives["not captured"] = lambda: _losses(eager)
    yield Case(
        name=f"step of {subject.name}: the whole", candidate="cached", work=lambda: _losses(cached),
        reference=lambda: _losses(plain), error=1e-4 if _precision(subject) == "fp32" else 1e-2,
        alternatives=alternatives, clock="host",
    )  # fmt: skip


def _precision(subject: Subject) -> str:
    """Return the precision of its steps."""
    return computed_precision(subject.config.precision, subject.cache.features.device)


def _losses(trainer: Trainer) -> Tensor:
    """Do a step; return its terms."""
    trainer.step(0)
    return torch.tensor(list(trainer.meters.means().values()))


def _parts(subject: Subject) -> Iterator[Case]:
    trainer, config = subject.trainer(), subject.config
    networks, batches = trainer.networks, trainer.batches
    pictures = trainer.lr_pictures
    batches.begin(0)
    title = f"step of {subject.name}: "
    tf32 = config.precision == "tf32"

    @fp32_precision(tf32=tf32)
    def learn() -> list[Tensor]:
        torch.manual_seed(0)
        batch = batches.batch(len(batches.plan.chosen[0]) - 1, lr_pictures=pictures)
        return generator_update(batch, generate(batch, networks, config), networks, config, l2_alone=False).grads

    @fp32_precision(tf32=tf32)
    def judge(*, plain: bool) -> Tensor:
        torch.manual_seed(0)
        batch = batches.batch(0, lr_pictures=pictures, hr_pictures=True)
        mix = torch.rand(config.batch, device=batches.chosen.device)
        grads = critic_update(batch, generated, networks, config, mix=mix, plain=plain).grads
        return torch.cat([gradient.flatten() for gradient in grads])  # the last bias alone has a gradient of 0

    yield _alone(title + "generator's update", type(networks.generator).__name__, learn)
    if networks.critic is not None:
        with torch.no_grad():
            generated = generate(batches.batch(0, lr_pictures=pictures), networks, config)
        yield Case(
            name=title + "critic's update", candidate="closed form", work=lambda: judge(plain=False),
            reference=lambda: judge(plain=True),
            error=5e-2 if _precision(subject) == "tf32" else 1e-3,  # real's and generated's gradients nearly cancel
            alternatives={"double backward": lambda: judge(plain=True)}, clock="host",
        )  # fmt: skip
    trainer.step(0)  # makes gradients and moments
    optimiser = trainer.optimisers["generator_optimiser"]

    def update() -> Any:
        optimiser.step()
        return next(networks.generator.parameters())

    yield _alone(title + "generator's optimiser", type(optimiser).__name__, update)


def _alone(name: str, candidate: str, work: Callable[[], Any]) -> Case:
    """Return a case without alternatives or a reference."""
    return Case(name=name, candidate=candidate, work=work, clock="host")
