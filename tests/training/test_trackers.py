"""Trackers get the numbers of every status line, stay offline and quiet, and never fail a training."""

import json
import sys
from dataclasses import asdict
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from fsrcache.cli.train import train as command
from fsrcache.errors import RequestError
from fsrcache.presets import LOGS, TRAINING
from fsrcache.settings import with_settings
from fsrcache.training.run.trackers import tagged
from fsrcache.training.run.train import train_generator

CONFIG = with_settings(TRAINING["best"], ["generator.width=8", "generator.rank=0", "batch=16", "steps=4"])
PACKAGES = {"tensorboard": "torch.utils.tensorboard", "trackio": "trackio", "wandb": "wandb"}


@pytest.fixture
def trained(store, extractor, tmp_path):
    """Return a function that trains four steps in a folder and returns the notes."""

    def work(*log, name="run"):
        notes = []
        train_generator(
            store, extractor, CONFIG, folder=tmp_path / name, device=torch.device("cpu"), log=log,
            on_progress=lambda progress: notes.append(progress.note),
        )  # fmt: skip
        return list(filter(None, notes))

    return work


class Wrong:
    """A tracker that fails at some moment, and prints before."""

    def __init__(self, moment):
        self.moment = moment
        self.calls = []

    def call(self, moment):
        print("a tracker's own words")  # noqa: T201
        self.calls.append(moment)
        if moment == self.moment:
            raise ValueError("no room")

    def open_tracker(self, *_):
        self.call("open")
        return self

    def log(self, *_):
        self.call("log")

    def close(self):
        self.call("close")


def test_tags_of_a_line():
    line = {"step": 5, "l2": 1.0, "held_out_accuracy": {"1": 60.0, "8": 40.0}, "weights_mean": 0.9, "seconds": 3.0}
    assert tagged(line) == {"loss/l2": 1.0, "held_out_accuracy/HR": 60.0, "held_out_accuracy/x8": 40.0,
                            "weights/mean": 0.9}  # fmt: skip


@pytest.mark.parametrize("moment", ["open", "log", "close"])
def test_a_tracker_that_fails_is_noted_once_and_ends_nothing(trained, tmp_path, monkeypatch, moment):
    wrong = Wrong(moment)
    monkeypatch.setitem(sys.modules, "fsrcache.training.run.tracker_wandb", wrong)
    notes = trained("wandb", "tensorboard", name="tracked")
    (said,) = (note for note in notes if "failed" in note)
    assert said == "wandb failed and logs no more, the training goes on: ValueError('no room')."
    assert wrong.calls == {"open": ["open"], "log": ["open", "log"], "close": ["open", *["log"] * 4, "close"]}[moment]
    assert list((tmp_path / "tracked/tensorboard").iterdir())
    trained(name="untracked")
    generators = [(tmp_path / name / "generator.safetensors").read_bytes() for name in ("tracked", "untracked")]
    assert generators[0] == generators[1]


def test_a_folder_that_cannot_be_written_is_noted(trained, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/tensorboard").write_text("a file")
    assert any(note.startswith("tensorboard failed") for note in trained("tensorboard"))


@pytest.mark.parametrize("name", LOGS)
def test_a_missing_package_is_said_before_any_work(trained, tmp_path, monkeypatch, name):
    monkeypatch.delitem(sys.modules, f"fsrcache.training.run.tracker_{name}", raising=False)
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    with pytest.raises(RequestError, match=rf"pip install 'fsrcache\[{name}\]'"):
        trained(name)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("log", ["wandb", ["mlflow"]])
def test_an_unknown_tracker_is_refused(store, extractor, tmp_path, log):
    with pytest.raises(RequestError, match="tracker"):
        train_generator(store, extractor, CONFIG, folder=tmp_path / "run", device=torch.device("cpu"), log=log)


def test_trackio_goes_on_with_a_run(trained, monkeypatch):
    """Trackio's own calls, in its place: it wants an older Pillow than the tests have."""
    calls = []
    run = SimpleNamespace(log=lambda values, step: calls.append((step, values)))
    trackio = SimpleNamespace(
        init=lambda **options: calls.append(options) or run, finish=lambda: calls.append("finished")
    )
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    monkeypatch.delitem(sys.modules, "fsrcache.training.run.tracker_trackio", raising=False)
    assert not any("failed" in note for note in trained("trackio"))
    begun, *lines, ended = calls
    assert (begun["project"], begun["name"], begun["resume"], ended) == ("fsrcache", "run", "allow", "finished")
    assert begun["config"] == {"seed": 0, **asdict(CONFIG)}
    assert [step for step, _ in lines] == [1, 2, 3, 4]
    assert {"loss/l2", "gradient_norm/generator", "training/samples_per_second"} <= set(lines[0][1])
    assert "held_out_accuracy/x4" in lines[3][1]


@pytest.mark.slow
def test_wandb_writes_an_offline_run(trained, tmp_path):
    wandb = pytest.importorskip("wandb", reason="its extra brings a telemetry library and is not among the tests' own")

    assert not any("failed" in note for note in trained("wandb"))
    (written,) = (tmp_path / "run/wandb").glob("offline-run-*/*.wandb")
    assert written.read_bytes().count(b"loss/l2") >= 4
    assert wandb.setup().settings.mode == "offline"  # else its telemetry looks for its server
    wandb.teardown()


def test_what_a_tracker_prints_is_not_the_command_s_answer(extractor, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsrcache.training.run.tracker_wandb", Wrong("never"))
    (tmp_path / "extractor.safetensors").symlink_to(extractor)
    (tmp_path / "features.zarr").symlink_to(extractor.with_name("store"))
    words = ["--workspace", str(tmp_path), "--preset", "best", "--device", "cpu", "--log", "wandb", "--json"]
    for setting in ("generator.width=8", "generator.rank=0", "batch=16", "steps=2"):
        words += ["--set", setting]
    assert json.loads(CliRunner().invoke(command, words).stdout)["steps"] == 2
