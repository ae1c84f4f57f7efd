"""Training an extractor as a classifier: cross-entropy on faces at one scale or many, resumed where it stopped."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor

from fsrcache.announce import FirstSeconds, announce, several
from fsrcache.device import computed_precision, fp32_precision, in_words, torch_threads
from fsrcache.errors import FsrcacheError
from fsrcache.extractors.extractor import Extractor
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.digest import content_digest
from fsrcache.faces.faces import Faces
from fsrcache.presets import PretrainConfig
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.records import Between, value_from
from fsrcache.training.classifier.distillation import Teacher
from fsrcache.training.classifier.pictures import read_splits, split_rows
from fsrcache.training.classifier.trainer import ClassifierTrainer, Views, accuracy, make_optimiser, scoring_seconds
from fsrcache.training.data.memory import memory_errors
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.training.run.checkpoint import CHECKPOINT, Checkpoints
from fsrcache.training.run.due import CheckpointDue, ReportDue
from fsrcache.training.run.folder import held_folder, refuse_other_steps
from fsrcache.training.run.history import check_history, write_history

Following = Callable[[Extractor], tuple[float, str]]
_Splits = Mapping[str, tuple[Tensor, Tensor]]
_Percent = Annotated[float, Between(0, 100)]
_Count = Annotated[int, Between(0, 10**8)]


class _Line(TypedDict):
    """A line of the history."""

    epoch: Annotated[int, Between(1, 10**5)]
    loss: float
    train_accuracy: _Percent
    held_out_accuracy: _Percent


@dataclass(frozen=True)
class _ClassifierState:
    """How far a training is: what a checkpoint keeps beside tensors.

    Attributes
    ----------
    history
        A line for every whole epoch.
    step
        Steps taken in the epoch after those.
    loss, right
        Sum of the losses and number of right answers in these steps.
    """

    history: tuple[_Line, ...] = ()
    step: _Count = 0
    loss: float = 0.0
    right: _Count = 0


@dataclass(frozen=True)
class ClassifierResult:
    """Result of a training.

    Attributes
    ----------
    history
        A line for every epoch: ``epoch`` from 1, mean ``loss``, ``train_accuracy`` and ``held_out_accuracy`` in
        percent.
    resumed_from, resumed_step
        Whole epochs, and steps of the next one, that earlier calls had done.
    accuracy
        Final accuracy in percent by split: ``held-out``, and ``val`` and ``test`` where the data have them.
    settings
        JSON values that the run's checkpoints agree on.
    earlier_threads
        Numbers of threads before the run went on under another; empty where it did not.
    """

    history: list[dict[str, Any]]
    resumed_from: int
    resumed_step: int
    accuracy: dict[str, float]
    settings: dict[str, Any]
    earlier_threads: tuple[int, ...]

    @property
    def record(self) -> dict[str, Any]:
        """Values for the weights' file: no times, nothing that depends on interruptions."""
        earlier = {"earlier_threads": self.earlier_threads} if self.earlier_threads else {}
        return {**self.settings, **earlier, "epochs": len(self.history), "accuracy": self.accuracy}


