"""The part ``training``: captured, eager and plain steps are the same steps; so are those after a checkpoint.

Several trainings go side by side, all in fp32 and without TF32. Before every step each gets the state of the eager one,
so that the rounding of one step is compared, not that of fifty. A captured step does what an eager one
does, in the same order: it may differ by ten times what two eager ones differ by, or by 1e-6. A plain twin adds up
otherwise: terms to 1e-5 of the largest, gradients to 2e-5 of their norm, or both to four times what an eager step
usually changes by when every weight is moved by half of its last bit: a critic's gradient changes by 1e-5. Where there
is a critic, a ReLU within rounding of its kink may excuse one step in six.
"""

import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fsrcache.errors import FsrcacheError
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig, RRDBConfig, TrainConfig
from fsrcache.training.run.checkpoint import Checkpoints
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import TERMS
from studies.gpu.checks import Check, Failure, Limited, Setting
from studies.gpu.drawn import drawn
from studies.gpu.trainings import drawn_trainer

Results = Iterator[tuple[str, Any]]
_TERMS, _GRADIENTS = 1e-5, 2e-5  # tolerances of a plain twin
_MOVED = 4.0  # times what half of a last bit makes
_EXCUSED = 1 / 6  # share of the steps, or two of them


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    for name, config in _configs(rehearsal=setting.rehearsal).items():
        yield Check(f"{name}: step by step", partial(_step_by_step, setting, config))
        yield Check(f"{name}: plain twin", partial(_twin, setting, config))
        yield Check(f"{name}: resumed", partial(_resumed, setting, config, name))
        yield Check(f"{name}: a NaN is noticed", partial(_noticed, setting, config))
    for name in ("best", "mixed, with a critic"):
        yield Check(
            f"{name}: chance under replay", partial(_chance, setting, _configs(rehearsal=setting.rehearsal)[name])
        )


def _configs(*, rehearsal: bool) -> dict[str, TrainConfig]:
    """Return the trainings by name."""
    width = 32 if rehearsal else 512
    best = replace(TRAINING["best"], averaging=0.9)
    rrdb = RRDBConfig(filters=8, growth=4, blocks=1, global_skip=True)
    configs = {
        "best": replace(best, generator=MLPConfig(width=width, dropout=0.2, noise=0.5, members=3), batch=48),
        "tiny": replace(TRAINING["tiny"], generator=MLPConfig(width=width, blocks=1, rank=0)),
        "mixed, with a critic": replace(
            best, generator=MLPConfig(width=64, blocks=1, rank=8, noise=0.1), critic=CriticConfig(filters=4),
            mixing=0.5, classification_weight=1.0, reweight="sr_grad", batch=32,
        ),
        "paper, small": replace(TRAINING["paper"], generator=rrdb, critic=CriticConfig(filters=4), critic_steps=2,
                                batch=8),
        "authors, small": replace(
            TRAINING["authors"], generator=RRDBConfig(filters=8, growth=4, blocks=1, tail_kernel=8),
            critic=CriticConfig(filters=4, bias=False), batch=8, l2_steps=6,
        ),
    }  # fmt: skip
    return {name: replace(config, precision="fp32", steps=200) for name, config in configs.items()}


def _sizes(setting: Setting) -> tuple[int, int]:
    """Return D and the steps."""
    return (8, 5) if setting.rehearsal else (64, 50)


def _make(
    setting: Setting,
    config: TrainConfig,
    *,
    mode: Literal["device", "ram"] = "device",
    eager: bool = False,
    plain: bool = False,
) -> Trainer:
    side, steps = _sizes(setting)
    trainer = drawn_trainer(config, side, setting.device, mode=mode, eager=eager, plain=plain, ahead=2 * steps)
    trainer.batches.prepare(0, 2 * steps)
    return trainer


