"""``pretrain``: train the extractor, on full-resolution faces unless other scales are asked for."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from fsrcache.device import check_device
from fsrcache.extractors.covpool import CovPoolFER, extractor_of, save_covpool
from fsrcache.faces.faces import Faces
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.records import Seed, check_value
from fsrcache.training.classifier.fit import fit_classifier


def pretrain(
    faces: Faces,
    config: ExtractorConfig,
    schedule: PretrainConfig,
    *,
    target: Path,
    folder: Path,
    device: torch.device,
    scales: tuple[int, ...] = (1,),
    seed: int = 0,
    on_progress: ProgressCallback = no_progress,
) -> dict[str, Any]:
    """Train an extractor on the training split without its held-out tenth, and write its weights.

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
    device
        Where it is trained.
    scales
        At which a picture is seen, each as often; full resolution alone by default, as in the paper.
    seed
        Fixes weights, order, scales and augmentation.
    on_progress
        Called every few steps.

    Returns
    -------
    dict
        ``epochs``, ``resumed_from`` (an epoch), ``accuracy`` in percent by split (``held-out`` too), ``seconds`` of
        this call, ``history``.

    Raises
    ------
    FsrcacheError
        As :func:`fsrcache.training.classifier.fit.fit_classifier`.
    """
    began = time.perf_counter()
    check_device(device)
    check_value(ExtractorConfig, config, name="config")
    check_value(PretrainConfig, schedule, name="schedule")
    check_value(Seed, seed, name="seed")
    model = CovPoolFER(config, faces.classes, generator=torch.Generator().manual_seed(seed)).to(device)
    settings = {"extractor": asdict(config)}
    fitted = fit_classifier(
        extractor_of(model), faces, schedule,
        phase="pre-training", folder=folder, settings=settings, seed=seed, on_progress=on_progress, scales=scales,
    )  # fmt: skip
    save_covpool(target, model, training=fitted.record)
    return {**fitted.answer, "seconds": time.perf_counter() - began}
