"""Drawn faces: the same for a seed anywhere, and moved by their action units where a face would be."""

import subprocess
import sys

import numpy as np
import pytest

from fsrcache.faces.action_units import PROTOTYPES, UNITS, sample_units
from fsrcache.faces.drawn import draw_face, drawn_expression
from fsrcache.faces.expressions import EXPRESSIONS


def test_a_face_depends_on_seed_and_index_alone():
    program = "import sys; from fsrcache.faces.drawn import draw_face as f; sys.stdout.buffer.write(f(3, 11).tobytes())"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    draw_face(3, 10)
    face = draw_face(3, 11)
    assert (face.shape, face.dtype) == ((100, 100, 3), np.uint8)
    assert face.tobytes() == other
    assert not np.array_equal(face, draw_face(4, 11))
    assert not np.array_equal(face, draw_face(3, 12))


def test_every_seven_hold_each_expression_once():
    for seed in (0, 5):
        assert sorted(drawn_expression(seed, i) for i in range(14, 21)) == list(range(7))


def test_units_follow_the_prototype():
    for expression in EXPRESSIONS:
        strengths = [sample_units(expression, np.random.default_rng(i), intensity=1.0) for i in range(300)]
        assert all(0 <= value <= 1 for units in strengths for value in units.values())
        means = {unit: np.mean([units[unit] for units in strengths]) for unit in UNITS}
        for unit, strength in PROTOTYPES[expression].items():
            if (expression, unit) not in {("happiness", 25), ("anger", 23)}:  # not always shown
                assert means[unit] == pytest.approx(min(0.9, 0.875 * strength), abs=0.08), (expression, unit)
        others = [means[unit] for unit in UNITS if unit not in PROTOTYPES[expression] and unit not in (10, 25)]
        assert max(others) < 0.1


# Where in the picture (rows, columns) an expression must change most, for faces held straight.
UPPER, LOWER = slice(22, 50), slice(52, 90)


def change(expression, rows, intensity=1.0):
    """Return how much an expression changes some rows of a picture, against the neutral face of the same person."""
    total = []
    for index in range(40):
        neutral = draw_face(9, index, expression="neutral", intensity=0.0).astype(float)
        shown = draw_face(9, index, expression=expression, intensity=intensity).astype(float)
        total.append(np.abs(shown - neutral)[rows, 20:80].mean())
    return np.mean(total)


def test_expressions_move_what_they_should():
    assert change("surprise", LOWER) > 2 * change("surprise", slice(0, 15))
    assert change("happiness", LOWER) > change("happiness", UPPER)
    assert change("sadness", LOWER) > change("sadness", slice(0, 15)) * 2
    for expression in EXPRESSIONS[:6]:
        whole = change(expression, slice(0, 100))
        assert whole > 2 * change(expression, slice(0, 100), intensity=0.0) + 0.3, expression
        assert whole < 20, expression  # the person, the pose and the light stay


def test_pictures_are_exposed():
    faces = np.stack([draw_face(2, i) for i in range(70)]).astype(float)
    assert 70 < faces.mean() < 170
    assert (faces.reshape(70, -1).std(axis=1) > 15).all()
    assert ((faces == 0) | (faces == 255)).mean() < 0.1
    assert len({face.tobytes() for face in faces}) == 70


def test_an_unknown_expression_is_refused():
    with pytest.raises(KeyError):
        draw_face(0, 0, expression="boredom")
