"""The commands of a workspace, one after the other, as a user runs them."""

import csv
import signal
import time

import pytest
from fsrcache.benchmarks.program import Running, run
from PIL import Image


def answer(*arguments, cwd, **environment):
    done = run(*arguments, "--json", cwd=cwd, **environment)
    assert done.returncode == 0, done.stderr
    return done.answer


@pytest.mark.slow
def test_from_faces_to_a_table(tmp_path):
    pretrained = answer("pretrain", "--data", "drawn:280", "--side", 24, "--epochs", 1, cwd=tmp_path)
    assert pretrained["preset"] == "tiny"
    assert set(pretrained["accuracy"]) == {"held-out", "val", "test"}
    extracted = answer("extract", "--scales", "2,4", cwd=tmp_path)  # the workspace remembers the data
    assert extracted["scales"] == [1, 2, 4]
    assert sum(extracted["rows"].values()) == 280
    again = answer("extract", "--scales", "2,4", cwd=tmp_path)
    assert again["resumed_from"] == again["blocks"]
    refused = run("extract", "--data", "drawn:140", "--scales", "2,4", cwd=tmp_path)
    assert refused.returncode == 1
    assert "digests.pictures" in refused.stderr

    trained = answer("train", "--steps", 20, "--seed", 3, "--name", "mine", cwd=tmp_path)
    assert (trained["preset"], trained["seed"], trained["steps"]) == ("tiny", 3, 20)
    resumed = answer("train", "--steps", 20, "--seed", 3, "--name", "mine", cwd=tmp_path)
    assert resumed["resumed_from"] == 20
    other = run("train", "--steps", 20, "--seed", 4, "--name", "mine", cwd=tmp_path)
    assert other.returncode == 1
    assert "seed is 3 there and 4 here" in other.stderr

    missing = run("evaluate", cwd=tmp_path)
    assert missing.returncode == 1
    assert "there is mine" in missing.stderr
    tuned = answer("baselines", "--rows", "fine-tuned", cwd=tmp_path)
    assert tuned["row"] == "fine-tuned"
    table = answer("evaluate", "--name", "mine", cwd=tmp_path / "..", FSRCACHE_WORKSPACE=str(tmp_path / "fsr"))
    assert table["split"] == "test"
    fields = {"row", "head", "scale", "n", "accuracy", "mean_class_accuracy", "macro_f1", "low", "high", "gap_closed"}
    assert all(fields <= set(score) for score in table["rows"])
    assert {score["row"] for score in table["rows"]} == {"bicubic", "fine-tuned", "FSR-FER"}
    assert {score["head"] for score in table["rows"]} == {"frozen", "refit-mlp", "refit-linear"}
    assert {score["scale"] for score in table["rows"]} == {1, 2, 4}
    assert "rows_without_twins" in table
    folder = tmp_path / "fsr/runs/mine"
    with (folder / "table.csv").open() as file:
        assert len(list(csv.reader(file))) > 27
    assert "FSR-FER" in (folder / "table.md").read_text()
    assert (folder / "accuracy.svg").read_text().startswith("<?xml")
    with Image.open(folder / "accuracy.png") as figure:
        assert min(figure.size) > 300
    shown = run("evaluate", "--name", "mine", "--split", "val", "--heads", "frozen", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "Total accuracy" in shown.stdout
    assert "of val" in shown.stdout


@pytest.mark.slow
def test_an_interrupted_training_goes_on_by_the_same_command(pretrained):
    answer("extract", "--scales", "2", cwd=pretrained)
    command = ["train", "--steps", "200000", "--json"]
    process = Running(*command, cwd=pretrained)
    history = pretrained / "fsr/runs/default/history.jsonl"
    until = time.monotonic() + 60
    while time.monotonic() < until and not (history.exists() and history.read_text()):
        time.sleep(0.05)
    process.signal(signal.SIGINT)
    done = process.wait()
    assert done.returncode == 1
    assert done.answer["error"] == "Interrupted."
    assert "Traceback" not in done.stderr


def test_an_empty_folder_says_what_to_do_first(tmp_path):
    done = run("train", cwd=tmp_path)
    assert done.returncode == 1
    assert "Run `fsrcache extract --scales 2..8` first." in done.stderr
    assert not list(tmp_path.iterdir())  # and leaves nothing behind
