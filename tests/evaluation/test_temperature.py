"""Temperatures are fitted on other faces than those that are scored, and on no more than are needed."""

from types import SimpleNamespace

import numpy as np
import pytest

from fsrcache.evaluation.calibration import calibration_error, fit_temperature, with_temperature
from fsrcache.evaluation.splits import HELD_OUT
from fsrcache.evaluation.temperature import calibrate, fit_rows


def faces(count, seed):
    """Return probabilities [count, 4] that are too sure of labels, and these."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    logits = random.standard_normal((count, 4)) + 1.5 * np.eye(4)[labels]
    return with_temperature(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), 0.3), labels


def test_the_temperature_is_that_of_the_other_faces():
    (scored, labels), others = faces(600, 0), faces(500, 1)
    one = calibrate(scored, labels, fit=others)
    assert one.temperature == fit_temperature(*others) != fit_temperature(scored, labels)
    assert one.error == calibration_error(scored, labels)
    assert one.error_after == calibration_error(with_temperature(scored, one.temperature), labels)
    assert one.error_after < one.error / 2


def test_without_other_faces_there_is_the_error_alone():
    one = calibrate(*faces(50, 0), fit=None)
    assert one.error > 0
    assert (one.error_after, one.temperature) == (None, None)


class Store:
    """A store of names of pictures by split; every tenth of train is held out."""

    def __init__(self, extra=(), **splits):
        self.numbers, self.splits = splits, tuple(splits)
        self.spec = SimpleNamespace(extra=extra)

    def hashes(self, split):
        numbers = np.array(self.numbers[split], np.uint64)
        return np.stack([numbers, numbers], 1).view(np.uint8)

    def held_out(self):
        return np.arange(len(self.numbers["train"])) % 10 == 0


@pytest.mark.parametrize(("count", "used"), [(1, 1), (2000, 2000), (2001, 1001), (4001, 1334)])
def test_a_fit_has_two_thousand_faces_at_most(count, used):
    rows = fit_rows(Store(val=range(count)), "val")
    assert len(rows) == used
    assert rows[0] == 0
    assert count - rows[-1] <= -(-count // used)


def test_no_picture_of_a_fit_was_trained_on_or_is_scored():
    store = Store(train=range(100), val=[10, 11, 200, 201, 300], test=[201], unlabelled=[300], extra=("unlabelled",))
    assert fit_rows(store, "val", scored="test").tolist() == [0, 2]  # 10 is held out
    assert fit_rows(store, "val").tolist() == [0, 2, 3]
    assert fit_rows(store, HELD_OUT, scored="val").tolist() == [0, *range(2, 10)]
    assert fit_rows(Store(train=range(20), val=[1, 2]), "val").tolist() == []
    one = calibrate(*faces(50, 0), fit=tuple(values[:0] for values in faces(5, 1)))
    assert one.temperature is None
