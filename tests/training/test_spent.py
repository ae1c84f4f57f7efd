"""The time of a training is summed over its calls, and unknown where a part of it is."""

import json
import time

import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.training.run.checkpoint import CHECKPOINT, save_checkpoint
from fsrcache.training.run.due import CheckpointDue
from fsrcache.training.run.restart import discard_runs
from fsrcache.training.run.spent import TIME, Spent, Stopwatch, read_spent, total_spent, write_spent


def train(folder, seconds):
    """Spend some seconds, and write a checkpoint after them."""
    due = CheckpointDue(None, folder)
    time.sleep(seconds)
    with due:
        save_checkpoint(folder / CHECKPOINT, {}, {}, modules={}, optimisers={})


def test_calls_are_summed(tmp_path):
    train(tmp_path, 0.1)
    first = read_spent(tmp_path)
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
    assert read_spent(tmp_path).cpu_seconds >= 0.05


def test_a_checkpoint_that_fails_keeps_no_time(tmp_path):
    due = CheckpointDue(None, tmp_path)
    with pytest.raises(ValueError, match="full"), due:
        raise ValueError("full")
    assert read_spent(tmp_path) is None


def test_a_training_of_unknown_time_stays_so(tmp_path):
    train(tmp_path, 0)
    (tmp_path / TIME).unlink()
    train(tmp_path, 0)
    assert read_spent(tmp_path) is None


def test_a_training_begun_anew_has_new_time(tmp_path):
    train(tmp_path, 0)
    write_spent(tmp_path, Spent(1e6, 1e6))
    discard_runs(tmp_path)
    assert read_spent(tmp_path) is None
    train(tmp_path, 0)
    assert read_spent(tmp_path).seconds < 1e6


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
