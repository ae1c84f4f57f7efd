"""The commands of a workspace, one after the other, as a user runs them."""

import csv
import signal
import time

import pytest
from click.testing import CliRunner
from PIL import Image

from fsrcache.cli.main import group
from fsrcache.errors import FsrcacheError, RequestError
from studies.program import Running, run

COUNTS_280 = "train 196, val 28, test 56 of drawn faces (built in)"
COUNTS_140 = "train 98, val 14, test 28 of drawn faces (built in)"


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
    assert refused.returncode == 2
    counts = f"its faces are {COUNTS_280} there and {COUNTS_140} here"
    assert f"features.zarr was not made from drawn:140: {counts}." in refused.stderr
    assert "The workspace remembers drawn:280." in refused.stderr

    trained = answer("train", "--steps", 20, "--seed", 3, "--name", "mine", cwd=tmp_path)
    assert (trained["preset"], trained["seed"], trained["steps"]) == ("tiny", 3, 20)
    resumed = answer("train", "--steps", 20, "--seed", 3, "--name", "mine", cwd=tmp_path)
    assert resumed["resumed_from"] == 20
    other = run("train", "--steps", 20, "--seed", 4, "--name", "mine", cwd=tmp_path)
    assert other.returncode == 2
    assert "seed is 3 there and 4 here" in other.stderr

    missing = run("evaluate", "--name", "other", cwd=tmp_path)
    assert missing.returncode == 2
    assert "there is mine" in missing.stderr
    tuned = answer("baselines", "--rows", "fine-tuned", cwd=tmp_path)
    assert tuned["row"] == "fine-tuned"
    table = answer("evaluate", "--name", "mine", cwd=tmp_path / "..", FSRCACHE_WORKSPACE=str(tmp_path / "fsr"))
    assert table["split"] == "test"
    fields = {"row", "head", "scale", "n", "accuracy", "mean_class_accuracy", "macro_f1", "low", "high", "gap_closed"}
    assert all(fields <= set(score) for score in table["rows"])
    assert {score["row"] for score in table["rows"]} == {
        "majority", "bicubic", "fine-tuned", "FSR-FER", "FSR-FER, one of 2",
    }  # fmt: skip
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
    assert done.returncode == 130
    assert done.answer["error"] == "Interrupted."
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["pretrain", "train", "baselines", "evaluate"])
@pytest.mark.parametrize("seed", [2**63, 2**64, -1, "1" * 5000, "x"])
def test_a_seed_beyond_its_type_is_a_wrong_request(tmp_path, command, seed):
    done = CliRunner().invoke(group, [command, "--workspace", str(tmp_path / "none"), "--seed", str(seed)])
    assert done.exit_code == 2
    assert "'--seed'" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("device", ["meta", "hpu", "privateuseone", "cuda:99", "cpu:7"])
@pytest.mark.parametrize("command", ["pretrain", "extract", "train", "baselines", "evaluate"])
def test_a_device_that_is_not_there_is_a_wrong_request(tmp_path, command, device):
    done = CliRunner().invoke(group, [command, "--workspace", str(tmp_path / "none"), "--device", device])
    assert isinstance(done.exception, RequestError)
    assert f"There is no device '{device}'" in done.exception.what
    assert not list(tmp_path.iterdir())


def test_more_epochs_than_there_may_be_are_a_wrong_request(tmp_path):
    arguments = ["pretrain", "--workspace", str(tmp_path / "none"), "--data", "drawn:14", "--epochs", str(2**64)]
    done = CliRunner().invoke(group, arguments)
    assert isinstance(done.exception, RequestError)
    assert "epochs is 18446744073709551616" in done.exception.what


@pytest.mark.slow
def test_data_named_again_mend_what_is_remembered(pretrained):
    remembered = pretrained / "fsr/data.json"
    remembered.write_text('{"path": 3}')
    refused = run("extract", "--scales", "2", cwd=pretrained)
    assert refused.returncode == 1
    assert "data.json: path is 3" in refused.stderr
    answer("extract", "--scales", "2", "--data", "drawn:140", cwd=pretrained)
    assert '"drawn:140"' in remembered.read_text()


def test_a_store_without_its_recipe_is_said(tmp_path, example):
    example.written(tmp_path / "features.zarr")
    done = CliRunner().invoke(group, ["baselines", "--workspace", str(tmp_path)])
    assert isinstance(done.exception, FsrcacheError)
    assert "features.zarr: recipe.side is missing" in done.exception.what


@pytest.mark.parametrize("option", ["--workspace", "--store", "--data"])
def test_an_empty_path_is_none(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(group, ["extract", option, ""])
    assert done.exit_code == 2
    assert "it is empty; name a path" in done.stderr


@pytest.mark.parametrize("variable", [True, False])
def test_the_home_folder_stands_for_a_tilde(tmp_path, monkeypatch, variable):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "fsr").mkdir()
    if variable:
        monkeypatch.setenv("FSRCACHE_WORKSPACE", "~/fsr")
    workspace = [] if variable else ["--workspace", "~/fsr"]
    done = CliRunner().invoke(group, ["train", *workspace])
    assert f"{tmp_path}/fsr/features.zarr" in done.exception.what
    done = CliRunner().invoke(group, ["train", *workspace, "--store", "~/other.zarr"])
    assert f"{tmp_path}/other.zarr" in done.exception.what
    done = CliRunner().invoke(group, ["pretrain", *workspace, "--data", "~/data"])
    assert f"{tmp_path}/data" in done.exception.what
    done = CliRunner().invoke(group, ["train", *workspace, "--store", "~nobody-of-this-name/x"])
    assert done.exit_code == 2
    assert "there is no home folder for '~nobody-of-this-name/x'" in done.stderr
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "fsr"]


@pytest.mark.parametrize("command", ["train", "evaluate", "baselines", "runs", "info", "verify"])
def test_a_workspace_that_is_not_there_is_called_so(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(group, [command, "--workspace", "no pe"])
    assert isinstance(done.exception, RequestError)
    assert done.exception.what == f"There is no workspace at {tmp_path}/no pe."
    assert done.exception.remedy == (
        "Name one that is there, `--workspace DIR`, or make this one from your faces: "
        "`fsrcache pretrain --workspace 'no pe' --data PATH`, then `fsrcache extract --workspace 'no pe'`."
    )
    assert not list(tmp_path.iterdir())  # and leaves nothing behind


def test_extraction_in_a_new_workspace_says_what_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces").mkdir()
    done = CliRunner().invoke(group, ["extract", "--workspace", "new", "--data", "faces"])
    assert done.exception.what == f"There is no workspace at {tmp_path}/new yet."
    assert f"`fsrcache pretrain --workspace new --data {tmp_path}/faces` first" in done.exception.remedy
