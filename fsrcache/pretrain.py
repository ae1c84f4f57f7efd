"""``pretrain``: train the extractor on full-resolution faces."""

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from fsrcache.errors import FsrcacheError
from fsrcache.faces.digest import content_digest
from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.faces import Faces
from fsrcache.held_out import held_out
from fsrcache.models.extractor import CovPoolFER, save_extractor
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.progress import Progress, Watch, unwatched
from fsrcache.spd import retract, tangent
from fsrcache.training.augment import augment
from fsrcache.training.checkpoint import load_checkpoint, refuse_other_run, save_checkpoint
from fsrcache.training.history import write_history
from fsrcache.training.schedules import one_cycle, set_rate

_EVALUATED = 512  # pictures at a time


def pretrain(
    faces: Faces,
    config: ExtractorConfig,
    schedule: PretrainConfig,
    *,
    target: Path,
    folder: Path,
    seed: int = 0,
    device: torch.device = torch.device("cpu"),
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Train an extractor on the training split without its held-out tenth, and write its weights.

    The last epoch is kept. The held-out tenth is scored after every epoch, val and test once, after the last.

    Parameters
    ----------
    faces
        The pictures, of the side that ``config`` is for.
    config, schedule
        The extractor's shape, and how it is trained.
    target
        The weights' file.
    folder
        Where the checkpoint of every epoch and the history are kept; a run goes on from there.
    seed
        Fixes weights, order and augmentation.
    device
        Where it is trained.
    watch
        Called after every step.

    Returns
    -------
    dict
        ``epochs``, ``resumed_from`` (an epoch), ``accuracy`` in percent by split (``held-out`` too), ``seconds`` of this
        call, ``history``.

    Raises
    ------
    FsrcacheError
        If there is nothing to train on, the folder holds a run of other settings, or the loss stops being finite.
    """
    began = time.perf_counter()
    rows = _rows(faces)
    settings = {
        "extractor": asdict(config),
        "schedule": asdict(schedule),
        "seed": seed,
        "data": content_digest(faces),
        "classes": list(faces.classes),
    }
    model = CovPoolFER(config, faces.classes, generator=torch.Generator().manual_seed(seed)).to(device)
    optimiser = _optimiser(model, schedule)
    checkpoint, epoch, history = folder / "checkpoint.safetensors", 0, []
    if checkpoint.exists():
        record = load_checkpoint(checkpoint, modules={"extractor": model}, optimisers={"adamw": optimiser})
        refuse_other_run(checkpoint, record["settings"], settings)
        epoch, history = record["epoch"], record["history"]
    resumed_from = epoch
    pictures = {split: _pictures(faces, chosen) for split, chosen in rows.items()}
    labels = {split: torch.from_numpy(faces.labels[chosen].astype(np.int64)) for split, chosen in rows.items()}
    while epoch < schedule.epochs:
        started = time.perf_counter()
        said = _epoch(
            model, optimiser, pictures["train"], labels["train"], schedule, epoch=epoch, seed=seed, watch=watch
        )
        epoch += 1
        accuracy = _accuracy(model, pictures["held-out"], labels["held-out"])
        line = {"epoch": epoch, **said, "held_out_accuracy": accuracy, "seconds": time.perf_counter() - started}
        history = [*history, line]
        record = {"settings": settings, "epoch": epoch, "history": history}
        save_checkpoint(checkpoint, record, modules={"extractor": model}, optimisers={"adamw": optimiser})
        write_history(folder / "history.jsonl", history)
    scores = {split: _accuracy(model, pictures[split], labels[split]) for split in rows if split != "train"}
    save_extractor(target, model, training={**settings, "epochs": epoch, "accuracy": scores})
    return {
        "epochs": epoch,
        "resumed_from": resumed_from,
        "accuracy": scores,
        "seconds": time.perf_counter() - began,
        "history": history,
    }


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


def _optimiser(model: CovPoolFER, schedule: PretrainConfig) -> torch.optim.AdamW:
    """Return AdamW that decays matrices and kernels, but neither biases, norms nor the orthonormal map."""
    decayed = [weight for weight in model.parameters() if weight.ndim > 1 and weight is not model.bimap]
    others = [weight for weight in model.parameters() if weight.ndim == 1 and weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": [*others, model.bimap], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate)


def _epoch(
    model: CovPoolFER,
    optimiser: torch.optim.Optimizer,
    pictures: Tensor,
    labels: Tensor,
    schedule: PretrainConfig,
    *,
    epoch: int,
    seed: int,
    watch: Watch,
) -> dict[str, float]:
    """Train once over the pictures, in an order and with changes that are functions of (seed, epoch) alone."""
    device = model.bimap.device
    random = np.random.default_rng([seed, epoch])
    batches = list(_batches(len(pictures), min(schedule.batch, len(pictures)), random))
    steps = schedule.epochs * len(batches)
    total = torch.zeros((), device=device)
    right = torch.zeros((), device=device)
    model.train()
    for number, chosen in enumerate(batches):
        step = epoch * len(batches) + number
        set_rate(optimiser, one_cycle(step, steps=steps, top=schedule.learning_rate))
        batch = augment(pictures[chosen].to(device), schedule, random=random)
        truth = labels[chosen].to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(batch).logits
        loss = cross_entropy(logits, truth, label_smoothing=schedule.label_smoothing)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        _step_on_manifold(model, optimiser)
        total += loss.detach()
        right += (logits.argmax(1) == truth).sum()
        if number % 20 == 19:  # reading a number from a GPU waits for it
            values = {"epoch": epoch + 1, "loss": total.item() / (number + 1)}
            watch(Progress("pre-training", step + 1, steps, "steps", values))
            _check(values["loss"], epoch)
    _check(total.item(), epoch)
    seen = len(batches) * len(batches[0])
    return {"loss": total.item() / len(batches), "train_accuracy": 100 * right.item() / seen}


def _batches(count: int, batch: int, random: np.random.Generator) -> Iterator[Tensor]:
    order = torch.from_numpy(random.permutation(count))
    return (order[start : start + batch] for start in range(0, count - batch + 1, batch))


def _step_on_manifold(model: CovPoolFER, optimiser: torch.optim.Optimizer) -> None:
    """Take the optimiser's step, the orthonormal map staying orthonormal."""
    assert model.bimap.grad is not None
    model.bimap.grad.copy_(tangent(model.bimap.detach(), model.bimap.grad))
    optimiser.step()
    with torch.no_grad():
        model.bimap.copy_(retract(model.bimap))


def _check(loss: float, epoch: int) -> None:
    if not np.isfinite(loss):
        raise FsrcacheError(
            f"The loss became {loss} in epoch {epoch + 1} of the pre-training.",
            "The last checkpoint is from before; take a lower learning rate or look at the pictures.",
        )


@torch.inference_mode()
def _accuracy(model: CovPoolFER, pictures: Tensor, labels: Tensor) -> float:
    """Return the share of pictures given their class, in percent."""
    model.eval()
    device = model.bimap.device
    parts = zip(pictures.split(_EVALUATED), labels.split(_EVALUATED), strict=True)
    right = sum(int((model(part.to(device)).logits.argmax(1).cpu() == truth).sum()) for part, truth in parts)
    return 100 * right / len(labels)