@fp32_precision(tf32=False)
def fit_classifier(
    extractor: Extractor,
    faces: Faces,
    schedule: PretrainConfig,
    *,
    phase: str,
    folder: Path,
    settings: Mapping[str, Any],
    seed: int,
    on_progress: ProgressCallback,
    scales: tuple[int, ...] = (1,),
    degradation: Degradation = SCALE_FORM,
    teacher: Teacher | None = None,
    restart: bool = False,
    other_threads: bool = False,
    checkpoint_seconds: float | None = None,
    following: Following | None = None,
    ranks: Ranks = ALONE,
) -> ClassifierResult:
    """Train an extractor in place on the training split without its held-out tenth; the last epoch is kept.

    The held-out tenth is scored at full resolution after every epoch, val and test once, after the last. On a CPU an
    interrupted run ends in the same bytes as an uninterrupted one, under one number of threads.

    Parameters
    ----------
    extractor
        Network to train, on its device: any whose ``embed`` computes logits with gradients.
    faces
        Pictures, of the network's side.
    schedule
        Settings of the training.
    phase
        Name of the work in progress reports.
    folder
        Folder of the checkpoints and of ``history.jsonl``; a run that stopped there is resumed.
    settings
        JSON values that a checkpoint must agree on, beside schedule, seed and data.
    seed
        Random seed of order, scales, augmentation and dropout, which are functions of (seed, epoch, step) alone.
    on_progress
        Callback for reports: after the first step, every second and after every epoch. After the first seconds a note
        says how long all of it takes.
    scales, degradation
        Scales at which pictures are seen, drawn anew each time, and how they are made coarse; full resolution alone by
        default.
    teacher
        Frozen extractor that it learns from; None for the labels alone. Its settings are among ``settings``.
    restart
        Whether to begin anew where a run is in the folder.
    other_threads
        Whether a run may go on under another number of threads; it then ends in other bytes.
    checkpoint_seconds
        Time between two checkpoints within an epoch; None is 30 s, and less where they are cheap.
    following
        Function of the extractor that returns the expected seconds of the work after the training, and its name; the
        note counts it in.
    ranks
        The processes that train together, each with these arguments; the first writes and reports.

    Raises
    ------
    RequestError
        If there are no scales, the network cannot be trained, or the processes cannot share a batch equally.
    FsrcacheError
        If there is nothing to train on, the folder holds a run of other settings or belongs to a training under way,
        the memory is short, or loss or weights stop being finite.
    """
    views = Views(scales, degradation)
    rows = split_rows(faces)
    settings = {
        **settings,
        "precision": computed_precision("bf16", extractor.device),
        "threads": torch_threads(extractor.device),
        "schedule": asdict(schedule),
        "seed": seed,
        "data": content_digest(faces),
        "classes": list(faces.classes),
        "scales": list(scales),
    }
    optimiser = make_optimiser(extractor, schedule)
    on_progress = on_progress if ranks.first else no_progress
    with (
        memory_errors(schedule.batch),
        held_folder(folder, ranks, restart=restart),
        torch.random.fork_rng([extractor.device] if extractor.device.type == "cuda" else []),
    ):
        run = _Run(extractor, optimiser, schedule, folder, settings, phase, on_progress, checkpoint_seconds, ranks)
        note = run.resume(other_threads=other_threads)
        resumed_from, resumed_step = len(run.state.history), run.state.step
        refuse_other_steps(run.checkpoints.path, ranks, resumed_from, resumed_step)
        splits = read_splits(faces, rows, on_progress=on_progress)
        trainer = ClassifierTrainer(
            extractor, optimiser, *splits.pop("train"), schedule, views=views, seed=seed, teacher=teacher, ranks=ranks
        )
        run.begin(trainer, note)
        for _ in range(resumed_from, schedule.epochs):
            run.train_epoch(trainer, splits, following)
        scores = {split: accuracy(extractor, *both, on_progress=on_progress) for split, both in splits.items()}
        extractor.module.eval()
    history = [dict(line) for line in run.state.history]
    settings, earlier = dict(run.checkpoints.settings), run.checkpoints.earlier_threads
    return ClassifierResult(history, resumed_from, resumed_step, scores, settings, earlier)


