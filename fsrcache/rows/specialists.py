"""specialists: the extractor's own training once more at every coarse scale alone, one network a scale."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fsrcache.announce import announce, several
from fsrcache.device import in_words
from fsrcache.errors import Blank, FsrcacheError, Remedy, call
from fsrcache.evaluation.heads import Logits, probabilities_of
from fsrcache.evaluation.networks import Networks
from fsrcache.evaluation.predictions import read_predictions, write_predictions
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.splits import HELD_OUT, split_features, split_labels
from fsrcache.extraction.batches import batch_features, picture_batches
from fsrcache.extraction.source import FaceSource, face_source
from fsrcache.extractors.covpool import COVPOOL, ExtractorTraining
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.faces import Faces
from fsrcache.faces.relabel import relabel
from fsrcache.models.weights import file_digest, read_record
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.progress import ProgressCallback, counted, named, note
from fsrcache.records import Between, check_fields, value_from
from fsrcache.rows.row import RowContext, RowResult, RowTraining, changes_in_words, rows_apart, trained_seeds
from fsrcache.settings import differences
from fsrcache.store.reader import FeatureStore
from fsrcache.training.classifier.estimate import estimate_pretraining
from fsrcache.training.classifier.pretraining import PretrainResult, pretrain_extractor
from fsrcache.training.run.checkpoint import has_checkpoint
from fsrcache.training.run.folder import begin_anew
from fsrcache.training.run.spent import total_spent

NAME = "specialists"
NOTE = "the extractor's own training at one scale alone, a network for every scale; at full resolution the extractor"
_WEIGHTS, _TRAINING = "extractor.safetensors", "training"
_SAME = ("pictures", "labels", "order")  # digests of a store that say whose faces its rows are


@dataclass(frozen=True, kw_only=True)
class SpecialistConfig:
    """The specialists' training, which is the extractor's own but for this.

    Attributes
    ----------
    epochs
        Passes over the pictures; 0 for as many as the extractor had.
    """

    epochs: Annotated[int, Between(0, 10**5)] = 0

    def __post_init__(self) -> None:
        check_fields(self)


class _Way(NamedTuple):
    """How a specialist was trained: its shape and its schedule."""

    shape: ExtractorConfig
    schedule: PretrainConfig


SETTINGS = SpecialistConfig()


def obstacle(extractor: Extractor, scales: Sequence[int]) -> str:  # noqa: ARG001  # a row's signature
    """Return why an extractor's own training cannot be done again."""
    return "" if extractor.schedule is not None else f"how {extractor.name} was pre-trained is not known."


