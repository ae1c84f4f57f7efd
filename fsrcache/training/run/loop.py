"""The loop of a training: maintenance, then the end, or else one step; it goes on from its last checkpoint."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn

from fsrcache.device import fp32_precision
from fsrcache.errors import FsrcacheError
from fsrcache.extractors.covpool import Head
from fsrcache.progress import Progress, ProgressCallback
from fsrcache.records import Between, value_from
from fsrcache.training.data.loader import FeatureCache
from fsrcache.training.run.checkpoint import resume, save_checkpoint
from fsrcache.training.run.history import append_history, cut_history
from fsrcache.training.step.finite import check_weights
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import TERMS

CHECKPOINT = "checkpoint.safetensors"  # in a run's folder
MOST_STEPS = 100  # between two status lines, at most
_STATUS_LINES = 40  # of a run, at least
_SCORED = 8  # the held-out faces at every eighth of them
_CHECKPOINT_SECONDS = 30.0  # between two checkpoints at most, status lines allowing
_CHECKPOINT_SHARE = 0.02  # of the time, that they may take to be made oftener

Log = Callable[[int, Mapping[str, float]], None]
_Count = Annotated[int, Between(0, 10**8)]
_Percent = Annotated[float, Between(0, 100)]


@dataclass
class TrainState:
    """How far a training is: what a checkpoint keeps beside tensors.

    Attributes
    ----------
    step
        Steps taken.
    losses
        Means of the terms between the last two status lines.
    held_out_accuracy
        Of the last scoring, in percent by scale.
    best_accuracy, best_step
        Of the best scoring so far, the mean over scales.
    worse
        Scorings since.
    """

    step: _Count = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    held_out_accuracy: Mapping[str, _Percent] = field(default_factory=dict)
    best_accuracy: Annotated[float, Between(-1, 100)] = -1.0
    best_step: _Count = 0
    worse: _Count = 0


@dataclass(frozen=True)
class LoopResult:
    """What a training did in this call.

    Attributes
    ----------
    state
        Where it ended.
    resumed_from, fell_back
        The step that it went on from, and in words why not from the newest checkpoint; empty if it did.
    samples_per_second, data_wait_share
        Of the steps of this call: the generator's samples, and the share of the time that went by in drawing batches;
        None where there were no steps.
    """

    state: TrainState
    resumed_from: int
    fell_back: str
    samples_per_second: float | None
    data_wait_share: float | None


def run_steps(
    trainer: Trainer,
    held_out: FeatureCache,
    scales: tuple[int, ...],
    *,
    folder: Path,
    settings: Mapping[str, Any],
    on_progress: ProgressCallback,
    log: Callable[[int], Log] | None = None,
    checkpoint_seconds: float | None = None,
) -> LoopResult:
    """Train to the last step, or to the end of patience.

    Parameters
    ----------
    trainer
        What takes the steps.
    held_out, scales
        What is scored, on the device, and the scale of each of its places.
    folder
        Where checkpoints and history are kept.
    settings
        What a checkpoint must agree on.
    on_progress
        Called at every status line.
    log
        Given the step that is gone on from, returns what is called with the numbers of every status line.
    checkpoint_seconds
        Between two checkpoints at least; None is 30 s, and less where they are cheap.
    """
    run = _Run(trainer, held_out, scales, folder, settings, on_progress, checkpoint_seconds)
    state, steps, every = run.state, trainer.config.steps, status_steps(trainer.config.steps)
    resumed_from, write = state.step, None if log is None else log(state.step)
    while True:
        step = state.step
        if step > resumed_from and (step % every == 0 or step == steps):
            run.maintain((step - 1) % every + 1, write)
        if run.over:
            if run.best is not None:
                trainer.kept.load_state_dict(run.best.state_dict())
            return LoopResult(state, resumed_from, run.fell_back, run.clock.samples_per_second, run.clock.wait_share)
        if step == resumed_from or step % every == 0:
            run.clock.start()
            trainer.batches.prepare(step, min(every - step % every, steps - step))
        trainer.step(step)
        state.step += 1


def status_steps(steps: int) -> int:
    """Return the steps between two status lines."""
    return max(1, min(MOST_STEPS, steps // _STATUS_LINES))


class _Run:
    """The files and clocks of a training, and what is done between its steps."""

    def __init__(
        self,
        trainer: Trainer,
        held_out: FeatureCache,
        scales: tuple[int, ...],
        folder: Path,
        settings: Mapping[str, Any],
        on_progress: ProgressCallback,
        checkpoint_seconds: float | None,
    ) -> None:
        self.trainer, self.config, self.held_out, self.scales = trainer, trainer.config, held_out, scales
        self.settings, self.on_progress = settings, on_progress
        self.checkpoint, self.history = folder / CHECKPOINT, folder / "history.jsonl"
        self.modules = dict(trainer.modules)
        self.best: nn.Module | None = None
        if self.config.patience:
            self.best = self.modules["best"] = copy.deepcopy(trainer.kept)
        self.state, self.fell_back = TrainState(), ""
        found = resume(
            self.checkpoint, settings, self._read, modules=self.modules, optimisers=trainer.optimisers
        )  # fmt: skip
        if found is not None:
            self.state, self.fell_back = found
        left_out = cut_history(self.history, step=self.state.step)
        note = " ".join(filter(None, (self.fell_back, left_out)))
        on_progress(Progress("training", self.state.step, self.config.steps, "steps", note=note))
        self.clock, self.due = _Clock(trainer), _Due(checkpoint_seconds)

    def _read(self, written: Mapping[str, Any], file: Path) -> TrainState:
        """Return a checkpoint's state, which is none beyond the last step."""
        state: TrainState = value_from(TrainState, written, where=file, name="state")
        for name, most in (("step", self.config.steps), ("best_step", state.step), ("worse", state.step)):
            if getattr(state, name) > most:
                raise FsrcacheError(f"{file}: state.{name} is {getattr(state, name):,}, beyond {most:,}.")
        return state

    @property
    def over(self) -> bool:
        """Whether this was the last step."""
        patience = self.config.patience
        return self.state.step == self.config.steps or bool(patience and self.state.worse >= patience)

    def maintain(self, taken: int, write: Log | None) -> None:
        """Say how the steps since the last time went, score and keep the state if it is time to."""
        state, step = self.state, self.state.step
        self.trainer.bad.check()  # it waits for the device
        seconds = self.clock.stop(taken)
        said = {name: value for name, value in self.trainer.meters.means().items() if math.isfinite(value)}
        state.losses = {name: value for name, value in said.items() if name in TERMS}
        line: dict[str, Any] = {"step": step, **said, "learning_rate": self.trainer.rate(step - 1)}
        if step % (_SCORED * status_steps(self.config.steps)) == 0 or step == self.config.steps:
            state.held_out_accuracy = line["held_out_accuracy"] = score(
                self.trainer.kept, self.trainer.networks.head, self.held_out, self.scales
            )
            self._compare()
        append_history(self.history, {**line, "seconds": seconds})
        self.on_progress(Progress("training", step, self.config.steps, "steps", {**state.losses, **self.clock.rates}))
        if write is not None:
            write(step, {**line, **self.clock.rates})
        if self.over or self.due:
            check_weights(step, self.trainer.modules)
            with self.due:
                save_checkpoint(
                    self.checkpoint, self.settings, asdict(state),
                    modules=self.modules, optimisers=self.trainer.optimisers,
                )  # fmt: skip

    def _compare(self) -> None:
        """Remember the weights that were scored best."""
        state, scored = self.state, list(self.state.held_out_accuracy.values())
        mean = sum(scored) / len(scored)
        if mean > state.best_accuracy:
            state.best_accuracy, state.best_step, state.worse = mean, state.step, 0
            if self.best is not None:
                self.best.load_state_dict(self.trainer.kept.state_dict())
        else:
            state.worse += 1


