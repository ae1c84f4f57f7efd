"""``report`` as a command: on a workspace where evaluate was never run, and on one that has lost its faces."""

import json
import re
import shutil

import pytest

import fsrcache
from fsrcache.cli.main import main
from fsrcache.store.reader import FeatureStore


@pytest.fixture
def report(trained, tmp_path, capsys):
    """Return a function that runs the command on a copy of a trained workspace: code, output, errors; and the copy."""
    workspace = tmp_path / "fsr"
    shutil.copytree(trained / "fsr", workspace)

    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main(["report", "--workspace", str(workspace), "--device", "cpu", *map(str, words)])
        return stop.value.code, *capsys.readouterr()

    return run, workspace


@pytest.mark.slow
def test_a_report_computes_what_it_needs(report, tmp_path):
    run, workspace = report
    path = tmp_path / "new" / "<a>.html"
    code, out, _ = run("--out", path, "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["path"] == str(path)
    assert answer["bytes"] == path.stat().st_size < 10_000_000
    assert answer["sections"][:2] == ["table", "accuracy"]
    commands = re.findall(r"^(?:<pre>)?fsrcache (\w+) (.*)$", path.read_text(), re.MULTILINE)
    assert [name for name, _ in commands] == ["pretrain", "extract", "train", "evaluate", "report"]
    assert str(workspace) not in str(commands)
    assert {"faces", "movement", "convergence", "calibration", "changes", "cost", "commands"} <= set(answer["sections"])
    code, _, errors = run("--out", path)
    assert code == 0
    assert "predicting" not in errors  # what was computed is kept


@pytest.mark.slow
def test_without_the_faces_there_is_a_note_and_a_report(report, tmp_path):
    run, workspace = report
    record = json.loads((workspace / "data.json").read_text())
    (workspace / "data.json").write_text(json.dumps({**record, "path": str(tmp_path / "moved")}))
    code, out, errors = run("--out", tmp_path / "report.html", "--json")
    assert code == 0
    assert "faces" not in json.loads(out)["sections"]
    assert "No faces: " in errors


@pytest.mark.slow
def test_without_a_run_the_report_is_of_the_table(report, tmp_path):
    run, workspace = report
    shutil.rmtree(workspace / "runs")
    code, out, _ = run("--out", tmp_path / "report.html", "--json")
    assert code == 0
    assert {"table", "faces"} <= set(json.loads(out)["sections"])


def test_runs_of_other_names_are_named(report, tmp_path):
    run, workspace = report
    (workspace / "runs/default").rename(workspace / "runs/mine")
    code, _, errors = run("--out", tmp_path / "report.html")
    assert code == 2
    assert "There is no run default in" in errors
    assert "--name mine" in errors
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_runs_that_nobody_asked_for_are_those_of_another_weighting(report, tmp_path):
    run, workspace = report
    runs, path = workspace / "runs", tmp_path / "report.html"
    shutil.copytree(runs / "default", runs / "default copy")
    (runs / "broken").mkdir()
    (runs / "broken/generator.safetensors").write_bytes(b"no weights")
    for name, options in {"again": {"seed": 1}, "equal": {"settings": ["reweight=none"]}}.items():
        fsrcache.train(workspace, name=name, steps=2, device="cpu", **options)
    code, _, errors = run("--out", path)
    assert code == 0
    assert "The run default copy is left out: 'default copy' is no name for a run." in errors
    assert "The run broken is left out: " in errors
    commands = re.findall(r"^(?:<pre>)?fsrcache (\w+) (.*)$", path.read_text(), re.MULTILINE)
    trained = [words.split()[1] for name, words in commands if name == "train"]
    assert trained == ["default", "equal"]
    assert [words.replace("</pre>", "") for name, words in commands if name in ("evaluate", "report")] == [
        "--name default --split test --heads frozen", "--name default --split test",
    ]  # fmt: skip


@pytest.mark.slow
def test_re_fitted_heads_are_shown_where_they_are_kept(report, tmp_path):
    run, workspace = report
    path = tmp_path / "report.html"
    run("--out", path)
    assert "refit-linear" not in path.read_text()
    with pytest.raises(SystemExit):
        main(["evaluate", "--workspace", str(workspace), "--device", "cpu", "--heads", "refit-linear"])
    run("--out", path)
    assert "refit-linear" in path.read_text()


@pytest.mark.slow
def test_wrong_requests_are_refused(report, tmp_path, monkeypatch):
    run, _ = report
    assert run("--name", "../up", "--out", tmp_path / "a.html")[0] == 2
    assert run("--name", "other", "--out", tmp_path / "a.html")[0] == 2
    assert run("--split", "val", "--device", "none", "--out", tmp_path / "a.html")[0] == 2
    monkeypatch.setattr(FeatureStore, "splits", ("train", "test"))
    code, _, errors = run("--split", "val", "--out", tmp_path / "a.html")
    assert (code, "has no split 'val'; it has train, test" in errors) == (2, True)
    assert not (tmp_path / "a.html").exists()


@pytest.mark.slow
def test_a_row_of_pictures_shows_its_faces(report, tmp_path):
    run, workspace = report
    fsrcache.degrade(workspace, out=tmp_path / "up", splits=["test"], scales=[2])
    with pytest.raises(SystemExit) as stop:  # the small ones, which are resized
        main(["evaluate", "--workspace", str(workspace), "--heads", "frozen", "--pictures", "up", str(tmp_path / "up")])
    assert stop.value.code == 0
    path = tmp_path / "report.html"
    assert run("--out", path)[0] == 0
    assert "at x2, enlarged by up" in path.read_text()
    assert "\n# row up, by evaluate --pictures up DIR: " in path.read_text()
    shutil.rmtree(tmp_path / "up")
    code, _, errors = run("--out", path)
    assert code == 0
    assert "No faces of up: " in errors
    assert "at x2, enlarged by up" not in path.read_text()


@pytest.mark.slow
def test_super_resolvers_show_what_they_make(report, tmp_path):
    run, workspace = report
    with pytest.raises(SystemExit) as stop:
        main(["baselines", "--workspace", str(workspace), "--rows", "rcan", "--set", "steps=1", "--device", "cpu"])
    assert stop.value.code == 0
    path = tmp_path / "report.html"
    assert run("--out", path)[0] == 0
    assert "at x2, enlarged by rcan" in path.read_text()


@pytest.mark.slow
def test_rivals_are_trained_again_by_their_settings(report, tmp_path):
    run, workspace = report
    with pytest.raises(SystemExit) as stop:
        main(["baselines", "--workspace", str(workspace), "--rows", "ridge", "--set", "penalties=0.5"])
    assert stop.value.code == 0
    assert run("--out", tmp_path / "report.html")[0] == 0
    page = (tmp_path / "report.html").read_text()
    assert "fsrcache baselines --rows ridge --seed 0 --set penalties=0.5\n" in page
