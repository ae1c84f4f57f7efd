"""Calibration: the error by hand, the temperature that it was sharpened by, and what a temperature leaves alone."""

import numpy as np
import pytest

from fsrcache.evaluation.calibration import at_bound, calibration_error, fit_temperature, with_temperature


def test_the_error_is_the_mean_gap_of_the_bins():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.45, 0.55]], np.float32)
    labels = np.array([0, 1, 1, 1])  # right half of the time at 0.9, and always at 0.8 and 0.55
    expected = (2 * 0.4 + 0.2 + 0.45) / 4
    assert calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-6)
    one_bin = abs(0.75 - (0.9 + 0.9 + 0.8 + 0.55) / 4)
    assert calibration_error(probabilities, labels, bins=1) == pytest.approx(one_bin, abs=1e-6)


def test_a_sure_face_is_in_the_last_bin():
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([1])) == 1


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_temperature_undoes_a_sharpening(temperature):
    random = np.random.default_rng(0)
    logits = 2 * random.standard_normal((20_000, 5))
    fair = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (fair.cumsum(1) < random.random((len(fair), 1))).sum(1).clip(max=4)
    sharpened = with_temperature(fair, 1 / temperature)
    assert fit_temperature(sharpened, labels) == pytest.approx(temperature, rel=0.05)
    if temperature > 1:
        assert calibration_error(with_temperature(sharpened, temperature), labels) < 0.02
        assert calibration_error(sharpened, labels) > 0.1


def test_a_temperature_of_a_row_of_its_own_keeps_the_order():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [1.0, 0.0, 0.0]])
    cooled = with_temperature(probabilities, np.array([1.0, 2.0, 0.5]))
    np.testing.assert_allclose(cooled[0], probabilities[0])
    roots = np.sqrt(probabilities[1])
    np.testing.assert_allclose(cooled[1], roots / roots.sum())
    assert np.isfinite(cooled).all()


def test_labels_that_are_always_right_or_wrong_end_at_the_bounds():
    probabilities = np.array([[0.9, 0.1]] * 3)
    low, high = (fit_temperature(probabilities, np.full(3, label)) for label in (0, 1))
    assert (low, high) == (pytest.approx(1 / 20, rel=1e-6), pytest.approx(20, rel=1e-6))
    assert at_bound(low)
    assert at_bound(high)
    assert not at_bound(fit_temperature(probabilities, np.array([0, 0, 1])))
