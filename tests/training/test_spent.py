"""The time of a training is summed over its calls, and unknown where a part of it is."""

import json
import time

import pytest

import fsrcache
from fsrcache.errors import FsrcacheError
from fsrcache.training.run.checkpoint import CHECKPOINT, Checkpoints
from fsrcache.training.run.due import CheckpointDue
from fsrcache.training.run.restart import discard_runs
from fsrcache.training.run.spent import (
    SO_FAR,
    TIME,
    Spent,
    Stopwatch,
    keep_with_weights,
    read_spent,
    total_spent,
    write_spent,
)


def train(folder, seconds, *, to_its_end=True):
    """Spend some seconds, write a checkpoint after them, and have the time be that of the weights at the end."""
    due = CheckpointDue(None, folder)
    time.sleep(seconds)
    with due:
        Checkpoints(folder / CHECKPOINT, {}, modules={}, optimisers={}).save({})
    if to_its_end:
        keep_with_weights(folder)


def test_calls_are_summed(tmp_path):
    train(tmp_path, 0.1, to_its_end=False)
    assert read_spent(tmp_path) is None  # there are no weights
    first = Spent(**json.loads((tmp_path / SO_FAR).read_text()))
    train(tmp_path, 0.2)
    second = read_spent(tmp_path)
    assert 0.1 <= first.seconds < first.seconds + 0.2 <= second.seconds
    assert 0 <= first.cpu_seconds <= second.cpu_seconds < 0.2  # nothing is computed while it sleeps
    Stopwatch(tmp_path)  # a call with nothing to do
    assert read_spent(tmp_path) == second


def test_what_computes_takes_the_processor(tmp_path):
    watch, began = Stopwatch(tmp_path), time.process_time()
    while time.process_time() < began + 0.05:
        pass
    watch.keep()
    keep_with_weights(tmp_path)
    assert read_spent(tmp_path).cpu_seconds >= 0.05


def test_a_checkpoint_that_fails_keeps_no_time(tmp_path):
    due = CheckpointDue(None, tmp_path)
    with pytest.raises(ValueError, match="full"), due:
        raise ValueError("full")
    keep_with_weights(tmp_path)
    assert read_spent(tmp_path) is None


def test_a_training_of_unknown_time_stays_so(tmp_path):
    train(tmp_path, 0)
    discard_runs(tmp_path)
    train(tmp_path, 0, to_its_end=False)
    (tmp_path / SO_FAR).unlink()
    train(tmp_path, 0)
    assert read_spent(tmp_path) is None


def test_a_training_begun_anew_has_new_time(tmp_path):
    train(tmp_path, 0)
    write_spent(tmp_path, Spent(1e6, 1e6))
    for _ in range(2):  # also where the first is interrupted
        discard_runs(tmp_path)
        train(tmp_path, 0, to_its_end=False)
        assert read_spent(tmp_path) == Spent(1e6, 1e6)  # the weights are still those of the run before
    train(tmp_path, 0)
    assert read_spent(tmp_path).seconds < 1e6


def test_an_unfinished_restart_leaves_the_time_of_the_weights(workspace, stop_after, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.due._CHECKPOINT_SECONDS", 0.0)
    folder = workspace.run("default")
    options = {"preset": "best", "settings": ["generator.width=8", "generator.rank=0", "batch=16"], "device": "cpu"}
    fsrcache.train(workspace, steps=4, **options)
    before = (folder / TIME).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        fsrcache.train(workspace, steps=40, restart=True, on_progress=stop_after("training", 12), **options)
    assert (folder / SO_FAR).exists()
    assert (folder / TIME).read_bytes() == before
    fsrcache.train(workspace, steps=40, **options)
    assert (folder / TIME).read_bytes() != before
    assert not (folder / SO_FAR).exists()


def test_several_trainings_are_one_sum_or_none(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    assert total_spent([]) is None
    write_spent(folders[0], Spent(1.0, 2.0))
    assert total_spent(folders) is None
    write_spent(folders[1], Spent(3.0, 4.0))
    assert total_spent(folders) == (4.0, 6.0)


@pytest.mark.parametrize("content", ["", "{}x", json.dumps({"seconds": -1.0, "cpu_seconds": 0.0})])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / TIME).write_text(content)
    with pytest.raises(FsrcacheError, match=TIME):
        read_spent(tmp_path)
