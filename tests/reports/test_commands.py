"""Command lines of a report are understood, and mean the settings that they repeat."""

import shlex
from dataclasses import replace

import click

from fsrcache.cli.main import group
from fsrcache.presets import EXTRACTORS, PRETRAINING, TRAINING, ExtractorConfig, PretrainConfig
from fsrcache.reports.commands import PretrainedExtractor, repeating_commands
from fsrcache.reports.data import Training
from fsrcache.settings import split_settings, with_settings
from fsrcache.workspace import Data

CONFIG = replace(TRAINING["tiny"], steps=7, reweight="none")


def parameters(line):
    """Return the command of a line, and what it understands."""
    program, name, *words = shlex.split(line)
    assert program == "fsrcache"
    command = group.get_command(click.Context(group), name)
    return name, command.make_context(name, words).params


def test_commands_are_understood():
    lines = repeating_commands(
        Data("/faces of 'us' & <them>", votes="soft", limit=5),
        extractor="ours.safetensors",
        scales=(1, 2, 4),
        degradation={"form": "size", "border": "replicate", "jpeg": 70},
        trainings=[Training(name="mine", config=CONFIG, seed=3, history=[])],
        baselines={1: ["ridge"], 0: ["ridge", "fine-tuned"]},
    )
    names, (extract, train, first, second, evaluate, report) = zip(*map(parameters, lines), strict=True)
    assert names == ("extract", "train", "baselines", "baselines", "evaluate", "report")
    assert extract["data_path"] == "/faces of 'us' & <them>"
    assert (extract["votes"], extract["limit"], extract["scales"]) == ("soft", 5, [2, 4])
    assert (extract["form"], extract["border"], extract["jpeg"]) == ("size", "replicate", 70)
    assert (train["name"], train["seed"]) == ("mine", 3)
    assert with_settings(TRAINING[train["preset"]], train["assignments"]) == CONFIG
    assert [(one["rows"], one["seed"]) for one in (first, second)] == [("ridge,fine-tuned", 0), ("ridge", 1)]
    assert evaluate["names"] == report["names"] == ("mine",)


def test_a_pre_trained_extractor_is_trained_and_not_named():
    shape = replace(EXTRACTORS["small"], side=40, hidden=99)
    schedule = replace(PRETRAINING["small"], epochs=3)
    pretrain, extract = repeating_commands(
        Data("faces"), extractor=PretrainedExtractor(shape, schedule, 7, (1, 2)), scales=(1, 2), degradation={},
        trainings=[], baselines={},
    )[:2]  # fmt: skip
    assert "--extractor" not in extract
    name, options = parameters(pretrain)
    assert (name, options["data_path"], options["preset"]) == ("pretrain", "faces", "small")
    assert (options["side"], options["seed"], options["scales"]) == (40, 7, [1, 2])
    of_schedule, of_shape = split_settings(options["assignments"], PretrainConfig, ExtractorConfig)
    assert with_settings(PRETRAINING["small"], of_schedule) == schedule
    assert with_settings(replace(EXTRACTORS["small"], side=40), of_shape) == shape


def test_without_a_run_nothing_is_trained():
    lines = repeating_commands(None, extractor="covpool", scales=(1,), degradation={}, trainings=[], baselines={})
    assert lines == ["fsrcache extract --extractor covpool --scales 1", "fsrcache evaluate", "fsrcache report"]
