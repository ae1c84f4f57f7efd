"""Command lines that repeat what a report shows."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fsrcache.presets import TRAINING
from fsrcache.reports.data import Training
from fsrcache.settings import nearest_preset
from fsrcache.workspace import Data


def repeating_commands(
    data: Data | None,
    *,
    extractor: str,
    scales: Sequence[int],
    degradation: Mapping[str, Any],
    trainings: Sequence[Training],
    baselines: Mapping[int, Sequence[str]],
) -> list[str]:
    """Return the command lines from the faces to the report, for a workspace of the reader's own.

    Parameters
    ----------
    data
        The data; None where they are unknown.
    extractor
        Name or file of the extractor.
    scales, degradation
        Scales of the store, and JSON values on how its low-resolution views were made.
    trainings
        Trainings of the generator.
    baselines
        Names of the trained rows, by seed.
    """
    names = [option for one in trainings for option in ("--name", one.name)]
    lines: list[list[str]] = [
        ["extract", *_data(data), "--extractor", extractor, *_scales(scales), *_changed(degradation)],
        *(["train", *_training(one)] for one in trainings),
        *(["baselines", "--rows", ",".join(rows), "--seed", str(seed)] for seed, rows in sorted(baselines.items())),
        ["evaluate", *names],
        ["report", *names],
    ]
    return [shlex.join(["fsrcache", *line]) for line in lines]


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


def _scales(scales: Sequence[int]) -> list[str]:
    coarse = [scale for scale in scales if scale > 1]
    return ["--scales", ",".join(map(str, coarse or scales))]


def _changed(degradation: Mapping[str, Any]) -> Iterator[str]:
    usual = {"form": "scale", "border": "replicate", "jpeg": None}
    for name, value in degradation.items():
        if name in usual and value != usual[name]:
            yield from (f"--{name}", str(value))


def _training(training: Training) -> Iterator[str]:
    preset, changes = nearest_preset(training.config, TRAINING)
    yield from ("--name", training.name, "--preset", preset, "--seed", str(training.seed))
    for change in changes:
        yield from ("--set", change)