def train(training: RowTraining) -> RowResult:
    """Train an extractor for every coarse scale, and keep what it says about the faces of every split at that scale."""
    began, context = time.perf_counter(), training.context
    folder = context.workspace.row(NAME, training.seed)
    schedule = context.extractor.schedule
    assert schedule is not None  # else there is an obstacle
    if training.settings.epochs:
        schedule = replace(schedule, epochs=training.settings.epochs)
    read, _ = training.read_faces()
    faces = relabel(read, context.extractor.classes, extractor=context.extractor.name)
    scales = [scale for scale in context.store.scales if scale > 1]
    trainings = {scale: folder / f"x{scale}" / _TRAINING for scale in scales}
    if training.restart:
        begin_anew(trainings.values(), training.ranks)
    there = {scale for scale, one in trainings.items() if has_checkpoint(one) and (one.parent / _WEIGHTS).exists()}
    _announce(training, faces, schedule, [scale for scale in scales if scale not in there])
    results: dict[int, PretrainResult] = {}
    held_out, kept = {}, True
    for scale in scales:
        one = folder / f"x{scale}"
        on_progress = named(context.on_progress, f"{NAME}, x{scale}")
        results[scale] = pretrain_extractor(
            faces, context.extractor.module.config, schedule,
            target=one / _WEIGHTS, folder=trainings[scale], device=context.device, scales=(scale,),
            degradation=training.degradation, other_threads=training.other_threads, seed=training.seed,
            ranks=training.ranks, on_progress=on_progress,
        )  # fmt: skip
        if not training.ranks.first:
            continue
        source = face_source(faces, one / _WEIGHTS, device=context.device, degradation=training.degradation)
        kept = _predict(source, context.store, one, scale, on_progress) and kept
        held_out[f"x{scale}"] = _held_out_accuracy(context.store, one, scale)
    return RowResult(
        row=NAME,
        seed=training.seed,
        epochs=sum(one.epochs for one in results.values()),
        resumed_from=sum(one.resumed_from for one in results.values()),
        held_out=held_out,
        history=[{"scale": scale, **line} for scale, one in results.items() for line in one.history],
        seconds=time.perf_counter() - began,
        was_there=kept and all(one.epochs == one.resumed_from for one in results.values()),
    )


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the trainings that are there, a seed each, at the scales that have a specialist.

    A seed is left out with a note where its specialists were trained in different ways, as while it is trained anew,
    or in another way than the extractor; so is a scale whose predictions are of other faces or of a specialist before.
    """
    ready = []
    for seed, folder in trained_seeds(context.workspace, NAME):
        there = [scale for scale in context.store.scales if scale > 1 and _is_ready(context, seed, folder, scale)]
        ways = {_way(folder / f"x{scale}" / _WEIGHTS) for scale in there}
        left_out = f"{NAME} with the seed {seed} is left out: its networks were trained "
        if len(ways) > 1:
            context.on_progress(note(f"{left_out}by different settings."))
        elif not all(_is_own(context.extractor, way) for way in ways):
            context.on_progress(note(f"{left_out}as another extractor was."))
        elif ways:
            ready.append(_predictor(context, seed, folder, there, next(iter(ways)).schedule))
    return rows_apart(NAME, ready)


def _predictor(
    context: RowContext, seed: int, folder: Path, scales: Sequence[int], schedule: PretrainConfig
) -> Predictor:
    store, shape = context.store, len(context.store.classes)
    extractor = Logits(context.extractor.frozen_head()).to(context.device)
    config = SpecialistConfig(epochs=0 if schedule == context.extractor.schedule else schedule.epochs)
    changes = tuple(differences(config, SETTINGS))

    def probabilities(split: str, scale: int) -> NDArray[np.floating[Any]]:
        if scale == 1:
            return probabilities_of(extractor, split_features(store, split, 1))
        one = folder / f"x{scale}"
        read = _read(store, one, scale, split, (len(split_labels(store, split)), shape))
        if read is None:
            again = call("baselines", workspace=str(context.workspace.folder), rows=[NAME], seed=seed)
            raise FsrcacheError(
                f"{one} has no predictions of {split} for the faces of {store.name}.",
                Remedy("Have it predict again: `{}`.", again),
            )
        return read

    def networks(scale: int) -> Networks:
        return Networks(extractor=open_extractor(folder / f"x{scale}" / _WEIGHTS, device=context.device))

    return Predictor(
        row=NAME,
        name=f"{NAME}/seed-{seed}",
        source={"specialists": [file_digest(folder / f"x{scale}" / _WEIGHTS) for scale in scales]},
        seed=seed,
        probabilities=probabilities,
        scales=(1, *scales),
        note=NOTE,
        facts={"settings": changes_in_words(changes)},
        changes=changes,
        networks=networks,
        spent=total_spent(folder / f"x{scale}" / _TRAINING for scale in scales),
    )


def _is_ready(context: RowContext, seed: int, folder: Path, scale: int) -> bool:
    """Tell whether a specialist's predictions of every split are there; say so where they are not its own."""
    store, one = context.store, folder / f"x{scale}"
    splits = [split for split in store.splits if split != "train"]
    if not all((one / f"{split}.safetensors").exists() for split in splits):
        return False
    shapes = {split: (len(split_labels(store, split)), len(store.classes)) for split in splits}
    own = all(_read(store, one, scale, split, shape) is not None for split, shape in shapes.items())
    if not own:
        what = "its predictions are of other faces, or of the network before the present one"
        context.on_progress(note(f"{NAME} with the seed {seed} is left out at x{scale}: {what}."))
    return own


