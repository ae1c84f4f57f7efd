"""The low-resolution view refuses what is no picture, scale or degradation, with the value."""

import numpy as np
import pytest
import torch

from fsrcache.errors import RequestError
from fsrcache.faces.degrade import Degradation, low_resolution_view

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), np.uint8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"form": "area"}, "'area'"),
        ({"form": None}, "None"),
        ({"form": np.array(["scale", "size"])}, "form"),
        ({"border": "wrap"}, "'wrap'"),
        ({"border": ["mirror"]}, "'mirror'"),
        ({"jpeg": 0}, r"is 0\."),
        ({"jpeg": 101}, r"is 101\."),
        ({"jpeg": 50.5}, r"is 50.5\."),
        ({"jpeg": "90"}, r"is '90'\."),
        ({"jpeg": float("nan")}, r"is nan\."),
        ({"jpeg": True}, r"is True\."),
        ({"jpeg": [90]}, r"is \[90\]\."),
    ],
)
def test_wrong_degradations(wrong, message):
    with pytest.raises(RequestError, match=message):
        Degradation(**wrong)


@pytest.mark.parametrize("scale", [0, -2, 2.5, 2.0, "2", None, True, float("nan"), [2], np.array([2, 3])])
def test_wrong_scales(scale):
    with pytest.raises(RequestError, match="The scale is"):
        low_resolution_view(PICTURES, scale)


@pytest.mark.parametrize(
    "pictures",
    [PICTURES.tolist(), torch.from_numpy(PICTURES), None, PICTURES[0], PICTURES[..., :2], PICTURES.astype(float)],
)
@pytest.mark.parametrize("scale", [1, 2])
def test_wrong_pictures(pictures, scale):
    with pytest.raises(RequestError, match="The pictures are"):
        low_resolution_view(pictures, scale)


@pytest.mark.parametrize("degradation", [None, "size", {"form": "size"}, Degradation])
def test_wrong_kinds_of_degradation(degradation):
    with pytest.raises(RequestError, match="The degradation is"):
        low_resolution_view(PICTURES, 2, degradation)


def test_right_ones():
    for scale in (2, np.int64(2)):
        assert low_resolution_view(PICTURES, scale, Degradation(jpeg=90)).shape == PICTURES.shape
    assert low_resolution_view(PICTURES[..., :1], 3, Degradation(form="size")).shape == (2, 12, 12, 1)


@pytest.mark.parametrize("other", [{"form": "size"}, {"border": "mirror"}, {"jpeg": 30}])
def test_every_option_of_the_degradation_changes_the_view(other):
    view = low_resolution_view(PICTURES, 5, Degradation(**other))
    assert view.shape == PICTURES.shape
    assert (view != low_resolution_view(PICTURES, 5)).any()
