"""``fsrcache runs``: every run of a workspace, finished or not, with the right numbers."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

import fsrcache
from fsrcache.errors import RequestError
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import ExtractorConfig
from fsrcache.training.run.lock import run_lock
from fsrcache.verbs.train import train
from fsrcache.workspace import Workspace
from studies.program import run

SETTINGS = ("generator.width=8", "generator.rank=0", "batch=16")
SHAPE = ExtractorConfig(side=16, stages=((4,), (6,)), spd_side=4, hidden=8, embedding=4)


class StopError(Exception):
    """Raised by a callback in place of Ctrl-C."""


@pytest.fixture
def workspace(tmp_path):
    """A workspace of an untrained extractor and its store."""
    faces = usable_faces(list_faces(Path("drawn:70")), side=16)
    workspace = Workspace(tmp_path / "fsr")
    save_covpool(workspace.extractor, CovPoolFER(SHAPE, faces.classes), training={})
    source = face_source(faces, workspace.extractor, device=torch.device("cpu"))
    extract_features(source, store=workspace.store, scales=[2], data="drawn faces")
    return workspace


def trained(workspace, name, **options):
    return train(workspace, name=name, preset="best", settings=SETTINGS, device="cpu", **options)


def stop_after(steps):
    def stop(progress):
        if progress.phase == "training" and progress.done >= steps:
            raise StopError

    return stop


def test_finished_and_interrupted_runs(workspace, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.due._CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("fsrcache.training.run.loop.score", lambda *_: {"1": 60.0, "2": 35.0})
    trained(workspace, "done", steps=4, seed=3)
    with pytest.raises(StopError):
        trained(workspace, "stopped", steps=40, on_progress=stop_after(12))
    ((finished, stopped),) = (fsrcache.runs(workspace),)
    assert (finished.name, finished.state, finished.seed, finished.step, finished.steps) == (
        "done",
        "finished",
        3,
        4,
        4,
    )
    assert (finished.preset, finished.settings) == (
        "best", ("generator.width=8", "generator.rank=0", "steps=4", "batch=16"),
    )  # fmt: skip
    assert finished.held_out_accuracy == 47.5
    assert (stopped.name, stopped.state, stopped.seed, stopped.steps) == ("stopped", "interrupted", 0, 40)
    assert stopped.step == 11
    assert 0 <= stopped.age < 60
    with run_lock(workspace.run("stopped")):
        assert [one.state for one in fsrcache.runs(workspace)] == ["finished", "under way"]
    (workspace.run("done") / "generator.safetensors").unlink()
    assert fsrcache.runs(workspace)[0].state == "interrupted"  # which writes it again


def test_what_there_is_without_a_checkpoint(workspace):
    trained(workspace, "bare", steps=4, seed=5)
    for file in workspace.run("bare").glob("checkpoint*"):
        file.unlink()
    with run_lock(workspace.run("fresh")):
        bare, fresh = fsrcache.runs(workspace)
    assert (bare.state, bare.seed, bare.step, bare.steps) == ("finished", 5, 4, 4)
    assert bare.held_out_accuracy is None
    assert (fresh.state, fresh.preset, fresh.steps) == ("under way", "", None)
    assert [one.name for one in fsrcache.runs(workspace)] == ["bare"]  # nothing to go on from
    (workspace.run("bare") / "generator.safetensors").write_bytes(b"x" * 99)
    assert fsrcache.runs(workspace)[0].state == "damaged"


def test_the_command_says_it_in_lines_or_json(workspace):
    trained(workspace, "s0", steps=4)
    old = time.time() - 3 * 3600 - 60
    for file in workspace.run("s0").iterdir():
        os.utime(file, (old, old))
    text = run("runs", "--workspace", workspace.folder).stdout
    head, line = text.splitlines()
    assert head.split() == ["run", "state", "steps", "held-out", "%", "seed", "age", "preset"]
    accuracy = fsrcache.runs(workspace)[0].held_out_accuracy
    assert " ".join(line.split()) == (
        f"s0 finished 4 of 4 {accuracy:.1f} 0 3 h best generator.width=8 generator.rank=0 steps=4 batch=16"
    )
    (document,) = run("runs", "--workspace", workspace.folder, "--json").answer["runs"]
    summary = json.loads(json.dumps(asdict(fsrcache.runs(workspace)[0])))
    assert document | {"age": 0} == summary | {"age": 0}
    assert document["age"] == pytest.approx(3 * 3600 + 60, abs=60)


def test_scales_and_extra_splits_that_differ_are_shown(workspace):
    faces = usable_faces(list_faces(Path("drawn:70")), side=16)
    source = face_source(faces, workspace.extractor, device=torch.device("cpu"), views=1)
    extract_features(source, store=workspace.store, scales=[2, 4], data="drawn faces")
    trained(workspace, "all", steps=2)
    trained(workspace, "some", steps=2, scales=[4], extra=[])
    lines = run("runs", "--workspace", workspace.folder).stdout.splitlines()
    assert [line.split("batch=16")[1] for line in lines[1:]] == [" --extra view-1", " --scales 4"]
    expected = [((), ("view-1",)), ((1, 4), ())]
    assert [(one.scales, one.extra) for one in fsrcache.runs(workspace)] == expected
    for file in (workspace.folder / "runs").glob("*/checkpoint*"):
        file.unlink()
    assert [(one.scales, one.extra) for one in fsrcache.runs(workspace)] == expected  # by the generators


@pytest.mark.slow
def test_a_run_that_went_on_under_other_threads_is_said(workspace, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.due._CHECKPOINT_SECONDS", 0.0)
    threads = torch.get_num_threads()
    with pytest.raises(StopError):
        trained(workspace, "moved", steps=40, on_progress=stop_after(12))
    assert trained(workspace, "moved", steps=40, threads=threads + 1).earlier_threads == (threads,)
    assert torch.get_num_threads() == threads
    assert fsrcache.runs(workspace)[0].earlier_threads == (threads,)
    assert "(went on under another number of threads)" in run("runs", "--workspace", workspace.folder).stdout
    for file in workspace.run("moved").glob("checkpoint*"):
        file.unlink()
    assert fsrcache.runs(workspace)[0].earlier_threads == (threads,)


def test_no_runs_and_no_workspace(workspace, tmp_path):
    assert fsrcache.runs(workspace) == ()
    assert "There are no runs in" in run("runs", "--workspace", workspace.folder).stdout
    (workspace.folder / "runs").mkdir()
    (workspace.folder / "runs/notes.txt").write_text("mine")
    for name in ("notes", "my run/checkpoint.safetensors", ".ipynb_checkpoints/generator.safetensors"):
        (workspace.folder / "runs" / name).mkdir(parents=True)
    assert fsrcache.runs(workspace) == ()
    with pytest.raises(RequestError, match=r"There is no workspace at .*nowhere"):
        fsrcache.runs(tmp_path / "nowhere")
