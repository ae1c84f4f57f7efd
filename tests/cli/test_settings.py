"""--set, --show and --dry-run of pretrain and train, and the options of an ONNX file, as a user writes them."""

import json

import pytest
from click.testing import CliRunner

from fsrcache.cli.main import group
from fsrcache.errors import FsrcacheError
from fsrcache.presets import PRETRAINING, TRAINING
from fsrcache.settings import with_settings


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that runs a command in an empty folder, which must stay empty."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        done = CliRunner().invoke(group, arguments)
        assert not list(tmp_path.iterdir())
        return done

    return run


def test_show_prints_what_set_takes(command):
    shown = command("train", "--show", "--set", "generator.width=256", "--steps", "7")
    lines = shown.stdout.splitlines()
    assert {"generator.width=256", "steps=7", "critic=none", "betas=0.9,0.999"} <= set(lines)
    assert with_settings(TRAINING["best"], lines) == with_settings(TRAINING["best"], ["generator.width=256", "steps=7"])
    answer = json.loads(command("train", "--show", "--json", "--preset", "paper").stdout)
    assert (answer["generator.form"], answer["critic.filters"], answer["l2_weight"]) == ("rrdb", 64, 0.01)
    assert answer["milestones"] == [20_000, 50_000, 100_000, 200_000]


def test_show_of_a_pretraining(command):
    arguments = "pretrain", "--show", "--data", "drawn:14", "--side", "20", "--set", "spd_side=16", "--epochs", "2"
    lines = command(*arguments).stdout.splitlines()
    assert {"side=20", "spd_side=16", "epochs=2", f"batch={PRETRAINING['tiny'].batch}"} <= set(lines)
    answer = json.loads(command(*arguments, "--json").stdout)
    assert (answer["side"], answer["stages"], answer["flip"]) == (20, [[24], [48, 48], [64, 64]], True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--set", "l2_wight=1"), "'l2_wight' is unknown"),
        (("train", "--set", "steps=3", "--steps", "4"), "steps is set twice"),
        (("train", "--set", "l2_weight=heavy"), "l2_weight is 'heavy'"),
        (("pretrain", "--set", "side=48"), "side of the pictures is no setting"),
        (("pretrain", "--set", "epochs=3", "--epochs", "4", "--data", "drawn:14"), "epochs is set twice"),
        (("extract", "--onnx", "sides=48"), "'sides' is unknown"),
        (("extract", "--onnx", "side=48"), "options of an ONNX file, and no file"),
        (("extract", "--extractor", "net.onnx", "--onnx", "side=48"), "no ONNX file at"),
        (("extract", "--extractor", "json:dumps", "--data", "drawn:14"), "dumps"),
    ],
)
def test_what_cannot_be_set_is_a_wrong_request(command, arguments, words):
    done = command(*arguments)
    assert isinstance(done.exception, FsrcacheError)
    assert words in done.exception.what


def test_a_dry_run_of_a_pretraining(command):
    arguments = "pretrain", "--dry-run", "--data", "drawn:70", "--side", "16", "--epochs", "3", "--set", "stages=4,6"
    arguments += "--set", "spd_side=4"
    answer = json.loads(command(*arguments, "--json").stdout)
    assert (answer["preset"], answer["epochs"]) == ("tiny", 3)
    assert answer["settings"] == ["stages=4,6", "spd_side=4", "epochs=3"]
    assert answer["seconds"] == pytest.approx(3 * answer["seconds_per_epoch"], rel=0.5)
    assert answer["memory"]["total"] > 0
    shown = command(*arguments).stdout
    assert "preset tiny stages=4,6 spd_side=4 epochs=3" in shown
    assert "for 3 epochs" in shown
