"""``baselines``: the rivals without a generator that have to be trained."""

import copy
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from fsrcache.device import check_device
from fsrcache.errors import FsrcacheError
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor, save_fine_tuned
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.faces import Faces
from fsrcache.presets import FINE_TUNING, PretrainConfig
from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.records import Seed, check_value
from fsrcache.training.classifier.fit import fit_classifier


def fine_tune(
    faces: Faces,
    extractor: Extractor | Path,
    *,
    target: Path,
    folder: Path,
    scales: tuple[int, ...],
    device: torch.device,
    degradation: Degradation = SCALE_FORM,
    schedule: PretrainConfig = FINE_TUNING,
    seed: int = 0,
    on_progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Train a pre-trained extractor further on faces at mixed scales, and write its weights.

    Parameters
    ----------
    faces
        The pictures, of the extractor's side.
    extractor
        The pre-trained extractor, or its file.
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
    on_progress
        Called every few steps.

    Returns
    -------
    dict
        As of ``pretrain``.

    Raises
    ------
    FsrcacheError
        As :func:`fsrcache.training.classifier.fit.fit_classifier`.
    """
    began = time.perf_counter()
    check_device(device)
    check_value(PretrainConfig, schedule, name="schedule")
    check_value(Seed, seed, name="seed")
    frozen = open_extractor(extractor, device=device)
    if not frozen.trainable:
        raise FsrcacheError(
            f"{frozen.name} cannot be trained further: its weights take no gradients.",
            "Leave out the row fine-tuned, or name the network as package.module:factory.",
        )
    tuned = replace(frozen, module=copy.deepcopy(frozen.module))
    settings = {"fine_tuned_from": frozen.digest, "degradation": asdict(degradation)}
    fitted = fit_classifier(
        tuned, faces, schedule,
        phase="fine-tuning", folder=folder, settings=settings, seed=seed, on_progress=on_progress,
        scales=scales, degradation=degradation,
    )  # fmt: skip
    if isinstance(tuned.module, CovPoolFER):
        save_covpool(target, tuned.module, training=fitted.record)
    else:
        save_fine_tuned(target, tuned, training=fitted.record)
    return {**fitted.answer, "seconds": time.perf_counter() - began}
