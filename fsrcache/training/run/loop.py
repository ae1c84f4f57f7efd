"""The loop of a training: maintenance, then the end, or else one step; it goes on from its last checkpoint."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn

from fsrcache.announce import FirstSeconds, announce, several
from fsrcache.device import fp32_precision, in_words
from fsrcache.errors import FsrcacheError
from fsrcache.models.generators.form import super_resolve
from fsrcache.presets import TrainConfig
from fsrcache.progress import Progress, ProgressCallback, counted, no_progress
from fsrcache.records import Between, value_from
from fsrcache.training.data.loader import FeatureCache
from fsrcache.training.run.checkpoint import CHECKPOINT, Checkpoints, Resumed, run_record
from fsrcache.training.run.due import CheckpointDue, ReportDue
from fsrcache.training.run.folder import refuse_other_steps
from fsrcache.training.run.history import append_history, cut_history
from fsrcache.training.run.settings import ANEW
from fsrcache.training.step.finite import check_weights
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import TERMS

MOST_STEPS = 100  # between two status lines, at most
_STATUS_LINES = 40  # of a run, at least
_SCORED = 8  # the first held-out faces at every eighth of them

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
        Accuracy at the last scoring in percent, by scale: on the first held-out faces; of a run that has ended that of
        the weights that are kept, on all of them.
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
    settings
        Settings of the run, with the number of threads of its last step.
    earlier_threads
        Numbers of threads before the run went on under another; empty where it did not.
    resumed_from
        Step of the checkpoint that the call went on from; 0 for a new run.
    fell_back
        Reason why the newest checkpoint was not used; empty if it was.
    samples_per_second, data_wait_share
        Samples of the generator a second in this call, and the share of its time spent on batches; None without steps.
    """

    state: TrainState
    settings: Mapping[str, Any]
    earlier_threads: tuple[int, ...]
    resumed_from: int
    fell_back: str
    samples_per_second: float | None
    data_wait_share: float | None


