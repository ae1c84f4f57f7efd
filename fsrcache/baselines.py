"""``baselines``: the rivals without a generator that have to be trained."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fsrcache.device import check_device
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.faces import Faces
from fsrcache.models.extractor import load_extractor, save_extractor
from fsrcache.models.weights import file_digest
from fsrcache.presets import FINE_TUNING, PretrainConfig
from fsrcache.progress import Watch, unwatched
from fsrcache.records import Seed, check_value
from fsrcache.training.classifier import fit_classifier


def fine_tune(
    faces: Faces,
    extractor: Path,
    *,
    target: Path,
    folder: Path,
    scales: tuple[int, ...],
    device: torch.device,
    degradation: Degradation = SCALE_FORM,
    schedule: PretrainConfig = FINE_TUNING,
    seed: int = 0,
    watch: Watch = unwatched,
) -> dict[str, Any]:
    """Train a pre-trained extractor further on faces at mixed scales, and write its weights.

    Parameters
    ----------
    faces
        The pictures, of the extractor's side.
    extractor
        The pre-trained weights' file.
    target, folder
        The new weights' file, and where the checkpoint of every epoch and the history are kept.
    scales, degradation
        At which a picture is seen, each as often, and how.
    device
        Where it is trained.
    schedule
        How it is trained.
    seed
        Fixes order, scales and augmentation.
    watch
        Called every few steps.

    Returns
    -------
    dict
        As of ``pretrain``.

    Raises
    ------
    FsrcacheError
        As :func:`fsrcache.training.classifier.fit_classifier`.
    """
    began = time.perf_counter()
    check_device(device)
    check_value(PretrainConfig, schedule, name="schedule")
    check_value(Seed, seed, name="seed")
    model = load_extractor(extractor).to(device)
    settings = {"fine_tuned_from": file_digest(extractor), "degradation": asdict(degradation)}
    fitted = fit_classifier(
        model, faces, schedule,
        phase="fine-tuning", folder=folder, settings=settings, seed=seed, watch=watch,
        scales=scales, degradation=degradation,
    )  # fmt: skip
    save_extractor(target, model, training=fitted.record)
    return {**fitted.answer, "seconds": time.perf_counter() - began}
