"""Time and memory of a pre-training, from counting and from a few measured steps; nothing is written."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from fsrcache.device import check_device, fp32_precision
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.faces.faces import Faces
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.records import Seed, check_value
from fsrcache.training.classifier.pictures import picture_bytes, read_splits, split_rows
from fsrcache.training.classifier.trainer import ClassifierTrainer, Views, make_optimiser, scoring_seconds
from fsrcache.training.data.memory import memory_errors

_WARM_UP = {"cpu": 1, "cuda": 4}  # steps that choose algorithms
_MOST_STEPS = 40
_SECONDS = 3.0  # of measuring, at least one step


@dataclass(frozen=True)
class PretrainEstimate:
    """Estimate of a pre-training's time and memory.

    Attributes
    ----------
    epochs, steps_per_epoch
        Passes over the pictures, and steps of each.
    seconds_per_epoch, seconds
        Duration of an epoch with the scoring after it, and of all epochs; the first reading of the data is not counted.
    parameters
        Number of trained and fixed weights.
    memory
        Bytes of ``pictures``, ``weights``, ``optimiser``, and their ``total``; gradients and activations, which grow
        with the batch, come on top.
    measured_steps
        Number of steps that were measured.
    pictures_per_second
        Pictures per second in these steps.
    preset, settings
        Preset that the settings began from, empty where there was none, and what differs from it, as ``name=value``.
    """

    epochs: int
    steps_per_epoch: int
    seconds_per_epoch: float
    seconds: float
    parameters: int
    memory: Mapping[str, int]
    measured_steps: int
    pictures_per_second: float
    preset: str = ""
    settings: tuple[str, ...] = ()


@fp32_precision(tf32=False)
def estimate_pretraining(
    faces: Faces,
    config: ExtractorConfig,
    schedule: PretrainConfig,
    *,
    device: torch.device,
    scales: tuple[int, ...] = (1,),
    seed: int = 0,
    on_progress: ProgressCallback = no_progress,
) -> PretrainEstimate:
    """Measure a few steps of a pre-training and return what all of it would take on this machine.

    Parameters
    ----------
    faces, config, schedule, device, scales, seed
        Arguments of the pre-training.
    on_progress
        Callback for reports: reading and measuring.

    Raises
    ------
    RequestError
        If there are no scales, or a setting is wrong.
    FsrcacheError
        If there is nothing to train on.
    """
    check_device(device)
    check_value(ExtractorConfig, config, name="config")
    check_value(PretrainConfig, schedule, name="schedule")
    check_value(Seed, seed, name="seed")
    views = Views(scales)
    rows = split_rows(faces)
    count = {split: len(chosen) for split, chosen in rows.items()}
    batch = min(schedule.batch, count["train"])
    splits = read_splits(faces, {"train": rows["train"][:batch]}, on_progress=on_progress)
    with memory_errors(batch), torch.random.fork_rng([device] if device.type == "cuda" else []):
        model = CovPoolFER(config, faces.classes, generator=torch.Generator().manual_seed(seed)).to(device)
        extractor = extractor_of(model)
        optimiser = make_optimiser(extractor, schedule)
        trainer = ClassifierTrainer(extractor, optimiser, *splits["train"], schedule, views=views, seed=seed)
        measured, seconds = _measure(trainer, on_progress)
        scoring = scoring_seconds(extractor, *splits["train"])
    steps = count["train"] // batch
    per_epoch = steps * seconds / measured + count["held-out"] * scoring
    scored_last = sum(count.values()) - count["train"]
    memory = {
        "pictures": picture_bytes(faces, rows),
        "weights": sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())),
        "optimiser": sum(moment.nbytes for moments in optimiser.state.values() for moment in moments.values()),
    }
    return PretrainEstimate(
        epochs=schedule.epochs,
        steps_per_epoch=steps,
        seconds_per_epoch=per_epoch,
        seconds=schedule.epochs * per_epoch + scored_last * scoring,
        parameters=sum(weight.numel() for weight in model.parameters()),
        memory={**memory, "total": sum(memory.values())},
        measured_steps=measured,
        pictures_per_second=measured * batch / seconds,
    )


def _measure(trainer: ClassifierTrainer, on_progress: ProgressCallback) -> tuple[int, float]:
    """Return the number of measured steps and their duration in seconds."""
    measured, total, warm_up = 0, 0.0, _WARM_UP[trainer.device.type]
    for number in range(warm_up + _MOST_STEPS):
        on_progress(Progress("measuring", int(total), int(_SECONDS), "seconds"))
        trainer.begin(number)
        seconds = _seconds(lambda: trainer.step(0), trainer.device)
        if number >= warm_up:
            measured, total = measured + 1, total + seconds
        if measured and total > _SECONDS:
            break
    return measured, total


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the duration of work on a device."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
