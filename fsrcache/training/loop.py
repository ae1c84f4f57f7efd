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
from fsrcache.models.extractor import Head
from fsrcache.progress import Progress, Watch
from fsrcache.records import Between, value_from
from fsrcache.training.checkpoint import resume, save_checkpoint
from fsrcache.training.finite import check_weights
from fsrcache.training.history import append_history, cut_history
from fsrcache.training.iteration import Iteration
from fsrcache.training.loader import FeatureCache
from fsrcache.training.steps import TERMS

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
class Standing:
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
class Ended:
    """What a training did in this call.

    Attributes
    ----------
    standing
        Where it ended.
    resumed_from, fell_back
        The step that it went on from, and in words why not from the newest checkpoint; empty if it did.
    samples_per_second, data_wait_share
        Of the steps of this call: the generator's samples, and the share of the time that went by in drawing batches;
        None where there were no steps.
    """

    standing: Standing
    resumed_from: int
    fell_back: str
    samples_per_second: float | None
    data_wait_share: float | None


def run_steps(
    iteration: Iteration,
    held_out: FeatureCache,
    scales: tuple[int, ...],
    *,
    folder: Path,
    settings: Mapping[str, Any],
    watch: Watch,
    log: Callable[[int], Log] | None = None,
    checkpoint_seconds: float | None = None,
) -> Ended:
    """Train to the last step, or to the end of patience.

    Parameters
    ----------
    iteration
        What takes the steps.
    held_out, scales
        What is scored, on the device, and the scale of each of its places.
    folder
        Where checkpoints and history are kept.
    settings
        What a checkpoint must agree on.
    watch
        Called at every status line.
    log
        Given the step that is gone on from, returns what is called with the numbers of every status line.
    checkpoint_seconds
        Between two checkpoints at least; None is 30 s, and less where they are cheap.
    """
    run = _Run(iteration, held_out, scales, folder, settings, watch, checkpoint_seconds)
    standing, steps, every = run.standing, iteration.config.steps, status_steps(iteration.config.steps)
    resumed_from, write = standing.step, None if log is None else log(standing.step)
    while True:
        step = standing.step
        if step > resumed_from and (step % every == 0 or step == steps):
            run.maintain((step - 1) % every + 1, write)
        if run.over:
            if run.best is not None:
                iteration.kept.load_state_dict(run.best.state_dict())
            return Ended(standing, resumed_from, run.fell_back, run.clock.samples_per_second, run.clock.wait_share)
        if step == resumed_from or step % every == 0:
            run.clock.start()
            iteration.batches.prepare(step, min(every - step % every, steps - step))
        iteration.take(step)
        standing.step += 1


def status_steps(steps: int) -> int:
    """Return the steps between two status lines."""
    return max(1, min(MOST_STEPS, steps // _STATUS_LINES))


class _Run:
    """The files and clocks of a training, and what is done between its steps."""

    def __init__(
        self,
        iteration: Iteration,
        held_out: FeatureCache,
        scales: tuple[int, ...],
        folder: Path,
        settings: Mapping[str, Any],
        watch: Watch,
        checkpoint_seconds: float | None,
    ) -> None:
        self.iteration, self.config, self.held_out, self.scales = iteration, iteration.config, held_out, scales
        self.settings, self.watch = settings, watch
        self.checkpoint, self.history = folder / CHECKPOINT, folder / "history.jsonl"
        self.modules = dict(iteration.modules)
        self.best: nn.Module | None = None
        if self.config.patience:
            self.best = self.modules["best"] = copy.deepcopy(iteration.kept)
        self.standing, self.fell_back = Standing(), ""
        found = resume(
            self.checkpoint, settings, self._read, modules=self.modules, optimisers=iteration.optimisers
        )  # fmt: skip
        if found is not None:
            self.standing, self.fell_back = found
        left_out = cut_history(self.history, step=self.standing.step)
        note = " ".join(filter(None, (self.fell_back, left_out)))
        watch(Progress("training", self.standing.step, self.config.steps, "steps", note=note))
        self.clock, self.due = _Clock(iteration), _Due(checkpoint_seconds)

    def _read(self, written: Mapping[str, Any], file: Path) -> Standing:
        """Return a checkpoint's standing, which is none beyond the last step."""
        standing: Standing = value_from(Standing, written, where=file, name="standing")
        for name, most in (("step", self.config.steps), ("best_step", standing.step), ("worse", standing.step)):
            if getattr(standing, name) > most:
                raise FsrcacheError(f"{file}: standing.{name} is {getattr(standing, name):,}, beyond {most:,}.")
        return standing

    @property
    def over(self) -> bool:
        """Whether this was the last step."""
        patience = self.config.patience
        return self.standing.step == self.config.steps or bool(patience and self.standing.worse >= patience)

    def maintain(self, taken: int, write: Log | None) -> None:
        """Say how the steps since the last time went, score and keep the state if it is time to."""
        standing, step = self.standing, self.standing.step
        self.iteration.bad.check()  # it waits for the device
        seconds = self.clock.stop(taken)
        said = {name: value for name, value in self.iteration.tally.take().items() if math.isfinite(value)}
        standing.losses = {name: value for name, value in said.items() if name in TERMS}
        line: dict[str, Any] = {"step": step, **said, "learning_rate": self.iteration.rate(step - 1)}
        if step % (_SCORED * status_steps(self.config.steps)) == 0 or step == self.config.steps:
            standing.held_out_accuracy = line["held_out_accuracy"] = score(
                self.iteration.kept, self.iteration.networks.head, self.held_out, self.scales
            )
            self._compare()
        append_history(self.history, {**line, "seconds": seconds})
        self.watch(Progress("training", step, self.config.steps, "steps", {**standing.losses, **self.clock.rates}))
        if write is not None:
            write(step, {**line, **self.clock.rates})
        if self.over or self.due:
            check_weights(step, self.iteration.modules)
            with self.due:
                save_checkpoint(
                    self.checkpoint, self.settings, asdict(standing),
                    modules=self.modules, optimisers=self.iteration.optimisers,
                )  # fmt: skip

    def _compare(self) -> None:
        """Remember the weights that were scored best."""
        standing, scored = self.standing, list(self.standing.held_out_accuracy.values())
        mean = sum(scored) / len(scored)
        if mean > standing.best_accuracy:
            standing.best_accuracy, standing.best_step, standing.worse = mean, standing.step, 0
            if self.best is not None:
                self.best.load_state_dict(self.iteration.kept.state_dict())
        else:
            standing.worse += 1


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

    def __init__(self, iteration: Iteration) -> None:
        self.batches = iteration.batches
        self.samples = iteration.config.batch * iteration.config.generator_steps  # of a step
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
