"""Pre-training of the extractor, at full resolution unless other scales are named."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike

import torch

from fsrcache.device import check_device
from fsrcache.extractors.covpool import CovPoolFER, extractor_of, save_covpool
from fsrcache.faces.degrade import SCALE_FORM, Degradation
from fsrcache.faces.faces import Faces
from fsrcache.files import as_path
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.records import Seed, check_value
from fsrcache.training.classifier.fit import Following, fit_classifier
from fsrcache.training.data.memory import refuse_too_large
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.training.run.spent import keep_with_weights


@dataclass(frozen=True)
class PretrainResult:
    """What a pre-training made.

    Attributes
    ----------
    extractor
        Path of the weights' file.
    schedule
        How it was trained.
    epochs
        Epochs in all.
    resumed_from, resumed_step
        Whole epochs, and steps of the next one, that earlier calls had done.
    accuracy
        Percent by split, ``held-out`` among them, after the last epoch.
    history
        ``epoch``, ``loss``, ``train_accuracy`` and ``held_out_accuracy`` of every epoch.
    seconds
        Duration of this call.
    preset, settings
        Preset that the settings began from, empty where there was none, and what differs from it, as ``name=value``.
    earlier_threads
        Numbers of threads before the run went on under another; then it does not end in the bytes of an uninterrupted
        one. Empty where it did not.
    """

    extractor: str
    schedule: PretrainConfig
    epochs: int
    resumed_from: int
    resumed_step: int
    accuracy: Mapping[str, float]
    history: Sequence[Mapping[str, float]]
    seconds: float
    preset: str = ""
    settings: tuple[str, ...] = ()
    earlier_threads: tuple[int, ...] = ()


def pretrain_extractor(
    faces: Faces,
    config: ExtractorConfig,
    schedule: PretrainConfig,
    *,
    target: str | PathLike[str],
    folder: str | PathLike[str],
    device: torch.device,
    scales: tuple[int, ...] = (1,),
    degradation: Degradation = SCALE_FORM,
    restart: bool = False,
    other_threads: bool = False,
    seed: int = 0,
    on_progress: ProgressCallback = no_progress,
    following: Following | None = None,
    ranks: Ranks = ALONE,
) -> PretrainResult:
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
        Folder of every epoch's checkpoint and of the history; a run goes on from there.
    device
        Device of the training.
    scales, degradation
        Scales at which a picture is seen, each as often, and how low-resolution views are made; full resolution alone
        by default, as in the paper.
    restart
        Whether to begin anew where a run is in the folder.
    other_threads
        Whether a run may go on under another number of threads; it then ends in other bytes.
    seed
        Random seed of weights, order, scales and augmentation.
    on_progress
        Called every second, and once with a note on how long all of it takes.
    following
        Work after it, which the note counts in, as for :func:`fsrcache.training.classifier.fit.fit_classifier`.
    ranks
        The processes that train together; the first writes and reports.

    Raises
    ------
    RequestError
        If an argument is wrong, or the extractor is too large for the memory.
    FsrcacheError
        As :func:`fsrcache.training.classifier.fit.fit_classifier`.
    """
    began = time.perf_counter()
    check_device(device)
    check_value(ExtractorConfig, config, name="config")
    check_value(PretrainConfig, schedule, name="schedule")
    check_value(Seed, seed, name="seed")
    target, folder = as_path(target, name="target"), as_path(folder, name="folder")
    with torch.random.fork_rng([]), torch.device("meta"):
        weights = sum(weight.numel() for weight in CovPoolFER(config, faces.classes).parameters())
    refuse_too_large(weights, networks="The extractor", device=device)
    model = CovPoolFER(config, faces.classes, generator=torch.Generator().manual_seed(seed)).to(device)
    settings = {"extractor": asdict(config)}
    if degradation != SCALE_FORM:
        settings["degradation"] = asdict(degradation)
    result = fit_classifier(
        extractor_of(model), faces, schedule,
        phase="pre-training", folder=folder, settings=settings, seed=seed, on_progress=on_progress, scales=scales,
        degradation=degradation, restart=restart, other_threads=other_threads, following=following, ranks=ranks,
    )  # fmt: skip
    if ranks.first:
        save_covpool(target, model, training=result.record)
        keep_with_weights(folder)
    return PretrainResult(
        extractor=str(target),
        schedule=schedule,
        epochs=len(result.history),
        resumed_from=result.resumed_from,
        resumed_step=result.resumed_step,
        accuracy=result.accuracy,
        history=result.history,
        seconds=time.perf_counter() - began,
        earlier_threads=result.earlier_threads,
    )
