"""majority: the commonest class of the training split, in every table without a training."""

import numpy as np
import pytest
import torch

from fsrcache.extractors.opening import open_extractor
from fsrcache.rows import majority
from fsrcache.rows.row import RowContext
from fsrcache.store.reader import FeatureStore
from fsrcache.verbs.evaluate import evaluate


def test_it_is_the_shares_of_the_classes_whatever_the_scale(workspace, monkeypatch):
    monkeypatch.setattr(FeatureStore, "labels", lambda *_: np.array([3] * 50 + [1] * 30 + [0] * 18, np.uint8))
    monkeypatch.setattr(FeatureStore, "held_out", lambda *_: np.arange(98) < 40)
    store, extractor = FeatureStore(workspace.store), open_extractor(workspace.extractor)
    context = RowContext(
        workspace=workspace, store=store, extractor=extractor, device=torch.device("cpu"), on_progress=lambda _: None
    )
    (one,) = majority.predictors(context, ())
    for scale in (1, 4):
        np.testing.assert_allclose(
            one.probabilities("test", scale), [np.divide([18, 30, 0, 10, 0, 0, 0], 58)] * 98, rtol=1e-6
        )


def test_it_is_in_every_table_with_the_frozen_head_alone(workspace):
    table = evaluate(workspace, names=["a"], heads=["frozen", "refit-linear"], device="cpu")
    store = FeatureStore(workspace.store)
    commonest = np.bincount(store.labels("train")[~store.held_out()]).argmax()
    share = 100 * (store.labels("test") == commonest).mean()
    scores = [score for score in table.rows if score.row == "majority"]
    assert [(score.head, score.scale) for score in scores] == [("frozen", scale) for scale in (1, 2, 4)]
    assert [score.accuracy for score in scores] == [pytest.approx(share)] * 3
    assert {score.seed for score in scores} == {None}
    assert table.order[:2] == ("majority", "bicubic")