class _Run:
    """State, files and clocks of a training."""

    def __init__(
        self,
        extractor: Extractor,
        optimiser: torch.optim.Optimizer,
        schedule: PretrainConfig,
        folder: Path,
        settings: Mapping[str, Any],
        phase: str,
        on_progress: ProgressCallback,
        checkpoint_seconds: float | None,
        ranks: Ranks,
    ) -> None:
        self.ranks = ranks
        self.extractor, self.epochs, self.history = extractor, schedule.epochs, folder / "history.jsonl"
        self.checkpoints = Checkpoints(
            folder / CHECKPOINT, settings, modules={"extractor": extractor.module}, optimisers={"adamw": optimiser}
        )
        self.phase, self.on_progress = phase, on_progress
        self.checkpoint_due, self.report_due = CheckpointDue(checkpoint_seconds, folder), ReportDue()
        self.state, self.resumed = _ClassifierState(), 0

    def resume(self, *, other_threads: bool) -> str:
        """Go back to the newest checkpoint, if any; return in words what the user should know of it."""
        check_history(self.history)
        resumed = self.checkpoints.resume(self._read, finished=self._is_finished, other_threads=other_threads)
        if resumed is None:
            return ""
        self.state = resumed.state
        self._write_history()
        return resumed.note

    def _is_finished(self, state: _ClassifierState) -> bool:
        return len(state.history) == self.epochs

    def begin(self, trainer: ClassifierTrainer, note: str) -> None:
        """Report where the training begins, and measure from now on."""
        self.resumed = len(self.state.history) * trainer.steps + self.state.step
        self.first_seconds = FirstSeconds()
        self.report(self.resumed, trainer, note=note)

    def train_epoch(self, trainer: ClassifierTrainer, splits: _Splits, following: Following | None) -> None:
        """Take the steps that are left of an epoch, score it on held-out pictures and keep it."""
        epoch = len(self.state.history)
        trainer.begin(epoch, loss=self.state.loss, right=self.state.right)
        for step in range(self.state.step, trainer.steps):
            trainer.step(step)
            taken = step + 1
            if not self.ranks.first:
                continue
            if self.report_due:
                values = {"epoch": epoch + 1, "loss": trainer.loss.item() / taken}
                self.report(epoch * trainer.steps + taken, trainer, values)
                self.announce(epoch * trainer.steps + taken, trainer, splits, following)
            if self.checkpoint_due and taken < trainer.steps:
                right = int(trainer.right.item())
                self.keep(replace(self.state, step=taken, loss=trainer.loss.item(), right=right), trainer)
        line: _Line = {
            "epoch": epoch + 1,
            "loss": trainer.loss.item() / trainer.steps,
            "train_accuracy": 100 * trainer.right.item() / (trainer.steps * trainer.batch),
            "held_out_accuracy": accuracy(self.extractor, *splits["held-out"], on_progress=self.on_progress),
        }
        self.keep(_ClassifierState((*self.state.history, line)), trainer)
        self._write_history()
        values = {"epoch": epoch + 1, "loss": line["loss"], "held_out_accuracy": line["held_out_accuracy"]}
        self.report((epoch + 1) * trainer.steps, trainer, values)

    def report(
        self, steps: int, trainer: ClassifierTrainer, values: Mapping[str, float] | None = None, note: str = ""
    ) -> None:
        self.on_progress(Progress(self.phase, steps, self.epochs * trainer.steps, "steps", values or {}, note))

    def announce(self, steps: int, trainer: ClassifierTrainer, splits: _Splits, following: Following | None) -> None:
        """Say once, when the pace of the steps is known, how long it is to the end."""
        pace = self.first_seconds.measured(steps - self.resumed)
        if pace is None:
            return
        epochs, batch = self.epochs - len(self.state.history), [part[: trainer.batch] for part in splits["held-out"]]
        scored = epochs * len(splits["held-out"][1]) + sum(len(labels) for _, labels in splits.values())
        seconds = pace.seconds_each * (self.epochs * trainer.steps - steps)
        seconds += scored * scoring_seconds(self.extractor, *batch)
        rest = "the rest of " if self.resumed else ""
        work = f"{rest}{several(self.epochs, 'epoch')} of {several(trainer.steps, 'step')}"
        if following:
            more, name = following(self.extractor)
            seconds, work = seconds + more, f"{work} and {name}"
        self.extractor.module.train()
        work = f"{work} on {in_words(self.extractor.device)}"
        announce(self.on_progress, seconds, work, by=f"the first {several(pace.pieces, 'step')}")

    def keep(self, state: _ClassifierState, trainer: ClassifierTrainer) -> None:
        """Write a checkpoint.

        Raises
        ------
        FsrcacheError
            If loss or weights are not finite.
        """
        loss = trainer.loss.item()
        if not math.isfinite(loss) or not trainer.finite_weights():
            what = "Weights stopped being finite" if math.isfinite(loss) else f"The loss became {loss}"
            raise FsrcacheError(
                f"{what} in epoch {trainer.epoch + 1} of the {self.phase}.",
                "A checkpoint, if there is one, is from before; take a lower learning rate or look at the pictures.",
            )
        if self.ranks.first:
            with self.checkpoint_due:
                self.checkpoints.save(asdict(state))
        self.state = state

    def _write_history(self) -> None:
        if self.ranks.first:
            write_history(self.history, self.state.history)

    def _read(self, written: Mapping[str, Any], file: Path) -> _ClassifierState:
        """Return a checkpoint's state, its epochs counted from 1 and none of them beyond the last."""
        state: _ClassifierState = value_from(_ClassifierState, written, where=file, name="state")
        epochs = [line["epoch"] for line in state.history]
        if epochs != list(range(1, len(epochs) + 1)) or len(epochs) > self.epochs:
            raise FsrcacheError(f"{file}: state.history has {len(epochs):,} lines, and not one for each epoch so far.")
        if state.step and len(epochs) == self.epochs:
            raise FsrcacheError(f"{file}: state.step is {state.step:,}, beyond the last epoch.")
        return state
