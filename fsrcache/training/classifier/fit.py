"""Training the extractor as a classifier: cross-entropy on faces at one scale or many, resumed epoch by epoch."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fsrcache.device import computed_precision, computes_bf16, fp32_precision
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.extractor import Extractor
from fsrcache.faces.degrade import SCALE_FORM, Degradation, low_resolution_view
from fsrcache.faces.digest import content_digest
from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.faces import Faces
from fsrcache.held_out import held_out
from fsrcache.presets import PretrainConfig
from fsrcache.progress import Progress, ProgressCallback
from fsrcache.records import Between, check_value, value_from
from fsrcache.spd.layers import BiMap
from fsrcache.training.classifier.augment import augment
from fsrcache.training.run.checkpoint import resume, run_lock, save_checkpoint
from fsrcache.training.run.history import check_history, write_history
from fsrcache.training.step.schedules import one_cycle, set_rate

_EVALUATED = 512  # pictures at a time
_READ_EVERY = 20  # steps: reading a number from a GPU waits for it
_Percent = Annotated[float, Between(0, 100)]
_Scales = tuple[Annotated[int, Between(1, 2048)], ...]


class _Line(TypedDict):
    """A line of the history."""

    epoch: Annotated[int, Between(1, 10**5)]
    loss: float
    train_accuracy: _Percent
    held_out_accuracy: _Percent


class _ClassifierState(TypedDict):
    """How far a training is: an epoch a line."""

    history: tuple[_Line, ...]


class ClassifierResult(NamedTuple):
    """What a training did: ``history`` line by line, the epoch ``resumed_from``, ``accuracy`` in percent by split."""

    history: list[dict[str, Any]]
    resumed_from: int
    accuracy: dict[str, float]
    settings: dict[str, Any]

    @property
    def answer(self) -> dict[str, Any]:
        """What a command says about it: ``epochs``, ``resumed_from``, ``accuracy``, ``history``."""
        return {
            "epochs": len(self.history),
            "resumed_from": self.resumed_from,
            "accuracy": self.accuracy,
            "history": self.history,
        }

    @property
    def record(self) -> dict[str, Any]:
        """What the weights' file keeps about it: no times, nothing that depends on interruptions."""
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
) -> ClassifierResult:
    """Train an extractor in place on the training split without its held-out tenth; the last epoch is kept.

    The held-out tenth is scored at full resolution after every epoch, val and test once, after the last.

    Parameters
    ----------
    extractor
        The network, on its device.
    faces
        The pictures, of the side that the model is for.
    schedule
        How it is trained.
    phase
        What the work is called while it runs.
    folder
        Where the checkpoint of every epoch and ``history.jsonl`` are kept; a run goes on from there.
    settings
        JSON values that a checkpoint must agree on, beside schedule, seed and data.
    seed
        Fixes order, scales and augmentation, as functions of (seed, epoch) alone.
    on_progress
        Called every few steps.
    scales, degradation
        Every picture is seen at one of these, drawn anew each time; full resolution alone by default.

    Raises
    ------
    FsrcacheError
        If there is nothing to train on, the folder holds a run of other settings or belongs to a training under way, or
        the loss stops being finite.
    """
    check_value(_Scales, scales, name="scales")
    if not scales:
        raise RequestError("There are no scales.", "Full resolution alone is (1,).")
    rows = _rows(faces)
    settings = {
        **settings,
        "precision": computed_precision("bf16", extractor.device),
        "schedule": asdict(schedule),
        "seed": seed,
        "data": content_digest(faces),
        "classes": list(faces.classes),
        "scales": list(scales),
    }
    optimiser = _optimiser(extractor.module, schedule)
    with run_lock(folder):
        checkpoint, epoch, history = folder / "checkpoint.safetensors", 0, list[dict[str, Any]]()
        check_history(folder / "history.jsonl")
        resumed = resume(
            checkpoint, settings, partial(_history, epochs=schedule.epochs),
            modules={"extractor": extractor.module}, optimisers={"adamw": optimiser},
        )  # fmt: skip
        if resumed is not None:
            epoch, history = len(resumed.state), resumed.state
            if resumed.fell_back:
                on_progress(Progress(phase, epoch, schedule.epochs, "epochs", note=resumed.fell_back))
        resumed_from = epoch
        pictures = {split: _pictures(faces, chosen) for split, chosen in rows.items()}
        labels = {split: torch.from_numpy(faces.labels[chosen].astype(np.int64)) for split, chosen in rows.items()}
        views = _Views(scales, degradation)
        while epoch < schedule.epochs:
            said = _epoch(
                extractor, optimiser, pictures["train"], labels["train"], schedule,
                views=views, epoch=epoch, seed=seed, phase=phase, on_progress=on_progress,
            )  # fmt: skip
            epoch += 1
            accuracy = _accuracy(extractor, pictures["held-out"], labels["held-out"])
            history = [*history, {"epoch": epoch, **said, "held_out_accuracy": accuracy}]
            save_checkpoint(
                checkpoint, settings, {"history": history},
                modules={"extractor": extractor.module}, optimisers={"adamw": optimiser},
            )  # fmt: skip
            write_history(folder / "history.jsonl", history)
        scores = {split: _accuracy(extractor, pictures[split], labels[split]) for split in rows if split != "train"}
        extractor.module.eval()
        return ClassifierResult(history, resumed_from, scores, settings)