def run_steps(
    trainer: Trainer,
    held_out: FeatureCache,
    scales: tuple[int, ...],
    *,
    every_held_out: Callable[[], Iterable[FeatureCache]],
    folder: Path,
    settings: Mapping[str, Any],
    on_progress: ProgressCallback,
    log: Callable[[int], Log] | None = None,
    checkpoint_seconds: float | None = None,
    other_threads: bool = False,
) -> LoopResult:
    """Train to the last step, or to the end of patience.

    Parameters
    ----------
    trainer
        Networks and their step.
    held_out
        Features that are scored on the way, on the device.
    scales
        The S scales of the features.
    every_held_out
        Function that returns all held-out features part by part, on the device: they are scored at the end.
    folder
        Folder of checkpoints and history.
    settings
        Settings that a checkpoint must agree with.
    on_progress
        Callback, called every second and at every status line, and once with a note on how long all of it takes.
    log
        Function of the step that the run goes on from; it returns a callback for the numbers of every status line. Of
        several ranks the first calls it.
    checkpoint_seconds
        Least time between two checkpoints; None is 30 s, and less where they are cheap.
    other_threads
        Whether a run may go on under another number of threads than its checkpoint's.
    """
    run = _Run(
        trainer, held_out, every_held_out, scales, folder, settings, on_progress, checkpoint_seconds, other_threads
    )
    state, steps, every = run.state, trainer.config.steps, status_steps(trainer.config.steps)
    resumed_from = state.step
    write = log(resumed_from) if log is not None and trainer.ranks.first else None
    while True:
        step = state.step
        if step > resumed_from and (step % every == 0 or step == steps):
            run.maintain(step - max(resumed_from, (step - 1) // every * every), write)
        if run.finished:
            if run.best is not None:
                trainer.kept.load_state_dict(run.best.state_dict())
            return LoopResult(
                state, run.checkpoints.settings, run.checkpoints.earlier_threads, resumed_from, run.fell_back,
                run.clock.samples_per_second, run.clock.wait_share,
            )  # fmt: skip
        if step == resumed_from or step % every == 0:
            run.clock.start()
            trainer.batches.prepare(step, min(every - step % every, steps - step))
        trainer.step(step)
        state.step += 1
        run.look(resumed_from)


def is_finished(state: TrainState, config: TrainConfig) -> bool:
    """Tell whether a training has taken its last step, or patience has ended it."""
    return state.step == config.steps or bool(config.patience and state.worse >= config.patience)


def read_state(written: Mapping[str, Any], where: Path, *, steps: int) -> TrainState:
    """Return the state of a checkpoint, checked; it is not beyond the last step."""
    state: TrainState = value_from(TrainState, written, where=where, name="state")
    for name, most in (("step", steps), ("best_step", state.step), ("worse", state.step)):
        if getattr(state, name) > most:
            raise FsrcacheError(f"{where}: state.{name} is {getattr(state, name):,}, beyond {most:,}.")
    by_scale = sorted(state.held_out_accuracy.items(), key=lambda pair: (len(pair[0]), pair[0]))
    state.held_out_accuracy = dict(by_scale)  # the file's order is that of texts
    return state


def has_ended(folder: Path, config: TrainConfig) -> bool:
    """Tell whether a folder holds a training of some settings that has ended, as its newest checkpoint says."""
    record = run_record(folder / CHECKPOINT)
    if record is None:
        return False
    try:
        return is_finished(read_state(record["state"], folder, steps=config.steps), config)
    except FsrcacheError:
        return False


def status_steps(steps: int) -> int:
    """Return the steps between two status lines."""
    return max(1, min(MOST_STEPS, steps // _STATUS_LINES))


class _Run:
    """The files and clocks of a training, and its work between steps."""

    def __init__(
        self,
        trainer: Trainer,
        held_out: FeatureCache,
        every_held_out: Callable[[], Iterable[FeatureCache]],
        scales: tuple[int, ...],
        folder: Path,
        settings: Mapping[str, Any],
        on_progress: ProgressCallback,
        checkpoint_seconds: float | None,
        other_threads: bool,
    ) -> None:
        self.trainer, self.config, self.scales, self.ranks = trainer, trainer.config, scales, trainer.ranks
        self.held_out, self.every_held_out = held_out, every_held_out
        self.on_progress, self.history = on_progress, folder / "history.jsonl"
        self.best = copy.deepcopy(trainer.kept) if self.config.patience else None
        best = {} if self.best is None else {"best": self.best}
        self.checkpoints = Checkpoints(
            folder / CHECKPOINT, settings, anew=ANEW,
            modules={**trainer.modules, "meters": trainer.meters, **best}, optimisers=trainer.optimisers,
        )  # fmt: skip
        resumed = self.checkpoints.resume(
            partial(read_state, steps=self.config.steps),
            finished=lambda state: is_finished(state, self.config),
            other_threads=other_threads,
        ) or Resumed(TrainState(), "", "")
        self.state, self.fell_back = resumed.state, resumed.fell_back
        refuse_other_steps(self.checkpoints.path, self.ranks, self.state.step)
        left_out = cut_history(self.history, step=self.state.step) if self.ranks.first else ""
        note = " ".join(filter(None, (resumed.note, left_out)))
        on_progress(Progress("training", self.state.step, self.config.steps, "steps", note=note))
        self.clock, self.due, self.report_due = _Clock(trainer), CheckpointDue(checkpoint_seconds, folder), ReportDue()
        self.first_seconds = FirstSeconds()

    @property
    def finished(self) -> bool:
        """Whether this was the last step."""
        return is_finished(self.state, self.config)

    def look(self, resumed_from: int) -> None:
        """Every second report, and write a checkpoint if it is due; say how long it is to the end once it is known."""
        if not self.ranks.first or not self.report_due:
            return
        self.trainer.finite.check()  # it waits for the device
        step, steps = self.state.step, self.config.steps
        self.report()
        if self.due and step % status_steps(steps) and not self.finished:  # else after its status line
            self.save()
        pace = self.first_seconds.measured(step - resumed_from)
        if pace is None:
            return
        every = _SCORED * status_steps(steps)
        scorings = math.ceil(steps / every) - step // every
        seconds = pace.seconds_each * (steps - step) + scorings * self.scoring_seconds()
        rest, most = "the rest of " if resumed_from else "", "at most " if self.config.patience else ""
        work = f"{rest}{most}{several(steps, 'step')} on {in_words(self.held_out.labels.device)}"
        announce(self.on_progress, seconds, work, by=f"the first {pace.pieces:,}")

    def report(self) -> None:
        values = {**self.state.losses, **self.clock.rates}
        self.on_progress(Progress("training", self.state.step, self.config.steps, "steps", values))

    def scoring_seconds(self) -> float:
        """Return the seconds that a scoring takes, measured at one scale."""
        one = self.held_out.at(slice(1))
        began = time.perf_counter()
        score(self.trainer.kept, self.trainer.networks.head, one, self.scales[:1])
        return (time.perf_counter() - began) * math.ceil(len(self.scales) / self.ranks.size)

    def maintain(self, steps: int, write: Log | None) -> None:
        """Report on the steps since the last status line; score and write a checkpoint when they are due."""
        state, step = self.state, self.state.step
        self.trainer.finite.check()  # it waits for the device
        seconds = self.clock.stop(steps)
        means = {name: value for name, value in self.trainer.meters.means().items() if math.isfinite(value)}
        state.losses = {name: value for name, value in means.items() if name in TERMS}
        line: dict[str, Any] = {"step": step, **means, "learning_rate": self.trainer.rate(step - 1)}
        if step % (_SCORED * status_steps(self.config.steps)) == 0 or step == self.config.steps:
            state.held_out_accuracy = line["held_out_accuracy"] = self._score(self.trainer.kept, [self.held_out])
            self._compare()
            if self.finished:
                kept = self.trainer.kept if self.best is None else self.best
                state.held_out_accuracy = self._score(kept, self.every_held_out())
        if not self.ranks.first:
            return
        append_history(self.history, {**line, "seconds": seconds})
        self.report()
        if write is not None:
            write(step, {**line, **self.clock.rates})
        if self.finished or self.due:
            self.save()

    def _score(self, network: nn.Module, parts: Iterable[FeatureCache]) -> dict[str, float]:
        """Return a network's accuracy on parts of held-out faces by scale; every rank scores some scales."""
        mine, seen = slice(self.ranks.rank, None, self.ranks.size), 0
        means = {str(scale): 0.0 for scale in self.scales}
        for part in parts:
            scored = score(network, self.trainer.networks.head, part.at(mine), self.scales[mine], self.on_progress)
            seen += len(part.labels)
            for name, accuracy in scored.items():
                means[name] += (accuracy - means[name]) * (len(part.labels) / seen)
        rows = self.ranks.gathered(*means.values())
        return dict(zip(means, map(sum, zip(*rows, strict=True)), strict=True))

    def save(self) -> None:
        check_weights(self.state.step, self.trainer.modules)
        with self.due:
            self.checkpoints.save(asdict(self.state))

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
def score(
    generator: nn.Module,
    head: nn.Module,
    held_out: FeatureCache,
    scales: tuple[int, ...],
    on_progress: ProgressCallback = no_progress,
) -> dict[str, float]:
    """Return the frozen head's accuracy on the generated features of held-out faces, in percent by scale."""
    generator.eval()
    accuracy = {}
    of_scales = list(zip(scales, held_out.features, held_out.early, strict=True))
    for scale, features, early in counted(of_scales, "scoring", "scales", on_progress):
        logits = head(super_resolve(generator, features.float(), early.float()))[1]
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