def _way(path: Path) -> _Way:
    """Return how a specialist was trained, as its file says."""
    written = read_record(path, kind=COVPOOL).get("training")
    training: ExtractorTraining = value_from(ExtractorTraining, written, where=path, name="training")
    if "extractor" not in training or "schedule" not in training:
        raise FsrcacheError(
            f"{path} does not say how it was trained.",
            Remedy("Train it again: `{}`.", call("baselines", rows=[NAME], seed=Blank("SEED"), restart=True)),
        )
    return _Way(training["extractor"], training["schedule"])


def _is_own(extractor: Extractor, way: _Way) -> bool:
    """Tell whether a way of training is an extractor's own but for the epochs."""
    own = extractor.schedule
    return own is not None and way == (extractor.module.config, replace(own, epochs=way.schedule.epochs))


def _announce(training: RowTraining, faces: Faces, schedule: PretrainConfig, scales: Sequence[int]) -> None:
    """Say how long the specialists of some scales take, by a few steps of the last one's."""
    if not scales or training.ranks.size > 1:  # of one process; each training says its own
        return
    context = training.context
    estimate = estimate_pretraining(
        faces, context.extractor.module.config, schedule, device=context.device, scales=tuple(scales[-1:]),
        seed=training.seed, on_progress=context.on_progress,
    )  # fmt: skip
    work = f"{several(len(scales), 'specialist')} of {several(schedule.epochs, 'epoch')} on {in_words(context.device)}"
    announce(context.on_progress, len(scales) * estimate.seconds, work, by=several(estimate.measured_steps, "step"))


def _source(store: FeatureStore, folder: Path, name: str) -> Mapping[str, Any]:
    """Return what predictions depend on, as JSON values."""
    digests = {name: store.spec.digests[name] for name in _SAME}
    degradation = store.spec.recipe.get("degradation")
    return {**digests, "degradation": degradation, "split": name, "specialist": file_digest(folder / _WEIGHTS)}


def _read(
    store: FeatureStore, folder: Path, scale: int, name: str, shape: tuple[int, int]
) -> NDArray[np.floating[Any]] | None:
    read = read_predictions(
        folder / f"{name}.safetensors", source=_source(store, folder, name), scales=(scale,), shape=shape
    )  # fmt: skip
    return None if read is None else read[scale]


def _predict(source: FaceSource, store: FeatureStore, folder: Path, scale: int, on_progress: ProgressCallback) -> bool:
    """Keep the probabilities of every split but train, and of its held-out tenth; return whether all were there."""
    held_out, kept = source.order["train"][store.held_out()], True
    others = {split: rows for split, rows in source.order.items() if split != "train"}
    for name, rows in {HELD_OUT: held_out, **others}.items():
        if _read(store, folder, scale, name, (len(rows), len(store.classes))) is not None:
            continue
        kept = False
        batches = [(batch, scale) for batch in picture_batches(source, rows)]
        with closing(batch_features(source, batches)) as features:
            parts = [
                one.probabilities
                for one in counted(features, f"predicting {name}", "batches", on_progress, total=len(batches))
            ]
        write_predictions(
            folder / f"{name}.safetensors", {scale: np.concatenate(parts)}, source=_source(store, folder, name)
        )  # fmt: skip
    return kept


def _held_out_accuracy(store: FeatureStore, folder: Path, scale: int) -> float:
    labels = split_labels(store, HELD_OUT)
    read = _read(store, folder, scale, HELD_OUT, (len(labels), len(store.classes)))
    assert read is not None
    return float(100 * (read.argmax(1) == labels).mean())
