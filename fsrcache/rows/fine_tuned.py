"""fine-tuned: the extractor trained further on faces at all scales, with its own head as the frozen one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.networks import Networks
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.splits import split_features
from fsrcache.extraction.extract import following_extraction
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import ExtractorTraining
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.weights import kind_of, read_record
from fsrcache.presets import FINE_TUNING, PretrainConfig
from fsrcache.records import value_from
from fsrcache.rows.own_store import STORE, leave_out, ready_seeds, refuse_other_faces, train_again, write_own_store
from fsrcache.rows.row import RowContext, RowResult, RowTraining, changes_in_words, rows_apart
from fsrcache.settings import differences
from fsrcache.store.reader import FeatureStore
from fsrcache.training.classifier.distillation import Distillation
from fsrcache.training.classifier.fine_tuning import fine_tune
from fsrcache.training.run.spent import total_spent

NAME = "fine-tuned"
NOTE = "the extractor trained further on mixed scales, with its own head as the frozen one"
SETTINGS = FINE_TUNING
_WEIGHTS, _TRAINING = "extractor.safetensors", "training"
Changes = Callable[[ExtractorTraining], tuple[str, ...] | None]


def obstacle(extractor: Extractor, scales: Sequence[int]) -> str:  # noqa: ARG001  # a row's signature
    """Return why an extractor cannot be trained further."""
    return "" if extractor.trainable else f"{extractor.name} cannot be trained further, its weights take no gradients."


def train(training: RowTraining) -> RowResult:
    """Train the extractor further, and write the features that it then has."""
    return train_tuned(NAME, training, training.settings)


def train_tuned(
    name: str, training: RowTraining, schedule: PretrainConfig, distillation: Distillation | None = None
) -> RowResult:
    """Train the extractor further, by the labels or as its own pupil, and write the features that it then has."""
    began = time.perf_counter()
    context = training.context
    folder = context.workspace.row(name, training.seed)
    faces, line = training.read_faces()
    following = following_extraction(
        faces, scales=context.store.scales, degradation=training.degradation, on_progress=context.on_progress
    )
    tuned = fine_tune(
        faces, context.extractor, target=folder / _WEIGHTS, folder=folder / _TRAINING, scales=context.store.scales,
        degradation=training.degradation, schedule=schedule, distillation=distillation, restart=training.restart,
        other_threads=training.other_threads, seed=training.seed, device=context.device,
        on_progress=context.on_progress, following=following, ranks=training.ranks,
    )  # fmt: skip
    training.ranks.wait()  # for the weights
    extractor = open_extractor(folder / _WEIGHTS, device=context.device, base=context.extractor)
    source = face_source(faces, extractor, device=context.device, degradation=training.degradation, early=False)
    extraction = write_own_store(source, training, folder, scales=context.store.scales, data=line)
    return RowResult(
        row=name,
        seed=training.seed,
        extractor=str(folder / _WEIGHTS),
        epochs=len(tuned.history),
        resumed_from=tuned.resumed_from,
        accuracy=tuned.accuracy,
        history=tuned.history,
        seconds=time.perf_counter() - began,
        extraction=asdict(extraction),
        was_there=len(tuned.history) == tuned.resumed_from and extraction.resumed_from == extraction.blocks,
    )


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the trainings whose features are there; those of the same settings and scales are one row."""
    return tuned_predictors(NAME, NOTE, context, _changes)


def tuned_predictors(name: str, note: str, context: RowContext, find_changes: Changes) -> list[Predictor]:
    """Return the trainings of a row whose features are there; ``find_changes`` returns ``Predictor.changes`` of one."""
    ready = []
    for seed, folder in ready_seeds(context, name):
        tuned = open_extractor(folder / _WEIGHTS, device=context.device, base=context.extractor)
        if FeatureStore(folder / STORE).spec.digests["weights"] != tuned.digest:
            leave_out(context, name, seed)  # its features are of the weights before
        else:
            ready.append(_predictor(name, note, context, seed, folder, tuned, find_changes))
    return rows_apart(name, ready)


def _predictor(
    name: str, note: str, context: RowContext, seed: int, folder: Path, tuned: Extractor, find_changes: Changes
) -> Predictor:
    store = FeatureStore(folder / STORE)
    refuse_other_extractor(store, tuned)
    refuse_other_faces(store, context, name, seed=seed)
    training = _training(folder / _WEIGHTS)
    if training.get("fine_tuned_from") != context.extractor.digest:
        raise FsrcacheError(
            f"{folder / _WEIGHTS} is not this {context.extractor.name} trained further, but another.",
            train_again(context, name, seed=seed),
        )
    changes = find_changes(training)
    return Predictor(
        row=name,
        name=f"{name}/seed-{seed}",
        source={"store": store.digest},
        seed=seed,
        extractor=tuned,
        features=lambda split, scale: split_features(store, split, scale),
        scales=store.scales,
        note=note,
        facts={"settings": changes_in_words(changes)},
        changes=changes,
        networks=lambda _: Networks(extractor=tuned),
        spent=total_spent([folder / _TRAINING]),
    )


def _training(path: Path) -> ExtractorTraining:
    """Return how an extractor was fine-tuned, as its file says; where it says nothing, so much is missing."""
    written = read_record(path, kind=kind_of(path, wanted="extractor")).get("training")
    training: ExtractorTraining = value_from(ExtractorTraining, written, where=path, name="training")
    return training


def _changes(training: ExtractorTraining) -> tuple[str, ...] | None:
    """Return the assignments to the row's settings, by a training's record; None where it lacks them."""
    return tuple(differences(training["schedule"], FINE_TUNING)) if "schedule" in training else None
