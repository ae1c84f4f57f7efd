"""The study of a table: how often each row is trained."""

import json

import pytest
from click.testing import CliRunner

from fsrcache.rows.generated import NAME
from studies import table


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Return a function of options that gives the result, and the names of the answers that the study asked for."""
    asked = []

    def answer(file, words, *, threads, anew):  # noqa: ARG001  # the study's signature
        asked.append(file.stem)
        return {}

    monkeypatch.setattr(table, "_kept_answer", answer)
    run = tmp_path / "fsr/runs/seed-0"
    run.mkdir(parents=True)
    for name in ("table.md", "accuracy.png"):
        (run / name).touch()

    def call(*words):
        asked.clear()
        paths = ("--data", tmp_path, "--workspace", tmp_path / "fsr", "--out", tmp_path / "out", "--title", "t")
        done = CliRunner().invoke(table.main, [str(word) for word in (*paths, *words)])
        return done, [name for name in asked if "-seed-" in name]

    return call


def test_specialists_are_trained_once_whatever_other_rows_are(trained):
    words = ("--rows", "specialists,fine-tuned", "--seeds", 3, "--seeds-of", "fine-tuned", 2, "--seeds-of", NAME, 1)
    done, names = trained(*words)
    assert done.exit_code == 0, done.output
    assert sorted(names) == ["fine-tuned-seed-0", "fine-tuned-seed-1", "specialists-seed-0", "train-seed-0"]
    _, names = trained("--rows", "specialists", "--seeds", 1, "--seeds-of", "specialists", 2)
    assert sorted(names) == ["specialists-seed-0", "specialists-seed-1", "train-seed-0"]


@pytest.mark.parametrize("row", ["fine-tunde", "specialists"])
def test_seeds_of_a_row_that_is_not_trained_are_refused(row, trained, tmp_path):
    done, names = trained("--rows", "fine-tuned", "--seeds-of", row, 2)
    assert done.exit_code == 2
    assert f"--seeds-of {row}: no such row is trained; those are {NAME}, fine-tuned." in done.output
    assert not names
    assert not (tmp_path / "out").exists()


def test_seeds_of_a_row_that_none_changes_are_refused(trained):
    done, names = trained("--rows", "ridge", "--seeds-of", "ridge", 2)
    assert done.exit_code == 2
    assert "--seeds-of ridge: it is solved in closed form, and no seed changes it." in " ".join(done.output.split())
    assert not names


def test_the_default_is_no_error_where_specialists_are_not_trained(trained, tmp_path):
    done, names = trained("--rows", "none", "--seeds", 2)
    assert done.exit_code == 0, done.output
    assert names == ["train-seed-0", "train-seed-1"]
    commands = [one["command"] for one in json.loads((tmp_path / "out/t.json").read_text())["commands"]]
    assert "--name seed-0 --name seed-1" in commands[-1]


def test_trainings_of_other_features_are_not_kept(trained, tmp_path):
    answers = tmp_path / "fsr/answers"
    answers.mkdir(parents=True)
    pretrain = ["pretrain", "--data", "faces", "--workspace", "fsr", "--json"]
    extract = ["extract", "--scales", "1..8", "--views", "3", "--workspace", "fsr", "--json"]
    for name, words in {"pretrain": pretrain, "extract": extract, "train-seed-0": ["train"]}.items():
        (answers / f"{name}.json").write_text(json.dumps({"words": words, "answer": {}}))
    words = ("--rows", "none", "--seeds", 1)
    done, names = trained(*words)
    assert done.exit_code == 2
    assert "train-seed-0 in" in done.output
    assert "of `fsrcache extract --scales 1..8`." in " ".join(done.output.split())
    assert not names
    assert trained(*words, "--views", 3)[0].exit_code == 0
    assert trained(*words, "--views", 3, "--side", 64)[0].exit_code == 2
    (answers / "train-seed-0.json").unlink()
    assert trained(*words)[0].exit_code == 0