def _history(written: Mapping[str, Any], file: Path, *, epochs: int) -> list[dict[str, Any]]:
    """Return the history that a checkpoint holds, its epochs counted from 1."""
    lines = list(value_from(_ClassifierState, written, where=file, name="state")["history"])
    if [line["epoch"] for line in lines] != list(range(1, len(lines) + 1)) or len(lines) > epochs:
        raise FsrcacheError(f"{file}: state.history has {len(lines):,} lines, and not one for each epoch so far.")
    return lines


class _Views(NamedTuple):
    """The scales at which pictures are seen, and how."""

    scales: tuple[int, ...]
    degradation: Degradation

    def of(self, pictures: Tensor, random: np.random.Generator) -> Tensor:
        """Return pictures uint8 [B, C, S, S], each as seen at a scale drawn for it."""
        if self.scales == (1,):
            return pictures
        drawn = random.choice(self.scales, len(pictures))
        seen = pictures.numpy().transpose(0, 2, 3, 1).copy()
        for scale in self.scales:
            if len(here := np.flatnonzero(drawn == scale)):
                seen[here] = low_resolution_view(seen[here], scale, self.degradation)
        return torch.from_numpy(seen).permute(0, 3, 1, 2)


def _rows(faces: Faces) -> dict[str, NDArray[np.intp]]:
    """Return which pictures are trained on, held out, and reported."""
    left_out = held_out(faces.hashes)
    train = faces.splits == SPLITS.index("train")
    rows = {"train": np.flatnonzero(train & ~left_out), "held-out": np.flatnonzero(train & left_out)}
    for split in ("val", "test"):
        rows[split] = np.flatnonzero(faces.splits == SPLITS.index(split))
    if len(rows["train"]) < 2 or not len(rows["held-out"]):
        raise FsrcacheError(
            f"There are {len(rows['train'])} pictures to train on and {len(rows['held-out'])} held out.",
            "Give data with a larger training split: a tenth of it, fixed by the pictures' hashes, is held out.",
        )
    return {split: chosen for split, chosen in rows.items() if len(chosen)}


def _pictures(faces: Faces, rows: NDArray[np.intp]) -> Tensor:
    """Return uint8 [n, C, S, S] in the CPU's memory."""
    return torch.from_numpy(faces.batch(rows)).permute(0, 3, 1, 2)


def _optimiser(module: nn.Module, schedule: PretrainConfig) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and kernels, but neither biases, norms nor orthonormal maps."""
    maps = [bimap.weight for bimap in _bimaps(module)]
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    decayed = [weight for weight in trained if weight.ndim > 1 and all(weight is not one for one in maps)]
    others = [weight for weight in trained if weight.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": [*others, *maps], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate)


def _epoch(
    extractor: Extractor,
    optimiser: torch.optim.Optimizer,
    pictures: Tensor,
    labels: Tensor,
    schedule: PretrainConfig,
    *,
    views: _Views,
    epoch: int,
    seed: int,
    phase: str,
    on_progress: ProgressCallback,
) -> dict[str, float]:
    """Train once over the pictures, in an order and with changes that are functions of (seed, epoch) alone."""
    device = extractor.device
    random = np.random.default_rng([seed, epoch])
    batches = list(_batches(len(pictures), min(schedule.batch, len(pictures)), random))
    steps = schedule.epochs * len(batches)
    total = torch.zeros((), device=device)
    right = torch.zeros((), device=device)
    extractor.module.train()
    for number, chosen in enumerate(batches):
        step = epoch * len(batches) + number
        set_rate(optimiser, one_cycle(step, steps=steps, top=schedule.learning_rate))
        batch = augment(views.of(pictures[chosen], random).to(device), schedule, random=random)
        truth = labels[chosen].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
            logits = extractor.embed(batch).logits
        loss = cross_entropy(logits, truth, label_smoothing=schedule.label_smoothing)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        _step_on_manifold(extractor.module, optimiser)
        total += loss.detach()
        right += (logits.argmax(1) == truth).sum()
        if number % _READ_EVERY == 0:
            values = {"epoch": epoch + 1, "loss": total.item() / (number + 1)}
            _check(values["loss"], epoch, phase)
            on_progress(Progress(phase, step + 1, steps, "steps", values))
    _check(total.item(), epoch, phase)
    seen = len(batches) * len(batches[0])
    return {"loss": total.item() / len(batches), "train_accuracy": 100 * right.item() / seen}


def _batches(count: int, batch: int, random: np.random.Generator) -> Iterator[Tensor]:
    order = torch.from_numpy(random.permutation(count))
    return (order[start : start + batch] for start in range(0, count - batch + 1, batch))


def _bimaps(module: nn.Module) -> list[BiMap]:
    return [layer for layer in module.modules() if isinstance(layer, BiMap)]


def _step_on_manifold(module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Take the optimiser's step, orthonormal maps staying orthonormal."""
    for bimap in _bimaps(module):
        bimap.project_gradient()
    optimiser.step()
    for bimap in _bimaps(module):
        bimap.retract()


def _check(loss: float, epoch: int, phase: str) -> None:
    if not np.isfinite(loss):
        raise FsrcacheError(
            f"The cross-entropy became {loss} in epoch {epoch + 1} of the {phase}.",
            "The last checkpoint is from before; take a lower learning rate or look at the pictures.",
        )


@torch.inference_mode()
def _accuracy(extractor: Extractor, pictures: Tensor, labels: Tensor) -> float:
    """Return the share of pictures given their class, in percent."""
    extractor.module.eval()
    device = extractor.device
    right = 0
    for start in range(0, len(labels), _EVALUATED):
        logits = extractor.embed(pictures[start : start + _EVALUATED].to(device)).logits
        right += int((logits.argmax(1).cpu() == labels[start : start + _EVALUATED]).sum())
    return 100 * right / len(labels)
