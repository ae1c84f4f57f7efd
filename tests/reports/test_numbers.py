"""Reliability, reject curve, changes and movement, counted by hand."""

import numpy as np
import pytest

from fsrcache.reports.changes import Change, changes
from fsrcache.reports.movement import movement
from fsrcache.reports.reliability import reject_curve, reliability

LABELS = np.array([0, 0, 1, 1])
SURE = np.array([[0.95, 0.05], [0.35, 0.65], [0.45, 0.55], [0.91, 0.09]], np.float32)  # right, wrong, right, wrong


def test_reliability_compares_confidence_and_accuracy():
    confidence, accuracy = reliability(SURE, LABELS)
    assert confidence == pytest.approx([0.55, 0.65, 0.93])
    assert accuracy == pytest.approx([1, 0, 0.5])


def test_a_certain_face_is_in_the_last_bin():
    assert reliability(np.array([[1.0, 0.0]]), np.array([0])).confidence == [1.0]


def test_the_reject_curve_keeps_the_surest_first():
    kept, accuracy = reject_curve(SURE, LABELS)
    assert kept.tolist() == [0.25, 0.5, 0.75, 1]
    assert accuracy == pytest.approx([1, 1 / 2, 1 / 3, 2 / 4])


def test_changes_are_counted_and_the_first_shown():
    better = SURE.copy()
    better[1], better[2] = (0.8, 0.2), (0.6, 0.4)
    changed = changes({"bicubic": {2: SURE}, "FSR-FER": {2: better}}, LABELS, "FSR-FER", 2)
    assert changed.counts == (1, 1, 1, 1)
    assert changed.helped == (Change(1, 0, 1, 0),)
    assert changed.harmed == (Change(2, 1, 1, 0),)


def test_few_of_many_changes_are_shown():
    wrong, right = np.tile([0.0, 1.0], (50, 1)), np.tile([1.0, 0.0], (50, 1))
    changed = changes({"bicubic": {2: wrong}, "FSR-FER": {2: right}}, np.zeros(50, int), "FSR-FER", 2)
    assert changed.counts == (0, 50, 0, 0)
    assert [one.number for one in changed.helped] == list(range(8))


def test_movement_is_shown_where_fine_features_vary_most():
    fine = np.zeros((100, 5), np.float16)
    fine[:, 3] = np.tile([-10, 10], 50)  # by class
    fine[:, 1] = np.repeat([-1, 1], 50)
    moved = movement(fine * 0.2, fine * 0.5, fine, np.arange(100) % 2)
    assert moved.explained == pytest.approx(1)
    assert np.abs(moved.goals[:, 0]) == pytest.approx([10, 10], rel=1e-3)
    assert moved.starts == pytest.approx(0.2 * moved.goals, abs=1e-2)
    assert moved.ends == pytest.approx(0.5 * moved.goals, abs=1e-2)
    assert moved.closer == pytest.approx(1 - (0.5 / 0.8) ** 2, rel=1e-2)


def test_what_leads_away_is_no_gain():
    fine = np.random.default_rng(0).standard_normal((20, 4))
    assert movement(fine + 1, fine + 2, fine, np.zeros(20, int)).closer == pytest.approx(-3)
