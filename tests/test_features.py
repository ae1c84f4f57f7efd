"""Extraction: in fp32 whatever the caller has set, and on a GPU with its solver loaded before there are threads."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fsrcache.ahead import ordered_map
from fsrcache.features import features_of, side_by_side
from fsrcache.models.extractor import CovPoolFER
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
    model = SimpleNamespace(bimap=torch.empty(0, device=name))
    with side_by_side(model) as workers:
        seen = list(ordered_map(lambda _: list(called), range(3), threads=workers.threads, begin=workers.begin))
    assert seen == [loaded] * 3


def test_features_are_fp32():
    model = CovPoolFER(SHAPE, ("a", "b")).eval()
    said = []
    model.trunk.register_forward_pre_hook(lambda *_: said.append(torch.backends.cudnn.conv.fp32_precision))
    pictures = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3), np.uint8)
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"  # torch's default
    features_of(model, pictures)
    with side_by_side(model):
        said.append(torch.backends.cudnn.conv.fp32_precision)
    assert said == ["ieee", "ieee"]
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"
