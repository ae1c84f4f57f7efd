"""``report``: everything that is known of a run, as one HTML file."""

import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import fsrcache
from fsrcache.device import in_words, pick_device
from fsrcache.errors import FsrcacheError, Remedy, RequestError, arguments
from fsrcache.evaluation.distances import kept_distances
from fsrcache.evaluation.ensembles import ensembles_of
from fsrcache.evaluation.evaluate import evaluate_predictors, reported_split
from fsrcache.evaluation.measured_cost import row_costs, with_costs
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.scores import BICUBIC, FROZEN
from fsrcache.evaluation.scoring import Scoring
from fsrcache.evaluation.tables import HEADS, Key, Table
from fsrcache.evaluation.temperature import with_calibration
from fsrcache.extractors.covpool import COVPOOL, ExtractorTraining
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.extractors.onnx_options import OnnxOptions
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import coarse_pictures
from fsrcache.files import as_path, write_whole
from fsrcache.models.generators.forms import read_training
from fsrcache.models.weights import file_digest, kind_of, read_record
from fsrcache.presets import ExtractorConfig
from fsrcache.progress import Progress, ProgressCallback, no_progress, note
from fsrcache.records import value_from
from fsrcache.reports.commands import Extraction, PretrainedExtractor, Rival, repeating_commands
from fsrcache.reports.data import ReportData, Training
from fsrcache.reports.history import read_history
from fsrcache.reports.page import page
from fsrcache.reports.sections import sections, shown_faces
from fsrcache.rows import meta_sr, meta_sr_retrained, rcan
from fsrcache.rows.generated import GENERATOR, NAME, trained_runs
from fsrcache.rows.index import ROWS, ready_rows
from fsrcache.rows.pictures import NAME as PICTURES
from fsrcache.rows.pictures import enlarged_faces
from fsrcache.rows.row import RowContext
from fsrcache.rows.super_resolved import open_super_resolver
from fsrcache.settings import resolved
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import UNLABELLED
from fsrcache.verbs.evaluate import runs_of_table
from fsrcache.verbs.pictures import read_pictures, store_degradation
from fsrcache.workspace import Workspace, existing_workspace

_SEED = 0  # of the re-fitted heads
_HISTORY = "history.jsonl"
_SUPER_RESOLVERS = rcan.NAME, meta_sr.NAME, meta_sr_retrained.NAME


@dataclass(frozen=True, kw_only=True)
class ReportResult:
    """What was written.

    Attributes
    ----------
    path, bytes
        The file and its size.
    seconds
        Duration of the call.
    sections
        Names of the sections, in their order.
    """

    path: str
    bytes: int
    seconds: float
    sections: tuple[str, ...]


def report(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    out: str | PathLike[str] = "report.html",
    store: str | PathLike[str] | None = None,
    names: Sequence[str] | None = None,
    split: str | None = None,
    device: str = "auto",
    on_progress: ProgressCallback = no_progress,
) -> ReportResult:
    """Write a page on training runs: answer, table, figures, faces, settings; it loads nothing and runs no script.

    Predictions that ``evaluate`` has kept are read, and missing ones of the frozen head computed. Re-fitted heads are
    shown where all of their predictions are kept, and scores by distance where ``evaluate`` has kept the distances.

    Parameters
    ----------
    workspace
        The workspace, or its folder.
    out
        Path of the HTML file.
    store
        The feature store; the workspace's where None.
    names
        Names of generators' runs. Those whose settings differ in the seed alone are the seeds of one row. None for the
        run ``default`` if it is trained, and else no generator.
    split
        ``val`` or ``test``; test where None and there is one, else val.
    device
        ``cpu``, ``cuda``, ``cuda:1`` ...; ``auto`` is the GPU if there is one.
    on_progress
        Called as the work goes on, and with notes.

    Raises
    ------
    RequestError
        If there is no such workspace, run, split or device.
    FsrcacheError
        If there is no store, it and the runs do not belong together, or the file cannot be written.
    """
    began = time.perf_counter()
    path, target = as_path(out, name="out"), pick_device(device)
    workspace = existing_workspace(workspace)
    runs = runs_of_table(workspace, names)
    if not runs and (known := trained_runs(workspace)):
        raise RequestError(
            f"There is no run default in {workspace.folder}, but {', '.join(known)}.",
            Remedy("Name those to report on: `{}`.", arguments(names=known)),
        )
    features = FeatureStore(workspace.store if store is None else store)
    extractor = open_extractor(workspace.extractor_source, device=target)
    refuse_other_extractor(features, extractor)
    context = RowContext(
        workspace=workspace, store=features, extractor=extractor, device=target, on_progress=on_progress
    )
    data = _report_data(context, runs, split=split)
    on_progress(Progress("writing the page", 0, 1, "pages"))
    made = sections(data)
    text = page(data, made).encode(errors="xmlcharrefreplace")
    write_whole(path, text)
    return ReportResult(
        path=str(path), bytes=len(text), seconds=time.perf_counter() - began, sections=tuple(one.id for one in made)
    )


