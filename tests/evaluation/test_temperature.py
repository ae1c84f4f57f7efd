"""Temperatures are fitted on other faces than those that are scored, and on no more than are needed."""

import numpy as np
import pytest

from fsrcache.evaluation.calibration import calibration_error, fit_temperature, with_temperature
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


@pytest.mark.parametrize(("count", "used"), [(1, 1), (2000, 2000), (2001, 1001), (4001, 1334)])
def test_a_fit_has_two_thousand_faces_at_most(count, used):
    rows = np.arange(count)[fit_rows(count)]
    assert len(rows) == used
    assert rows[0] == 0
    assert count - rows[-1] <= -(-count // used)
    one = calibrate(*faces(30, 0), fit=(probabilities := faces(count, 1)))
    assert one.temperature == fit_temperature(*(values[rows] for values in probabilities))
