"""The announced time of a scoring does not depend on how few pictures the measured split has."""

import numpy as np
import pytest
import torch

from fsrcache.evaluation import estimate
from fsrcache.evaluation.scoring import FITS


@pytest.mark.parametrize("rows", [5, 2000])
@pytest.mark.parametrize("name", FITS)
def test_a_fit_is_measured_in_full_batches(monkeypatch, name, rows):
    seen = []
    monkeypatch.setattr(estimate, "refit_mlp", lambda features, labels, **_: seen.append((features[1], labels)))
    values = np.arange(3 * rows, dtype=np.float16).reshape(rows, 3)
    estimate._fit_seconds(values, name, lambda: None, torch.device("cpu"))
    lengths = [FITS[name].batch, 8 * FITS[name].batch]
    assert [features.shape for features, _ in seen] == [(length, 3) for length in lengths]
    assert [len(labels) for _, labels in seen] == lengths
    assert np.array_equal(seen[1][0][: min(rows, lengths[1])], values[: lengths[1]])