def _report_data(context: RowContext, runs: Sequence[str], *, split: str | None) -> ReportData:
    store, workspace = context.store, context.workspace
    split = reported_split(store, split)
    ready = ready_rows(context, runs)
    scorings = {
        one.name: Scoring(store, one, split, _SEED, context.device, workspace.predictions, context.on_progress)
        for one in ready.predictors
    }
    table = evaluate_predictors(
        store, context.extractor, ready.predictors, device=context.device, folder=workspace.predictions, split=split,
        heads=_kept_heads(list(scorings.values())), seed=_SEED, order=ready.order, notes=ready.left_out,
        distances=kept_distances(store, split, workspace.predictions) is not None, on_progress=context.on_progress,
    )  # fmt: skip
    there = [one for one in ready.predictors if one.has(split)]
    firsts = {one.row: one for one in reversed(there)}
    row = NAME if NAME in firsts else there[-1].row
    table = with_costs(table, row_costs(store, context.extractor, there, device=context.device, timed=False))
    table = _calibrated(context, table, [one for one in there if one.row in (BICUBIC, row)], scorings)
    trainings = _trainings(context, runs)

    @cache
    def features(row: str, scale: int) -> NDArray[np.floating[Any]] | None:
        function = firsts[row].features
        return None if function is None else function(split, scale)

    data = ReportData(
        table=table,
        row=row,
        labels=store.labels(split),
        probabilities={one: scorings[firsts[one].name].kept(FROZEN) or {} for one in (BICUBIC, row)},
        features=features,
        degradation=store_degradation(store),
        trainings=trainings,
        facts=_facts(context, trainings),
        commands=_commands(context, there, runs, trainings, table),
    )
    data = replace(data, pictures=_pictures(context, table, shown_faces(data)))
    super_resolvers = [firsts[name] for name in _SUPER_RESOLVERS if name in firsts]
    others = enlarged_faces(context, split, [one.number for one in table.examples if one.number in data.pictures])
    return replace(
        data, enlarged={**{one.row: _enlarged(context, one, data) for one in super_resolvers}, **dict(others)}
    )


def _calibrated(
    context: RowContext, table: Table, predictors: Sequence[Predictor], scorings: Mapping[str, Scoring]
) -> Table:
    """Return a table with the calibration errors of some rows."""
    outputs: dict[Key, NDArray[np.float32]] = {
        (one.row, FROZEN, scale, one.seed): values
        for one in predictors
        for scale, values in (scorings[one.name].kept(FROZEN) or {}).items()
    }
    return with_calibration(
        table, outputs, context.store, predictors, ensembles=ensembles_of(predictors), device=context.device,
        folder=context.workspace.predictions, on_progress=context.on_progress,
    )  # fmt: skip


def _enlarged(context: RowContext, predictor: Predictor, data: ReportData) -> dict[tuple[int, int], Pictures]:
    """Return the example faces as a super-resolver enlarges them, by number and scale."""
    store, seed = context.store, predictor.seed
    assert seed is not None
    super_resolver = open_super_resolver(
        context.workspace.row(predictor.row, seed), store.scales, degradation=data.degradation, device=context.device
    )
    enlarged = {}
    for number in (one.number for one in data.table.examples if one.number in data.pictures):
        side = len(data.pictures[number])
        picture = np.broadcast_to(data.pictures[number], (1, side, side, store.spec.recipe["channels"]))
        for scale in (scale for scale in predictor.scales or () if scale > 1):
            small = coarse_pictures(picture, scale, data.degradation)
            enlarged[number, scale] = super_resolver.enlarge(small, scale, side)[0]
    return enlarged


def _kept_heads(scorings: Sequence[Scoring]) -> list[str]:
    """Return the heads whose predictions are kept for every row that has features, and the frozen one."""
    with_features = [one for one in scorings if one.predictor.features is not None and one.predictor.has("train")]
    return [head for head in HEADS if head == FROZEN or all(one.kept(head) is not None for one in with_features)]


def _trainings(context: RowContext, runs: Sequence[str]) -> list[Training]:
    """Return the trainings of runs, then of those that differ from the first in their re-weighting alone."""
    if not runs:
        return []
    shown = [_training(context.workspace.run(name)) for name in dict.fromkeys(runs)]
    return [*shown, *_otherwise_weighted(context, shown[0], leaving_out=runs)]