def _step_by_step(setting: Setting, config: TrainConfig) -> Results:
    eager = _make(setting, config, eager=True)
    others = {
        "eager again": _make(setting, config, eager=True), "captured": _make(setting, config),
        "captured, cache in ram": _make(setting, config, mode="ram"),
    }  # fmt: skip
    between, weights, _ = _run_beside(eager, others, _sizes(setting)[1])
    noise = max(between["eager again"]), max(weights["eager again"])
    yield "steps", _sizes(setting)[1]
    yield "two eager ones: terms, weights", noise
    for name in ("captured", "captured, cache in ram"):
        yield f"{name}: terms", Limited(max(between[name]), max(10 * noise[0], 1e-6))
        yield f"{name}: weights", Limited(max(weights[name]), max(10 * noise[1], 1e-6))
    eager.finite.check()


def _twin(setting: Setting, config: TrainConfig) -> Results:
    """Compare the plain twin with the step, and this with itself where weights are moved by half of their last bit."""
    steps = _sizes(setting)[1]
    eager, moved = (_make(setting, config, eager=True) for _ in range(2))
    plain = _make(setting, config, plain=True)
    terms, _, gradients = _run_beside(eager, {"plain": plain, "moved": moved}, steps, moved="moved")
    limits = [max(least, _MOVED * statistics.median(apart["moved"]))
              for apart, least in ((terms, _TERMS), (gradients, _GRADIENTS))]  # fmt: skip
    outside = sum(not (term <= limits[0] and gradient <= limits[1])
                  for term, gradient in zip(terms["plain"], gradients["plain"], strict=True))  # fmt: skip
    for name, apart in (("terms", terms), ("gradients", gradients)):
        for way in ("plain", "moved"):
            yield f"{name}, {way}: median and most", (statistics.median(apart[way]), max(apart[way]))
    allowed = 0 if config.critic is None else max(2, math.ceil(_EXCUSED * steps))
    yield "steps that differ", Limited(outside, allowed)


def _run_beside(
    eager: Trainer, others: dict[str, Trainer], steps: int, *, moved: str = ""
) -> tuple[dict[str, list[float]], ...]:
    """Run steps, each from the eager one's state; return how far terms, weights and gradients are from its, by step.

    The weights of the trainer called ``moved`` are moved by half of their last bit at random, before every step.
    """
    terms: dict[str, list[list[float]]] = {name: [] for name in ("eager", *others)}
    weights: dict[str, list[float]] = {name: [] for name in others}
    gradients: dict[str, list[float]] = {name: [] for name in others}
    for step in range(steps):
        for other in others.values():
            _copy_state(eager, other)
        if moved:
            _move(others[moved], seed=step)
        for name, trainer in {"eager": eager, **others}.items():
            trainer.step(step)
            means = trainer.meters.means()
            terms[name].append([means.get(term, 0.0) for term in TERMS])
        for name, other in others.items():
            weights[name].append(_apart(_weights(other), _weights(eager)))
            gradients[name].append(max(_apart(_gradient(other.modules[part]), _gradient(module))
                                       for part, module in eager.modules.items() if part != "averaged"))  # fmt: skip
    largest = [max(abs(step[i]) for step in terms["eager"]) or 1.0 for i in range(len(TERMS))]
    return {name: _of_terms(terms[name], terms["eager"], largest) for name in others}, weights, gradients


def _of_terms(ours: list[list[float]], theirs: list[list[float]], largest: list[float]) -> list[float]:
    """Return for every step the greatest distance of a term, in units of its largest value."""
    return [
        max(_number(abs(a - b) / unit) for a, b, unit in zip(mine, exact, largest, strict=True))
        for mine, exact in zip(ours, theirs, strict=True)
    ]


