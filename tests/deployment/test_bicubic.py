"""The bicubic of the graph: no pixel differs from MATLAB's, in PyTorch and in ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fsrcache.deployment.bicubic import Resize
from fsrcache.deployment.onnx_file import INPUT, onnx_model
from fsrcache.extractors.onnx_graph import open_session
from fsrcache.faces.bicubic import imresize_batch

SIDE = 24
SIZES = ((8, 8), (13, 13), (24, 24), (48, 48), (100, 100), (7, 31), (23, 24), (24, 13), (100, 13), (2, 3), (23, 22))


def faces(size, count=8):
    random = np.random.default_rng(size)
    return random.integers(0, 256, (count, 3, *size), dtype=np.uint8)


def expected(pictures, border):
    border = border if max(pictures.shape[2:]) < SIDE else "replicate"
    return imresize_batch(pictures.transpose(0, 2, 3, 1), size=(SIDE, SIDE), border=border).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("border", ["replicate", "mirror"])
@pytest.mark.parametrize("size", SIZES)
def test_no_pixel_differs(size, border):
    pictures = faces(size)
    resized = Resize(SIDE, border)(torch.from_numpy(pictures))
    assert resized.dtype == torch.float32
    assert np.array_equal(resized.numpy(), expected(pictures, border))


@pytest.mark.slow
def test_no_pixel_differs_in_the_graph():
    graph = onnx_model(Resize(SIDE, "mirror"))
    session = open_session(graph.SerializeToString(), where=Path("model.onnx"))
    for size in SIZES:
        pictures = faces(size, count=64)  # some of whose values are exact halves
        (resized,) = session.run(None, {INPUT: pictures})
        assert np.array_equal(resized, expected(pictures, "mirror")), size
