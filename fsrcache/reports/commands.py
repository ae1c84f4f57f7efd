"""Command lines that repeat what a report shows."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from fsrcache.presets import EXTRACTORS, PRETRAINING, TRAINING, ExtractorConfig, PretrainConfig
from fsrcache.reports.data import Training
from fsrcache.settings import differences, nearest_preset
from fsrcache.workspace import Data


class PretrainedExtractor(NamedTuple):
    """Shape, schedule, random seed and scales of an extractor's pre-training."""

    config: ExtractorConfig
    schedule: PretrainConfig
    seed: int
    scales: Sequence[int]


def repeating_commands(
    data: Data | None,
    *,
    extractor: PretrainedExtractor | str,
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
        Pre-training of the extractor, or the name or file of one that was not pre-trained in the workspace.
    scales, degradation
        Scales of the store, and JSON values on how its low-resolution views were made.
    trainings
        Trainings of the generator.
    baselines
        Names of the trained rows, by seed.
    """
    names = [option for one in trainings for option in ("--name", one.name)]
    named, pretraining = ["--extractor", str(extractor)], list[list[str]]()
    if isinstance(extractor, PretrainedExtractor):
        named, pretraining = [], [["pretrain", *_data(data), *_pretraining(extractor)]]
    lines: list[list[str]] = [
        *pretraining,
        ["extract", *_data(data), *named, *_scales(scales), *_changed(degradation)],
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
