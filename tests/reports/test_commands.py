"""Command lines of a report are understood, and mean the settings that they repeat."""

import shlex
from dataclasses import replace

import click

from fsrcache.cli.main import group
from fsrcache.presets import TRAINING
from fsrcache.reports.commands import repeating_commands
from fsrcache.reports.data import Training
from fsrcache.settings import with_settings
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
        trainings=[Training(name="mine", config=CONFIG, seed=3, history=[], parameters=1)],
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


def test_without_a_run_nothing_is_trained():
    lines = repeating_commands(None, extractor="covpool", scales=(1,), degradation={}, trainings=[], baselines={})
    assert lines == ["fsrcache extract --extractor covpool --scales 1", "fsrcache evaluate", "fsrcache report"]