@torch.no_grad()
@fp32_precision(tf32=False)
def score(generator: nn.Module, head: Head, held_out: FeatureCache, scales: tuple[int, ...]) -> dict[str, float]:
    """Return the share of held-out faces given their class by the frozen head, in percent by scale."""
    generator.eval()
    right = {}
    for scale, features in zip(scales, held_out.features, strict=True):
        logits = head(generator(features.float()))[1]
        right[str(scale)] = 100 * float((logits.argmax(1) == held_out.labels).double().mean())
    return right


class _Clock:
    """The time that steps take, and how much of it they wait for data."""

    def __init__(self, trainer: Trainer) -> None:
        self.batches = trainer.batches
        self.samples = trainer.config.batch * trainer.config.generator_steps  # of a step
        self.began = self.waited = 0.0
        self.seconds, self.waiting, self.steps = 0.0, 0.0, 0
        self.rates: dict[str, float] = {}

    def start(self) -> None:
        self.began, self.waited = time.perf_counter(), self.batches.waited

    def stop(self, steps: int) -> float:
        """Count steps; return the seconds that they took."""
        seconds, waited = time.perf_counter() - self.began, self.batches.waited - self.waited
        self.seconds, self.waiting, self.steps = self.seconds + seconds, self.waiting + waited, self.steps + steps
        self.rates = {"samples_per_second": steps * self.samples / seconds, "data_wait_share": waited / seconds}
        return seconds

    @property
    def samples_per_second(self) -> float | None:
        return self.steps * self.samples / self.seconds if self.steps else None

    @property
    def wait_share(self) -> float | None:
        return self.waiting / self.seconds if self.steps else None


class _Due:
    """When the next checkpoint is due; as a context it measures one."""

    def __init__(self, seconds: float | None) -> None:
        self.asked, self.cost, self.made = seconds, 0.0, time.perf_counter()

    def __bool__(self) -> bool:
        between = min(_CHECKPOINT_SECONDS, self.cost / _CHECKPOINT_SHARE) if self.asked is None else self.asked
        return time.perf_counter() - self.made >= between

    def __enter__(self) -> None:
        self.made = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        now = time.perf_counter()
        self.cost, self.made = now - self.made, now
