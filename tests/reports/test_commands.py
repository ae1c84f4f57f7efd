"""Command lines of a report are understood, and mean the settings that they repeat."""

import shlex
from dataclasses import replace

import click
import numpy as np

from fsrcache.cli.main import group
from fsrcache.evaluation.by_distance import score_distances
from fsrcache.evaluation.layout import FIRST_LOOK
from fsrcache.evaluation.tables import HEADS
from fsrcache.presets import EXTRACTORS, PRETRAINING, TRAINING, ExtractorConfig, PretrainConfig
from fsrcache.reports.commands import Extraction, PretrainedExtractor, Rival, repeating_commands
from fsrcache.reports.data import Training
from fsrcache.settings import split_settings, with_settings
from fsrcache.workspace import Data

CONFIG = replace(TRAINING["tiny"], steps=7, reweight="none")
EXTRA = ("view-1", "view-2", "unlabelled")


def parameters(line):
    """Return the command of a line, and what it understands."""
    program, name, *words = shlex.split(line)
    assert program == "fsrcache"
    command = group.get_command(click.Context(group), name)
    return name, command.make_context(name, words).params


def test_commands_are_understood(table):
    lines = repeating_commands(
        Data("/faces of 'us' & <them>", votes="soft", limit=5, on_error="skip"),
        extractor="ours.onnx",
        extraction=Extraction(
            scales=(1, 2, 4),
            degradation={"form": "size", "border": "replicate", "jpeg": 70},
            extra=["view-1", "view-2", "unlabelled"],
            unlabelled=Data("/more faces"),
            onnx=["side=48", "classes=happiness,sadness"],
        ),
        trainings=[
            Training(name="mine", config=CONFIG, seed=3, scales=(1, 2), extra=("view-1",), history=[]),
            Training(name="all", config=CONFIG, seed=3, scales=(1, 2, 4), extra=EXTRA, history=[]),
        ],
        rivals=[
            Rival("ridge", 1, (), "default"),
            Rival("ridge", 0, (), "default"),
            Rival("fine-tuned", 0, (), "default"),
            Rival("distilled", 0, ("epochs=2", "batch=64"), "default with epochs=2, batch=64"),
            Rival("rcan", 0, None, "preset published"),
        ],
        names=["mine"],
        table=table,
        pictures={"swinir": "faces that another program enlarged, from the folder\nlarge"},
    )
    assert lines.pop() == (
        "# row swinir, by evaluate --pictures swinir DIR: faces that another program enlarged, from the folder large"
    )
    assert lines.pop() == "# settings of rcan, seed 0: preset published"
    names, (extract, train, whole, *rivals, evaluate, report) = zip(*map(parameters, lines), strict=True)
    assert names == ("extract", "train", "train", "baselines", "baselines", "baselines", "evaluate", "report")
    assert extract["data_path"] == "/faces of 'us' & <them>"
    assert (extract["votes"], extract["limit"], extract["on_error"]) == ("soft", 5, "skip")
    assert (extract["scales"], extract["views"], extract["unlabelled"]) == ([2, 4], 2, "/more faces")
    assert (extract["form"], extract["border"], extract["jpeg"]) == ("size", "replicate", 70)
    assert (extract["extractor"], extract["onnx"]) == ("ours.onnx", ("side=48", "classes=happiness,sadness"))
    assert (train["name"], train["seed"], train["scales"], train["extra"]) == ("mine", 3, [2], ["view-1"])
    assert (whole["name"], whole["scales"], whole["extra"]) == ("all", None, None)
    assert with_settings(TRAINING[train["preset"]], train["assignments"]) == CONFIG
    assert [(one["rows"], one["seed"], one["assignments"]) for one in rivals] == [
        ("ridge,fine-tuned,rcan", 0, ()), ("distilled", 0, ("epochs=2", "batch=64")), ("ridge", 1, ()),
    ]  # fmt: skip
    assert evaluate["names"] == report["names"] == ("mine",)


def test_a_training_on_no_extra_split_says_so(table):
    training = Training(name="mine", config=CONFIG, seed=0, scales=(1,), history=[])
    lines = repeating_commands(
        None, extractor="covpool", extraction=Extraction((1,), {}, extra=EXTRA), trainings=[training], rivals=[],
        names=[], table=table, pictures={},
    )  # fmt: skip
    assert parameters(lines[1])[1]["extra"] == []


def test_a_pre_trained_extractor_is_trained_and_not_named(table):
    shape = replace(EXTRACTORS["small"], side=40, hidden=99)
    schedule = replace(PRETRAINING["small"], epochs=3)
    pretrain, extract = repeating_commands(
        Data("faces"), extractor=PretrainedExtractor(shape, schedule, 7, (1, 2)), extraction=Extraction((1, 2), {}),
        trainings=[], rivals=[], names=[], table=table, pictures={},
    )[:2]  # fmt: skip
    assert "--extractor" not in extract
    name, options = parameters(pretrain)
    assert (name, options["data_path"], options["preset"]) == ("pretrain", "faces", "small")
    assert (options["side"], options["seed"], options["scales"]) == (40, 7, [1, 2])
    of_schedule, of_shape = split_settings(options["assignments"], PretrainConfig, ExtractorConfig)
    assert with_settings(PRETRAINING["small"], of_schedule) == schedule
    assert with_settings(replace(EXTRACTORS["small"], side=40), of_shape) == shape


def lines_of(table):
    return repeating_commands(
        None, extractor="covpool", extraction=Extraction((1,), {}), trainings=[], rivals=[], names=[], table=table,
        pictures={},
    )  # fmt: skip


def test_without_a_run_nothing_is_trained(table):
    assert lines_of(table) == [
        "fsrcache extract --extractor covpool --scales 1",
        "fsrcache evaluate --split val --heads frozen",
        "fsrcache report --split val",
    ]


def test_split_heads_and_measures_are_those_of_the_page(table):
    labels = np.zeros(4, np.int64)
    trainings = {("bicubic", "frozen", 2): {None: labels}}
    by_distance = score_distances(trainings, labels, labels.astype(np.float32), ensembles={})
    rows = tuple(replace(score, head=head) for head in HEADS for score in table.rows)
    for one, measures in ((table, ()), (replace(table, by_distance=by_distance), ("distance",))):
        _, evaluate, report = (parameters(line)[1] for line in lines_of(replace(one, split="test", rows=rows)))
        assert evaluate["split"] == report["split"] == "test"
        assert evaluate["heads"] == ()  # all of them
        assert evaluate["measures"] == (measures or FIRST_LOOK)
