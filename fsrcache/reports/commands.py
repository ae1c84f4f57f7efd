"""Command lines that repeat what a report shows."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from fsrcache.evaluation.layout import DISTANCE
from fsrcache.evaluation.tables import HEADS, Table
from fsrcache.presets import EXTRACTORS, PRETRAINING, TRAINING, ExtractorConfig, PretrainConfig
from fsrcache.reports.data import Training
from fsrcache.settings import differences, nearest_preset
from fsrcache.split_names import splits_in_words
from fsrcache.store.spec import UNLABELLED
from fsrcache.workspace import Data


class PretrainedExtractor(NamedTuple):
    """Shape, schedule, random seed and scales of an extractor's pre-training."""

    config: ExtractorConfig
    schedule: PretrainConfig
    seed: int
    scales: Sequence[int]


class Extraction(NamedTuple):
    """What the store was extracted with, beside data and extractor.

    Attributes
    ----------
    scales, degradation
        Scales of the store, and JSON values on how its low-resolution views were made.
    extra
        Names of its extra splits.
    unlabelled
        The faces without labels; None where there are none, or nobody remembers them.
    onnx
        Assignments, as ``extract --onnx`` takes them.
    """

    scales: Sequence[int]
    degradation: Mapping[str, Any]
    extra: Sequence[str] = ()
    unlabelled: Data | None = None
    onnx: Sequence[str] = ()


class Rival(NamedTuple):
    """A training of a row.

    Attributes
    ----------
    row, seed
        The row's name and its random seed.
    changes
        Assignments to the row's settings; None where they are not known as such.
    settings
        The settings in words.
    """

    row: str
    seed: int
    changes: tuple[str, ...] | None
    settings: str


def repeating_commands(
    data: Data | None,
    *,
    extractor: PretrainedExtractor | str,
    extraction: Extraction,
    trainings: Sequence[Training],
    rivals: Sequence[Rival],
    names: Sequence[str],
    table: Table,
    pictures: Mapping[str, str],
) -> list[str]:
    """Return the command lines from the faces to the report, for a workspace of the reader's own.

    Parameters
    ----------
    data
        The data; None where they are unknown.
    extractor
        Pre-training of the extractor, or the name or file of one that was not pre-trained in the workspace.
    extraction
        The store.
    trainings
        Trainings of the generator.
    rivals
        Trainings of the other rows. Of settings that no command line says, there is a comment.
    names
        Names of the runs that the report is on.
    table
        The scores that are shown: of a split, with heads, and by distance or not.
    pictures
        Notes on the rows of faces that other programs enlarged, by name; a comment each, since no command makes them.
    """
    named, pretraining = ["--extractor", str(extractor)], list[list[str]]()
    if isinstance(extractor, PretrainedExtractor):
        named, pretraining = [], [["pretrain", *_data(data), *_pretraining(extractor)]]
    runs = [option for name in names for option in ("--name", name)]
    lines: list[list[str]] = [
        *pretraining,
        ["extract", *_data(data), *named, *_extraction(extraction)],
        *(["train", *_training(one, extraction)] for one in trainings),
        *_baselines(rivals),
        ["evaluate", *runs, "--split", table.split, *_measured(table)],
        ["report", *runs, "--split", table.split],
    ]
    unsaid = [one for one in rivals if one.changes is None]
    comments = [f"# settings of {one.row}, seed {one.seed}: {one.settings}" for one in unsaid]
    comments += [
        f"# row {name}, by evaluate --pictures {name} DIR: {' '.join(note.split())}" for name, note in pictures.items()
    ]
    return [*(shlex.join(["fsrcache", *line]) for line in lines), *comments]


def _measured(table: Table) -> Iterator[str]:
    """Yield the heads, where some are not shown, and what a report only shows after ``evaluate`` was asked for it."""
    heads = {score.head for score in table.rows}
    if heads < set(HEADS):
        yield from (word for head in HEADS if head in heads for word in ("--heads", head))
    if table.by_distance:
        yield from ("--measures", DISTANCE)


def _data(data: Data | None) -> Iterator[str]:
    if data is None:
        return
    yield from ("--data", data.path)
    if data.layout:
        yield from ("--format", data.layout)
    if data.votes != "majority":
        yield from ("--votes", data.votes)
    if data.limit:
        yield from ("--limit", str(data.limit))
    if data.on_error != "fail":
        yield from ("--on-error", data.on_error)


def _pretraining(extractor: PretrainedExtractor) -> Iterator[str]:
    changes = {
        name: [
            *differences(extractor.config, replace(EXTRACTORS[name], side=extractor.config.side)),
            *differences(extractor.schedule, PRETRAINING[name]),
        ]
        for name in EXTRACTORS
    }
    preset = min(changes, key=lambda name: len(changes[name]))
    yield from ("--preset", preset, "--side", str(extractor.config.side), "--seed", str(extractor.seed))
    yield from ("--scales", ",".join(map(str, extractor.scales)))
    for change in changes[preset]:
        yield from ("--set", change)


def _extraction(extraction: Extraction) -> Iterator[str]:
    for assignment in extraction.onnx:
        yield from ("--onnx", assignment)
    yield from _scales(extraction.scales)
    if views := [name for name in extraction.extra if name != UNLABELLED]:
        yield from ("--views", str(len(views)))
    if extraction.unlabelled is not None:
        yield from ("--unlabelled", extraction.unlabelled.path)
    yield from _changed(extraction.degradation)


def _scales(scales: Sequence[int]) -> list[str]:
    coarse = [scale for scale in scales if scale > 1]
    return ["--scales", ",".join(map(str, coarse or scales))]


def _changed(degradation: Mapping[str, Any]) -> Iterator[str]:
    usual = {"form": "scale", "border": "replicate", "jpeg": None}
    for name, value in degradation.items():
        if name in usual and value != usual[name]:
            yield from (f"--{name}", str(value))


def _training(training: Training, extraction: Extraction) -> Iterator[str]:
    preset, changes = nearest_preset(training.config, TRAINING)
    yield from ("--name", training.name, "--preset", preset, "--seed", str(training.seed))
    if set(training.scales) != set(extraction.scales):
        yield from _scales(training.scales)
    if set(training.extra) != set(extraction.extra):
        yield from ("--extra", splits_in_words(training.extra) or "none")
    for change in changes:
        yield from ("--set", change)


def _baselines(rivals: Sequence[Rival]) -> Iterator[list[str]]:
    """Yield a command for every seed and settings, with all rows of these."""
    rows: dict[tuple[int, tuple[str, ...]], list[str]] = {}
    for one in rivals:
        rows.setdefault((one.seed, one.changes or ()), []).append(one.row)
    for (seed, changes), names in sorted(rows.items()):
        settings = [word for change in changes for word in ("--set", change)]
        yield ["baselines", "--rows", ",".join(names), "--seed", str(seed), *settings]