def _otherwise_weighted(context: RowContext, first: Training, *, leaving_out: Sequence[str]) -> Iterator[Training]:
    """Yield the trainings that differ from one in their re-weighting alone; a note on those that cannot be read."""
    for name in trained_runs(context.workspace):
        if name in leaving_out:
            continue
        try:
            other = _training(context.workspace.run(name))
        except FsrcacheError as error:
            context.on_progress(note(f"The run {name} is left out: {error.what}"))
            continue
        if first.differs_in_weights_alone(other):
            yield other


def _training(folder: Path) -> Training:
    record = read_training(folder / GENERATOR)
    return Training(
        name=folder.name,
        config=record["config"],
        seed=record["seed"],
        scales=record["scales"],
        extra=tuple(record.get("extra", {})),
        store=record["store"],
        history=read_history(folder / _HISTORY),
    )


def _facts(context: RowContext, trainings: Sequence[Training]) -> dict[str, dict[str, str]]:
    """Return settings, digests and versions, in groups."""
    spec = context.store.spec
    files = {one.name: context.workspace.run(one.name) / GENERATOR for one in trainings}
    return {
        **{f"Run {one.name}": {"seed": str(one.seed), **dict(resolved(one.config))} for one in trainings},
        "Digests": {
            "extractor": context.extractor.digest,
            **{f"generator {name}": file_digest(path) for name, path in files.items()},
            **{f"store, {name}": digest for name, digest in spec.content_digests.items()},
        },
        "Store": {name: json.dumps(value, ensure_ascii=False) for name, value in spec.recipe.items()},
        "Program": {
            "fsrcache": fsrcache.__version__,
            "PyTorch": str(torch.__version__),
            "Python": platform.python_version(),
            "device": in_words(context.device),
        },
    }


def _own_extractor(workspace: Workspace) -> PretrainedExtractor | None:
    """Return how the workspace's own extractor was pre-trained; None where it was not, or nothing says how."""
    if workspace.extractor_source.reference != str(workspace.extractor):
        return None
    if kind_of(workspace.extractor, wanted="extractor") != COVPOOL:
        return None
    record = read_record(workspace.extractor, kind=COVPOOL)
    training: ExtractorTraining = value_from(
        ExtractorTraining, record.get("training"), where=workspace.extractor, name="training"
    )
    if "schedule" not in training or "fine_tuned_from" in training:
        return None
    config: ExtractorConfig = value_from(
        ExtractorConfig, record.get("config"), where=workspace.extractor, name="config"
    )
    return PretrainedExtractor(config, training["schedule"], training.get("seed", 0), training.get("scales", (1,)))


def _commands(
    context: RowContext,
    predictors: Sequence[Predictor],
    runs: Sequence[str],
    trainings: Sequence[Training],
    table: Table,
) -> list[str]:
    workspace, spec = context.workspace, context.store.spec
    source = workspace.extractor_source
    onnx = () if source.options is None else [f"{name}={text}" for name, text in _onnx(source.options)]
    return repeating_commands(
        workspace.data(),
        extractor=_own_extractor(workspace) or Path(source.reference).name,
        extraction=Extraction(
            scales=context.store.scales,
            degradation=spec.recipe.get("degradation", {}),
            extra=[*spec.extra],
            unlabelled=workspace.unlabelled() if UNLABELLED in spec.extra else None,
            onnx=onnx,
        ),
        trainings=trainings,
        rivals=list(_rivals(predictors)),
        names=runs,
        table=table,
        pictures={one.row: one.note for one in predictors if one.name.partition("/")[0] == PICTURES},
    )


def _onnx(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    return resolved(value_from(OnnxOptions, dict(options), where=Path("extractor.json"), name="options"))


def _rivals(predictors: Sequence[Predictor]) -> Iterator[Rival]:
    """Yield the trainings of rows that ``baselines`` trains."""
    trained = {row.NAME for row in ROWS if row.train is not None}
    for one in predictors:
        row = one.name.partition("/")[0]
        if row in trained and one.seed is not None:
            yield Rival(row, one.seed, one.changes, one.facts.get("settings", "unknown"))


def _pictures(context: RowContext, table: Table, numbers: Sequence[int]) -> dict[int, Pictures]:
    """Return faces by number; none, and a note, where the pictures are not at hand."""
    try:
        pictures = list(read_pictures(context.workspace, context.store, table.split, numbers))
    except FsrcacheError as error:
        context.on_progress(note(f"No faces: {error.what}"))
        return {}
    return dict(zip(numbers, pictures, strict=True))
