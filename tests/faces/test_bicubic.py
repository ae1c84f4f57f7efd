"""imresize against MATLAB's own pixels, our golden file, a loop written from the definition, and its torch form."""

from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fsrcache.faces.bicubic as bicubic
from fsrcache import imresize
from fsrcache.errors import RequestError
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.bicubic_torch import imresize_tensor

PAIRS = Path(__file__).parents[3] / "shared/data/set5_matlab_bicubic"
GOLDEN = Path(__file__).parents[1] / "golden/imresize.npz"


@pytest.mark.skipif(not PAIRS.is_dir(), reason="MATLAB's pairs are not part of the repository")
def test_every_pixel_is_matlabs():
    pairs = sorted(PAIRS.glob("hr/*.png"))
    assert len(pairs) >= 10
    for pair in pairs:
        scale = int(pair.stem.rpartition("_x")[2])
        expected = np.asarray(Image.open(PAIRS / "lr" / pair.name))
        assert np.array_equal(imresize(np.asarray(Image.open(pair)), scale=1 / scale), expected), pair.name


def test_golden_file():
    golden = np.load(GOLDEN)
    forms = [name for name in golden.files if name != "face"]
    assert len(forms) == 17
    for name in forms:
        kind, value, border = name.split()
        if kind == "scale":
            numerator, _, denominator = value.partition("/")
            form = {"scale": float(numerator) / float(denominator or 1)}
        else:
            form = {"size": tuple(map(int, value.split("x")))}
        assert np.array_equal(imresize(golden["face"], border=border, **form), golden[name]), name


def by_definition(picture, scale, size, border):
    """Resize a grey picture, one tap at a time."""
    scales = (scale, scale) if scale else (size[0] / picture.shape[0], size[1] / picture.shape[1])
    for axis in (0, 1) if scales[0] <= scales[1] else (1, 0):
        lines = picture.astype(float) if axis == 0 else picture.T.astype(float)
        n_in, factor = lines.shape[0], scales[axis]
        n_out = ceil(factor * n_in) if scale else size[axis]
        out = np.zeros((n_out, lines.shape[1]))
        for i in range(1, n_out + 1):
            centre = i / factor + 0.5 * (1 - 1 / factor)
            shrink = min(1.0, factor)
            total, value = 0.0, np.zeros(lines.shape[1])
            for tap in range(floor(centre - 2 / shrink), floor(centre + 2 / shrink) + 2):
                x = abs(shrink * (centre - tap))
                weight = (
                    1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0
                )
                place = tap - 1
                if border == "mirror":
                    place = [*range(n_in), *reversed(range(n_in))][place % (2 * n_in)]
                value += weight * lines[min(max(place, 0), n_in - 1)]
                total += weight
            out[i - 1] = np.floor(value / total + 0.5 + 1e-9).clip(0, 255)
        picture = out if axis == 0 else out.T
    return picture.astype(np.uint8)


