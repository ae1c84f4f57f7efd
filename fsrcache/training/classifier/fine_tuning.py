"""Fine-tuning: a pre-trained extractor is trained further on faces at mixed scales."""

import copy
from dataclasses import asdict, replace
from os import PathLike

import torch

from fsrcache.device import check_device
from fsrcache.errors import RequestError
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor, save_fine_tuned
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.faces import Faces
from fsrcache.faces.relabel import relabel
from fsrcache.files import as_path
from fsrcache.presets import FINE_TUNING, PretrainConfig
from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.records import Seed, check_value
from fsrcache.training.classifier.distillation import Distillation, Teacher, distillation_loss
from fsrcache.training.classifier.fit import ClassifierResult, Following, fit_classifier
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.training.run.spent import keep_with_weights


def fine_tune(
    faces: Faces,
    extractor: Extractor | str | PathLike[str],
    *,
    target: str | PathLike[str],
    folder: str | PathLike[str],
    scales: tuple[int, ...],
    device: torch.device,
    degradation: Degradation = SCALE_FORM,
    schedule: PretrainConfig = FINE_TUNING,
    distillation: Distillation | None = None,
    restart: bool = False,
    other_threads: bool = False,
    seed: int = 0,
    on_progress: ProgressCallback = no_progress,
    following: Following | None = None,
    ranks: Ranks = ALONE,
) -> ClassifierResult:
    """Train a pre-trained extractor further on faces at mixed scales, and write its weights.

    Parameters
    ----------
    faces
        The pictures, of the extractor's side.
    extractor
        The pre-trained extractor, or its file.
    target, folder
        Path of the new weights' file, and folder of the checkpoints and the history.
    scales, degradation
        Scales at which a picture is seen, each as often, and how low-resolution views are made.
    device
        Device of the training.
    schedule
        How it is trained.
    distillation
        How it learns from itself at full resolution; None for the labels alone.
    restart
        Whether to begin anew where a run is in the folder.
    other_threads
        Whether a run may go on under another number of threads; it then ends in other bytes.
    seed
        Random seed of order, scales and augmentation.
    on_progress
        Called every second, and once with a note on how long all of it takes.
    following
        Work after it, which the note counts in, as for :func:`fsrcache.training.classifier.fit.fit_classifier`.
    ranks
        The processes that train together; the first writes and reports.

    Raises
    ------
    RequestError
        If the extractor's weights cannot be trained.
    FsrcacheError
        If the extractor has other classes than the faces, and as
        :func:`fsrcache.training.classifier.fit.fit_classifier`.
    """
    check_device(device)
    check_value(PretrainConfig, schedule, name="schedule")
    check_value(Seed, seed, name="seed")
    target, folder = as_path(target, name="target"), as_path(folder, name="folder")
    frozen = open_extractor(extractor, device=device)
    if not frozen.trainable:
        raise RequestError(
            f"{frozen.name} cannot be trained further: its weights take no gradients.",
            "Leave out the row fine-tuned, or name the network as package.module:factory.",
        )
    faces = relabel(faces, frozen.classes, extractor=frozen.name)
    tuned = replace(frozen, module=copy.deepcopy(frozen.module))
    settings = {"fine_tuned_from": frozen.digest, "degradation": asdict(degradation)}
    teacher = None
    if distillation is not None:
        settings["distillation"] = asdict(distillation)
        loss = distillation_loss(distillation, label_smoothing=schedule.label_smoothing, ranks=ranks)
        teacher = Teacher(frozen, loss)
    result = fit_classifier(
        tuned, faces, schedule,
        phase="distillation" if teacher else "fine-tuning", folder=folder, settings=settings, seed=seed,
        on_progress=on_progress,
        scales=scales, degradation=degradation, restart=restart, other_threads=other_threads,
        following=following, teacher=teacher, ranks=ranks,
    )  # fmt: skip
    if not ranks.first:
        return result
    if isinstance(tuned.module, CovPoolFER):
        save_covpool(target, tuned.module, training=result.record)
    else:
        save_fine_tuned(target, tuned, training=result.record)
    keep_with_weights(folder)
    return result
