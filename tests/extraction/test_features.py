"""Extraction: in fp32 whatever the caller has set, and on a GPU with its solver loaded before there are threads."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fsrcache.ahead import ordered_map
from fsrcache.errors import RequestError
from fsrcache.extraction.features import features_of, side_by_side
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.presets import ExtractorConfig

SHAPE = ExtractorConfig(side=24, stages=((8,), (12,)), spd_side=8, hidden=16, embedding=6)


@pytest.mark.parametrize(("name", "loaded"), [("meta", [torch.device("meta")]), ("cpu", [])])
def test_a_gpus_solver_is_loaded_before_the_threads_begin(monkeypatch, name, loaded):
    """torch loads it at the first call, and raises where several threads make the first call together."""
    called = []

    def eigh(matrix):
        assert threading.current_thread() is threading.main_thread()
        called.append(matrix.device)

    monkeypatch.setattr(torch.linalg, "eigh", eigh)
    model = SimpleNamespace(device=torch.device(name))
    with side_by_side(model) as workers:
        seen = list(ordered_map(lambda _: list(called), range(3), threads=workers.threads, begin=workers.begin))
    assert seen == [loaded] * 3


def test_features_are_fp32():
    model = CovPoolFER(SHAPE, ("a", "b")).eval()
    seen = []
    model.trunk[0].register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.conv.fp32_precision))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"  # torch's default
    features_of(extractor_of(model), pictures)
    with side_by_side(extractor_of(model)):
        seen.append(torch.backends.cudnn.conv.fp32_precision)
    assert seen == ["ieee", "ieee"]
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pictures": [[0]]}, "The pictures are list"),
        ({"pictures": np.zeros((2, 24, 24, 3))}, r"\(2, 24, 24, 3\) float64"),
        ({"pictures": np.zeros((24, 24, 3), np.uint8)}, r"\(24, 24, 3\) uint8"),
        ({"pictures": np.zeros((2, 25, 24, 3), np.uint8)}, r"\(2, 25, 24, 3\) uint8"),
        ({"pictures": np.zeros((2, 24, 24, 4), np.uint8)}, r"\(2, 24, 24, 4\) uint8"),
        ({"pictures": torch.zeros(2, 24, 24, 3, dtype=torch.uint8)}, "The pictures are Tensor"),
        ({"scale": 2.0}, "scale is 2.0"),
        ({"scale": 0}, "scale is 0"),
        ({"degradation": "scale"}, "degradation is 'scale'"),
        ({"extractor": "tiny"}, "The extractor is str"),
        ({"extractor": CovPoolFER(SHAPE, ("a", "b")).eval()}, "The extractor is CovPoolFER"),
        ({"extractor": extractor_of(CovPoolFER(SHAPE, ("a", "b")))}, "Extractor in training mode"),
    ],
)
def test_what_is_no_such_argument_is_named(changes, words):
    extractor = extractor_of(CovPoolFER(SHAPE, ("a", "b")).eval())
    arguments = {"extractor": extractor, "pictures": np.zeros((2, 24, 24, 3), np.uint8)} | changes
    with pytest.raises(RequestError, match=words):
        features_of(**arguments)


def test_no_threads_are_no_wish_for_all():
    with pytest.raises(RequestError, match="0 threads"):
        next(ordered_map(abs, [1], threads=0))
    with pytest.raises(RequestError, match="0 items"):
        next(ordered_map(abs, [1], under_way=0))