@given(
    shape=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    scale=st.one_of(st.none(), st.integers(1, 16).map(lambda s: 1 / s), st.floats(0.05, 4.0)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    border=st.sampled_from(["replicate", "mirror"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_equals_the_definition(shape, scale, size, border, seed):
    picture = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    form = {"scale": scale} if scale else {"size": size}
    expected = by_definition(picture, scale, size, border)
    result = imresize(picture, border=border, **form)
    assert result.shape == expected.shape
    assert np.array_equal(result, expected)
    colour = np.stack([picture, picture[::-1], 255 - picture], axis=2)
    assert np.array_equal(imresize(colour, border=border, **form)[..., 0], expected)


def test_batch_and_torch_form_are_the_same_pixels():
    pictures = np.random.default_rng(0).integers(0, 256, (5, 48, 37, 3), np.uint8)
    for form in ({"scale": 1 / 3}, {"scale": 1 / 7, "border": "mirror"}, {"size": (100, 20)}):
        expected = np.stack([imresize(picture, **form) for picture in pictures])
        assert np.array_equal(imresize_batch(pictures, **form), expected)
        tensor = imresize_tensor(torch.from_numpy(pictures).permute(0, 3, 1, 2), **form)
        assert np.array_equal(tensor.permute(0, 2, 3, 1).numpy(), expected)


def test_slabs_do_not_show(monkeypatch):
    picture = np.random.default_rng(1).integers(0, 256, (301, 203, 3), np.uint8)
    whole = imresize(picture, scale=1 / 4)
    monkeypatch.setattr(bicubic, "_BLOCK", 1000)
    assert np.array_equal(imresize(picture, scale=1 / 4), whole)


def test_sides_round_up_and_one_pixel_is_a_picture():
    assert imresize(np.zeros((100, 50), np.uint8), scale=1 / 8).shape == (13, 7)
    assert (imresize(np.full((1, 1, 3), 77, np.uint8), size=(9, 4)) == 77).all()
    assert np.array_equal(imresize(np.arange(12, dtype=np.uint8).reshape(3, 4), scale=1), np.arange(12).reshape(3, 4))


@pytest.mark.parametrize(
    ("picture", "form"),
    [
        (np.zeros((4, 4)), {"scale": 1}),
        (np.zeros((4, 4, 4), np.uint8), {"scale": 1}),
        (np.zeros((0, 4), np.uint8), {"scale": 1}),
        (np.zeros((4, 4), np.uint8), {}),
        (np.zeros((4, 4), np.uint8), {"scale": 1, "size": (2, 2)}),
        (np.zeros((4, 4), np.uint8), {"scale": 0}),
        (np.zeros((4, 4), np.uint8), {"scale": float("nan")}),
        (np.zeros((4, 4), np.uint8), {"size": (0, 3)}),
        (np.zeros((4, 4), np.uint8), {"size": (2.5, 3)}),
        (np.zeros((4, 4), np.uint8), {"scale": 1, "border": "wrap"}),
        (np.zeros((4, 4), np.uint8), {"scale": 1, "border": ["replicate"]}),
        (np.zeros((4, 4), np.uint8), {"scale": 1, "border": np.array(["mirror", "replicate"])}),
        (np.zeros((4, 4), np.uint8), {"size": 5}),
        (np.zeros((4, 4), np.uint8), {"size": (5,)}),
        (np.zeros((4, 4), np.uint8), {"size": "55"}),
        (np.zeros((4, 4), np.uint8), {"size": (5, "5")}),
        (np.zeros((4, 4), np.uint8), {"size": (5, None)}),
        (np.zeros((4, 4), np.uint8), {"size": (True, True)}),
        (np.zeros((4, 4), np.uint8), {"size": (5, float("nan"))}),
        (np.zeros((4, 4), np.uint8), {"size": (5, float("inf"))}),
        (np.zeros((4, 4), np.uint8), {"size": (5, 1 << 20)}),
        (np.zeros((4, 4), np.uint8), {"size": np.array(5)}),
        (np.zeros((4, 4), np.uint8), {"scale": "2"}),
        (np.zeros((4, 4), np.uint8), {"scale": True}),
        (np.zeros((4, 4), np.uint8), {"scale": (2, 2)}),
        (np.zeros((4, 4), np.uint8), {"scale": torch.tensor(2.0)}),
        (np.zeros((4, 4), np.uint8), {"scale": np.array([2.0, 2.0])}),
        (np.zeros((4, 4), np.uint8), {"scale": float("inf")}),
        (np.zeros((4, 4), np.uint8), {"scale": 1e-300}),
        (np.zeros((4, 4), np.uint8), {"scale": 1e12}),
        (np.zeros((9000, 1), np.uint8), {"scale": 2}),
        ([[0, 1], [2, 3]], {"scale": 1}),
        ([[0, 1], [2]], {"scale": 1}),
        (None, {"scale": 1}),
        ("face.png", {"scale": 1}),
        (torch.zeros(4, 4, requires_grad=True), {"scale": 1}),
        (torch.zeros(4, 4, dtype=torch.uint8, device="meta"), {"scale": 1}),
    ],
)
def test_wrong_requests_are_refused(picture, form):
    with pytest.raises(RequestError):
        imresize(picture, **form)


def test_numbers_of_other_kinds_are_numbers():
    picture = np.random.default_rng(0).integers(0, 256, (8, 6), np.uint8)
    half = imresize(picture, scale=0.5)
    for scale in (Fraction(1, 2), np.float32(0.5)):
        assert np.array_equal(imresize(picture, scale=scale), half)
    assert np.array_equal(imresize(picture, scale=np.int64(2)), imresize(picture, scale=2))
    for size in ([4, 3], np.array([4, 3]), (4.0, np.int8(3))):
        assert np.array_equal(imresize(picture, size=size), imresize(picture, size=(4, 3)))
    assert np.array_equal(imresize(torch.from_numpy(picture), scale=0.5), half)


@pytest.mark.parametrize("pictures", [[[0]], [[0], [0, 1]], None, np.zeros((2, 4, 4, 0), np.uint8), np.zeros((4, 4))])
def test_batches_that_are_none_are_refused(pictures):
    with pytest.raises(RequestError, match="imresize_batch expects uint8"):
        imresize_batch(pictures, scale=1)
    with pytest.raises(RequestError, match="imresize_tensor expects"):
        imresize_tensor(pictures, scale=1)


def test_the_value_is_named():
    with pytest.raises(RequestError, match=r"size is 5\."):
        imresize(np.zeros((4, 4), np.uint8), size=5)
    with pytest.raises(RequestError, match=r"scale is nan\."):
        imresize(np.zeros((4, 4), np.uint8), scale=float("nan"))
