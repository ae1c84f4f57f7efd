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
from fsrcache.presets import TrainConfig
from fsrcache.progress import Progress, ProgressCallback
from fsrcache.records import Between, value_from
from fsrcache.training.data.loader import FeatureCache
from fsrcache.training.run.checkpoint import CHECKPOINT, resume, save_checkpoint
from fsrcache.training.run.due import CheckpointDue
from fsrcache.training.run.history import append_history, cut_history
from fsrcache.training.step.finite import check_weights
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import TERMS

MOST_STEPS = 100  # between two status lines, at most
_STATUS_LINES = 40  # of a run, at least
_SCORED = 8  # the held-out faces at every eighth of them

Log = Callable[[int, Mapping[str, float]], None]
_Count = Annotated[int, Between(0, 10**8)]
_Percent = Annotated[float, Between(0, 100)]


@dataclass
class TrainState:
    """Progress of a training, which a checkpoint keeps beside the tensors.

    Attributes
    ----------
    step
        Number of finished steps.
    losses
        Means of the terms between the last two status lines.
    held_out_accuracy
        Accuracy at the last scoring in percent, by scale.
    best_accuracy
        Mean accuracy over scales at the best scoring so far, in percent; -1 before the first one.
    best_step
        Step of the best scoring.
    worse
        Number of scorings after the best one.
    """

    step: _Count = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    held_out_accuracy: Mapping[str, _Percent] = field(default_factory=dict)
    best_accuracy: Annotated[float, Between(-1, 100)] = -1.0
    best_step: _Count = 0
    worse: _Count = 0


@dataclass(frozen=True)
class LoopResult:
    """What a training did in one call.

    Attributes
    ----------
    state
        State at the end.
    resumed_from
        Step of the checkpoint that the call went on from; 0 for a new run.
    fell_back
        Reason why the newest checkpoint was not used; empty if it was.
    samples_per_second, data_wait_share
        Samples of the generator a second in this call, and the share of its time spent on batches; None without steps.
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
        Networks and their step.
    held_out
        Features that are scored, on the device.
    scales
        The S scales of the features.
    folder
        Folder of checkpoints and history.
    settings
        Settings that a checkpoint must agree with.
    on_progress
        Callback, called at every status line.
    log
        Function of the step that the run goes on from; it returns a callback for the numbers of every status line.
    checkpoint_seconds
        Least time between two checkpoints; None is 30 s, and less where they are cheap.
    """
    run = _Run(trainer, held_out, scales, folder, settings, on_progress, checkpoint_seconds)
    state, steps, every = run.state, trainer.config.steps, status_steps(trainer.config.steps)
    resumed_from, write = state.step, None if log is None else log(state.step)
    while True:
        step = state.step
        if step > resumed_from and (step % every == 0 or step == steps):
            run.maintain((step - 1) % every + 1, write)
        if run.finished:
            if run.best is not None:
                trainer.kept.load_state_dict(run.best.state_dict())
            return LoopResult(state, resumed_from, run.fell_back, run.clock.samples_per_second, run.clock.wait_share)
        if step == resumed_from or step % every == 0:
            run.clock.start()
            trainer.batches.prepare(step, min(every - step % every, steps - step))
        trainer.step(step)
        state.step += 1


def is_finished(state: TrainState, config: TrainConfig) -> bool:
    """Tell whether a training has taken its last step, or patience has ended it."""
    return state.step == config.steps or bool(config.patience and state.worse >= config.patience)


def status_steps(steps: int) -> int:
    """Return the steps between two status lines."""
    return max(1, min(MOST_STEPS, steps // _STATUS_LINES))


class _Run:
    """The files and clocks of a training, and its work between steps."""

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
        resumed = resume(
            self.checkpoint, settings, self._read, modules=self.modules, optimisers=trainer.optimisers,
            anew="another --name, or --restart",
        )  # fmt: skip
        if resumed is not None:
            self.state, self.fell_back = resumed
        left_out = cut_history(self.history, step=self.state.step)
        note = " ".join(filter(None, (self.fell_back, left_out)))
        on_progress(Progress("training", self.state.step, self.config.steps, "steps", note=note))
        self.clock, self.due = _Clock(trainer), CheckpointDue(checkpoint_seconds)

    def _read(self, written: Mapping[str, Any], file: Path) -> TrainState:
        """Return the state of a checkpoint, checked; it is not beyond the last step."""
        state: TrainState = value_from(TrainState, written, where=file, name="state")
        for name, most in (("step", self.config.steps), ("best_step", state.step), ("worse", state.step)):
            if getattr(state, name) > most:
                raise FsrcacheError(f"{file}: state.{name} is {getattr(state, name):,}, beyond {most:,}.")
        return state

    @property
    def finished(self) -> bool:
        """Whether this was the last step."""
        return is_finished(self.state, self.config)

    def maintain(self, steps: int, write: Log | None) -> None:
        """Report on the steps since the last status line; score and write a checkpoint when they are due."""
        state, step = self.state, self.state.step
        self.trainer.finite.check()  # it waits for the device
        seconds = self.clock.stop(steps)
        means = {name: value for name, value in self.trainer.meters.means().items() if math.isfinite(value)}
        state.losses = {name: value for name, value in means.items() if name in TERMS}
        line: dict[str, Any] = {"step": step, **means, "learning_rate": self.trainer.rate(step - 1)}
        if step % (_SCORED * status_steps(self.config.steps)) == 0 or step == self.config.steps:
            state.held_out_accuracy = line["held_out_accuracy"] = score(
                self.trainer.kept, self.trainer.networks.head, self.held_out, self.scales
            )
            self._compare()
        append_history(self.history, {**line, "seconds": seconds})
        self.on_progress(Progress("training", step, self.config.steps, "steps", {**state.losses, **self.clock.rates}))
        if write is not None:
            write(step, {**line, **self.clock.rates})
        if self.finished or self.due:
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
def score(generator: nn.Module, head: nn.Module, held_out: FeatureCache, scales: tuple[int, ...]) -> dict[str, float]:
    """Return the frozen head's accuracy on the generated features of held-out faces, in percent by scale."""
    generator.eval()
    accuracy = {}
    for scale, features in zip(scales, held_out.features, strict=True):
        logits = head(generator(features.float()))[1]
        accuracy[str(scale)] = 100 * float((logits.argmax(1) == held_out.labels).double().mean())
    return accuracy


class _Clock:
    """Duration of steps, and the time in it that is spent on batches."""

    def __init__(self, trainer: Trainer) -> None:
        self.batches = trainer.batches
        self.samples = trainer.config.batch * trainer.config.generator_steps  # of a step
        self.began = self.waited = 0.0
        self.seconds, self.waiting, self.steps = 0.0, 0.0, 0
        self.rates: dict[str, float] = {}

    def start(self) -> None:
        self.began, self.waited = time.perf_counter(), self.batches.waited

    def stop(self, steps: int) -> float:
        """Count steps; return their seconds."""
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