def _number(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _copy_state(source: Trainer, target: Trainer) -> None:
    """Copy weights and moments into the tensors that a captured step reads."""
    with torch.no_grad():
        for name, module in source.modules.items():
            for tensor, value in zip(_tensors(target.modules[name]), _tensors(module), strict=True):
                tensor.copy_(value)
        for name, optimiser in source.optimisers.items():
            for moment, value in zip(_moments(target.optimisers[name]), _moments(optimiser), strict=True):
                moment.copy_(value)


def _move(trainer: Trainer, *, seed: int) -> None:
    with torch.no_grad():
        for weight in (weight for module in trainer.modules.values() for weight in module.parameters()):
            weight.mul_(1 + 2**-24 * drawn(*weight.shape, device=weight.device, seed=seed).sign())


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _moments(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """Return the moments in the order of the parameters."""
    parameters = [weight for group in optimiser.param_groups for weight in group["params"]]
    return [moment for weight in parameters for _, moment in sorted(optimiser.state.get(weight, {}).items())]


def _weights(trainer: Trainer) -> Tensor:
    return torch.cat([weight.detach().flatten().double() for module in trainer.modules.values()
                      for weight in module.parameters()])  # fmt: skip


def _gradient(module: nn.Module) -> Tensor:
    parts = [weight.grad.flatten().double() for weight in module.parameters() if weight.grad is not None]
    return torch.cat(parts) if parts else torch.zeros(1, device=next(module.parameters()).device).double()


def _apart(got: Tensor, expected: Tensor) -> float:
    return _number(float((got - expected).norm() / expected.norm().clamp(min=1e-30)))


def _resumed(setting: Setting, config: TrainConfig, name: str) -> Results:
    """Compare a training that went on from a checkpoint with one that did not stop."""
    steps, path = _sizes(setting)[1], setting.folder / f"{name.partition(',')[0]}.checkpoint.safetensors"
    whole, again, first, second = (_make(setting, config) for _ in range(4))
    for trainer in (whole, again):
        for step in range(2 * steps):
            trainer.step(step)
    for step in range(steps):
        first.step(step)
    Checkpoints(path, {}, modules=first.modules, optimisers=first.optimisers).save({})
    its = Checkpoints(path, {}, modules=second.modules, optimisers=second.optimisers)
    if its.resume(lambda *_: None) is None:
        yield "checkpoint", Failure("It was not found.")
    for step in range(steps, 2 * steps):
        second.step(step)
    noise = _apart(_weights(again), _weights(whole))
    yield "twice uninterrupted", noise
    yield "resumed", Limited(_apart(_weights(second), _weights(whole)), max(10 * noise, 1e-6))
    for file in setting.folder.glob(f"{path.stem}*"):
        file.unlink()


def _noticed(setting: Setting, config: TrainConfig) -> Results:
    """Set weights of the head to NaN after some steps, which are replayed by then: the error names the next step."""
    trainer = _make(setting, replace(config, l2_steps=0))
    for step in range(8):
        trainer.step(step)
    trainer.finite.check()
    with torch.no_grad():
        next(trainer.networks.head.parameters()).fill_(torch.nan)
    trainer.step(8)
    trainer.step(9)
    try:
        trainer.finite.check()
    except FsrcacheError as error:
        yield "message", error.what
        yield "names another step", Limited(float("step 9" not in error.what), 0)
    else:
        yield "noticed", Failure("Nothing was.")


def _chance(setting: Setting, config: TrainConfig) -> Results:
    """Repeat steps on one batch with fixed weights: they differ in dropout, noise and mixing alone."""
    runs: list[list[float]] = []
    for trainer in (_make(setting, replace(config, learning_rate=0.0)) for _ in range(2)):
        with torch.no_grad():
            for weight in trainer.networks.generator.parameters():  # its residual is zero at first
                weight.add_(drawn(*weight.shape, device=setting.device, seed=9), alpha=0.02)
        trainer.batches.chosen.copy_(trainer.batches.chosen[:1].clone().expand_as(trainer.batches.chosen))
        runs.append([])
        for step in [*range(8), 7, 5]:  # steps 3 and later are replayed
            trainer.step(step)
            means = trainer.meters.means()
            runs[-1].append(sum(means.get(term, 0.0) for term in TERMS))
    first, second = runs
    near = min(abs(a - b) / abs(a) for i, a in enumerate(first[:8]) for b in first[:i])
    yield "steps that are alike", Limited(float(near < 1e-6), 0)
    yield "the same step again", Limited(max(abs(first[8] - first[7]), abs(first[9] - first[5])) / abs(first[7]), 1e-6)
    apart = max(abs(a - b) / abs(a) for a, b in zip(first, second, strict=True))
    yield "another training of the same seed", Limited(apart, 1e-6)
