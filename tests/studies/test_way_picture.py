"""The picture of the way: which face is chosen, and that every part is drawn."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fsrcache import Workspace
from fsrcache.errors import RequestError
from fsrcache.evaluation.style import write_figure
from fsrcache.faces.expressions import EXPRESSIONS
from fsrcache.verbs.data import read_faces
from fsrcache.workspace import Data
from studies import way_picture

K = len(EXPRESSIONS)
SIDE = 16


class Answers:
    """A model that labels one test face alone rightly, beside an extractor that labels every second one rightly."""

    classes = EXPRESSIONS
    extractor = SimpleNamespace(side=SIDE)

    def __init__(self, truth, chosen):
        self.truth = truth
        self.right = np.arange(len(truth)) == chosen

    def __call__(self, small):
        assert {one.shape for one in small} == {(12, 12, 3)}
        labels = np.where(self.right, self.truth, (self.truth + 1) % K)
        return SimpleNamespace(
            labels=[EXPRESSIONS[label] for label in labels],
            features=np.zeros((len(small), 10), np.float32),
            probabilities=np.eye(K, dtype=np.float32)[labels],
        )

    def features_of(self, _, pictures):
        assert pictures.shape[1:] == (SIDE, SIDE, 3)
        labels = self.truth + np.arange(len(self.truth)) % 2
        return SimpleNamespace(
            features=np.ones((len(pictures), 10), np.float32), probabilities=np.eye(K)[labels[: len(pictures)] % K]
        )


@pytest.fixture
def faces(tmp_path):
    Workspace(tmp_path).remember(Data("drawn:140"))
    return read_faces(Data("drawn:140"), on_progress=lambda _: None, side=SIDE)[0]


def test_the_face_is_one_that_is_mended(faces, tmp_path, monkeypatch):
    tests = np.flatnonzero(faces.splits == 2)
    for chosen in (2, 3):  # the extractor is right on the first of them
        model = Answers(faces.labels[tests].astype(int), chosen)
        monkeypatch.setattr(way_picture, "features_of", model.features_of)
        if chosen == 2:
            with pytest.raises(RequestError, match="mends no face"):
                way_picture.first_mended(model, Workspace(tmp_path), 12)
            continue
        way = way_picture.first_mended(model, Workspace(tmp_path), 12)
        assert way.label == EXPRESSIONS[faces.labels[tests[chosen]]]
        np.testing.assert_array_equal(way.face, faces.batch(tests[chosen : chosen + 1])[0])


def test_features_and_bars_are_in_the_picture(tmp_path):
    flat = np.full((24, 24, 3), 128, np.uint8)
    ones = np.ones(10, np.float32)
    even = np.full(K, 1 / K, np.float32)
    way = way_picture.Way(flat, flat[:12, :12], EXPRESSIONS[0], ones, ones, ones, even, even)
    drawn = []
    for one in (
        way,
        replace(way, resolved=-ones),
        replace(way, probabilities=even / 2),
        replace(way, small=flat[:8, :8]),
    ):
        write_figure(way_picture.draw(one, EXPRESSIONS), tmp_path / "way.png", dpi=50)
        drawn.append(np.asarray(Image.open(tmp_path / "way.png").convert("RGB")).tobytes())
    assert len(set(drawn)) == 4
