"""Training an extractor as a classifier: cross-entropy on faces at one scale or many, resumed where it stopped."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from torch import Tensor

from fsrcache.device import computed_precision, fp32_precision
from fsrcache.errors import FsrcacheError
from fsrcache.extractors.extractor import Extractor
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.digest import content_digest
from fsrcache.faces.faces import Faces
from fsrcache.presets import PretrainConfig
from fsrcache.progress import Progress, ProgressCallback
from fsrcache.records import Between, value_from
from fsrcache.training.classifier.pictures import read_splits, split_rows
from fsrcache.training.classifier.trainer import ClassifierTrainer, Views, accuracy, make_optimiser
from fsrcache.training.run.checkpoint import resume, run_lock, save_checkpoint
from fsrcache.training.run.due import CheckpointDue, ReportDue
from fsrcache.training.run.history import check_history, write_history
from fsrcache.training.run.restart import discard_run

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
    """

    history: list[dict[str, Any]]
    resumed_from: int
    resumed_step: int
    accuracy: dict[str, float]
    settings: dict[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """Values for the weights' file: no times, nothing that depends on interruptions."""
        return {**self.settings, "epochs": len(self.history), "accuracy": self.accuracy}


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
    restart: bool = False,
    checkpoint_seconds: float | None = None,
) -> ClassifierResult:
    """Train an extractor in place on the training split without its held-out tenth; the last epoch is kept.

    The held-out tenth is scored at full resolution after every epoch, val and test once, after the last. On a CPU an
    interrupted run ends in the same bytes as an uninterrupted one.

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
        Callback for reports: after the first step, every second and after every epoch.
    scales, degradation
        Scales at which pictures are seen, drawn anew each time, and how they are made coarse; full resolution alone by
        default.
    restart
        Whether to begin anew where a run is in the folder.
    checkpoint_seconds
        Time between two checkpoints within an epoch; None is 30 s, and less where they are cheap.

    Raises
    ------
    RequestError
        If there are no scales, or the network cannot be trained.
    FsrcacheError
        If there is nothing to train on, the folder holds a run of other settings or belongs to a training under way, or
        loss or weights stop being finite.
    """
    views = Views(scales, degradation)
    rows = split_rows(faces)
    settings = {
        **settings,
        "precision": computed_precision("bf16", extractor.device),
        "schedule": asdict(schedule),
        "seed": seed,
        "data": content_digest(faces),
        "classes": list(faces.classes),
        "scales": list(scales),
    }
    optimiser = make_optimiser(extractor, schedule)
    if restart:
        discard_run(folder)
    with run_lock(folder), torch.random.fork_rng([extractor.device] if extractor.device.type == "cuda" else []):
        run = _Run(extractor, optimiser, schedule, folder, settings, phase, on_progress, checkpoint_seconds)
        note = run.resume()
        resumed_from, resumed_step = len(run.state.history), run.state.step
        splits = read_splits(faces, rows, on_progress=on_progress)
        trainer = ClassifierTrainer(extractor, optimiser, *splits.pop("train"), schedule, views=views, seed=seed)
        run.report(resumed_from * trainer.steps + resumed_step, trainer, note=note)
        for _ in range(resumed_from, schedule.epochs):
            run.train_epoch(trainer, *splits["held-out"])
        scores = {split: accuracy(extractor, *both, on_progress=on_progress) for split, both in splits.items()}
        extractor.module.eval()
    history = [dict(line) for line in run.state.history]
    return ClassifierResult(history, resumed_from, resumed_step, scores, settings)


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
    ) -> None:
        self.extractor, self.epochs, self.settings = extractor, schedule.epochs, settings
        self.modules, self.optimisers = {"extractor": extractor.module}, {"adamw": optimiser}
        self.checkpoint, self.history = folder / "checkpoint.safetensors", folder / "history.jsonl"
        self.phase, self.on_progress = phase, on_progress
        self.checkpoint_due, self.report_due = CheckpointDue(checkpoint_seconds), ReportDue()
        self.state = _ClassifierState()

    def resume(self) -> str:
        """Go back to the newest checkpoint, if any; return in words why not to the newest, empty otherwise."""
        check_history(self.history)
        resumed = resume(
            self.checkpoint, self.settings, self._read, modules=self.modules, optimisers=self.optimisers
        )  # fmt: skip
        if resumed is None:
            return ""
        self.state = resumed.state
        write_history(self.history, self.state.history)
        return resumed.fell_back

    def train_epoch(self, trainer: ClassifierTrainer, pictures: Tensor, labels: Tensor) -> None:
        """Take the steps that are left of an epoch, score it on held-out pictures and keep it."""
        epoch, history = len(self.state.history), self.state.history
        trainer.begin(epoch, loss=self.state.loss, right=self.state.right)
        for step in range(self.state.step, trainer.steps):
            trainer.step(step)
            taken = step + 1
            if self.report_due:
                values = {"epoch": epoch + 1, "loss": trainer.loss.item() / taken}
                self.report(epoch * trainer.steps + taken, trainer, values)
            if self.checkpoint_due and taken < trainer.steps:
                self.keep(_ClassifierState(history, taken, trainer.loss.item(), int(trainer.right.item())), trainer)
        line: _Line = {
            "epoch": epoch + 1,
            "loss": trainer.loss.item() / trainer.steps,
            "train_accuracy": 100 * trainer.right.item() / (trainer.steps * trainer.batch),
            "held_out_accuracy": accuracy(self.extractor, pictures, labels, on_progress=self.on_progress),
        }
        self.keep(_ClassifierState((*history, line)), trainer)
        write_history(self.history, self.state.history)
        values = {"epoch": epoch + 1, "loss": line["loss"], "held_out_accuracy": line["held_out_accuracy"]}
        self.report((epoch + 1) * trainer.steps, trainer, values)

    def report(
        self, steps: int, trainer: ClassifierTrainer, values: Mapping[str, float] | None = None, note: str = ""
    ) -> None:
        self.on_progress(Progress(self.phase, steps, self.epochs * trainer.steps, "steps", values or {}, note))

    def keep(self, state: _ClassifierState, trainer: ClassifierTrainer) -> None:
        """Write a checkpoint.

        Raises
        ------
        FsrcacheError
            If loss or weights are not finite.
        """
        loss = trainer.loss.item()
        if not math.isfinite(loss) or not trainer.finite_weights():
            what = "Weights stopped being finite" if math.isfinite(loss) else f"The cross-entropy became {loss}"
            raise FsrcacheError(
                f"{what} in epoch {trainer.epoch + 1} of the {self.phase}.",
                "The last checkpoint is from before; take a lower learning rate or look at the pictures.",
            )
        with self.checkpoint_due:
            save_checkpoint(
                self.checkpoint, self.settings, asdict(state), modules=self.modules, optimisers=self.optimisers
            )  # fmt: skip
        self.state = state

    def _read(self, written: Mapping[str, Any], file: Path) -> _ClassifierState:
        """Return a checkpoint's state, its epochs counted from 1 and none of them beyond the last."""
        state: _ClassifierState = value_from(_ClassifierState, written, where=file, name="state")
        epochs = [line["epoch"] for line in state.history]
        if epochs != list(range(1, len(epochs) + 1)) or len(epochs) > self.epochs:
            raise FsrcacheError(f"{file}: state.history has {len(epochs):,} lines, and not one for each epoch so far.")
        if state.step and len(epochs) == self.epochs:
            raise FsrcacheError(f"{file}: state.step is {state.step:,}, beyond the last epoch.")
        return state
