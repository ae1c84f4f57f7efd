"""Scores by distance: distances to trained faces alone, ranges from near to far, means over scales and seeds."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.by_distance import SHARES, score_distances
from fsrcache.evaluation.distances import distances_to_training, kept_distances
from fsrcache.evaluation.layout import blocks
from fsrcache.evaluation.scores import Ensemble
from fsrcache.evaluation.tables import Context, score_table
from fsrcache.progress import no_progress

CPU = torch.device("cpu")


@pytest.fixture
def store():
    random = np.random.default_rng(0)
    features = {name: 3 + 5 * random.normal(size=(3000, 6)) for name in ("train", "view-1", "view-2")}
    features["train"][:, 2] = 1.0  # constant, as a dead channel's covariance is
    near = [features["train"][3], features["train"][10], features["view-1"][4], features["view-2"][4], np.full(6, 90.0)]
    features["val"] = np.stack(near)
    held_out = np.arange(3000) % 10 == 0
    return SimpleNamespace(
        features=lambda split: features[split].astype(np.float16),
        held_out=lambda _="train": held_out,
        splits=("train", "val"),
        spec=SimpleNamespace(extra={"view-1": {"digest": "1"}, "view-2": {"digest": "2"}}, count=lambda _: 5),
        name="features.zarr",
        digest="a",
    )


def distances_of(store, folder=None):
    return distances_to_training(store, "val", device=CPU, folder=folder, on_progress=no_progress)


def test_distances_are_to_trained_faces_and_their_mirrored_views(store):
    found = distances_of(store)
    train, mirrored, own = (store.features(name).astype(np.float64) for name in ("train", "view-1", "val"))
    kept = ~store.held_out()
    deviation = train[kept].std(0)
    deviation[deviation == 0] = 1
    others = np.concatenate([train[kept], mirrored[kept]])
    assert found == pytest.approx(cdist(own / deviation, others / deviation).min(1), rel=1e-4, abs=5e-3)
    same, left_out, twin, other, far = found
    assert max(same, twin) < 5e-3 < 0.1 < min(left_out, other)
    assert far > 30


def test_faces_without_labels_are_trained_on_too(store):
    before = distances_of(store)
    features, far = store.features, store.features("val")[[4, 1]]
    store.features = lambda name: far if name == "unlabelled" else features(name)
    store.spec = SimpleNamespace(extra={**store.spec.extra, "unlabelled": {"digest": "3"}}, count=lambda _: 2)
    found = distances_of(store)
    assert max(found[4], found[1]) < 5e-3  # the second would be held out, were it of train
    assert np.array_equal(found[[0, 2, 3]], before[[0, 2, 3]])


def test_distances_are_kept_until_the_store_or_its_views_are_others(store, tmp_path):
    found = distances_of(store, tmp_path)
    held_out, store.held_out = store.held_out, None
    assert np.array_equal(distances_of(store, tmp_path), found)
    assert np.array_equal(kept_distances(store, "val", tmp_path), found)
    store.held_out, store.spec.extra = held_out, {}
    assert kept_distances(store, "val", tmp_path) is None
    assert distances_of(store, tmp_path)[2] > found[2]
    store.digest = "b"
    assert kept_distances(store, "val", tmp_path) is None


def test_without_a_training_split_nothing_is_near(store):
    store.splits = ("val",)
    with pytest.raises(FsrcacheError, match="no split train, whose faces could be near"):
        distances_of(store)


def test_scores_go_from_near_to_far_and_are_means_over_coarse_scales_and_seeds():
    labels, distances = np.zeros(20, np.int64), np.arange(20, 0, -1).astype(np.float32)
    trainings = {
        ("row", "frozen", 1): {0: 1 * (distances >= 3), 1: 1 * (distances >= 3)},
        ("row", "frozen", 2): {0: 1 * (distances >= 2), 1: 1 * (distances >= 3)},
        ("row", "frozen", 4): {0: 1 * (distances >= 17), 1: 1 * (distances >= 17)},
        ("mean", "refit-mlp", 1): {None: labels},
    }
    scores = score_distances(
        trainings, labels, distances, ensembles={"mean": Ensemble("row", members=3, seeds=(4, 5, 6))}
    )
    full, coarse, mean = scores[:7], scores[7:14], scores[14:]
    assert [(one.nearest, one.farthest) for one in coarse] == list(SHARES)
    assert [one.n for one in coarse] == [2, 3, 5, 5, 5, 5, 15]
    assert [one.distance for one in coarse] == [2, 5, 10, 15, 20, 5, 20]
    assert [one.accuracy for one in full] == [100, 0, 0, 0, 0, 40, 0]
    of_face = [100, 75, *[50] * 14, *[0] * 4]  # the nearest first, scale 2 and 4
    assert coarse[0].accuracy == pytest.approx(np.mean(of_face[:2]))
    assert coarse[0].standard_error == pytest.approx(np.std(of_face[:2]) / 2**0.5)
    assert coarse[4].accuracy == pytest.approx(np.mean(of_face[15:]))
    assert (coarse[0].seeds, coarse[0].members, coarse[0].full_resolution) == ((0, 1), 1, False)
    assert {one.scales for one in full} == {(1,)}
    assert {one.scales for one in coarse} == {(2, 4)}
    assert {(one.row, one.label, one.members, one.seeds) for one in mean} == {("row", "mean", 3, (4, 5, 6))}


def test_a_range_without_faces_is_left_out():
    labels, distances = np.zeros(2, np.int64), np.array([1, 2], np.float32)
    scores = score_distances({("row", "frozen", 2): {None: labels}}, labels, distances, ensembles={})
    assert [(one.nearest, one.farthest, one.n) for one in scores] == [(0.25, 0.5, 1), (0.5, 0.75, 1), (0.25, 1.0, 2)]


def test_a_row_of_fewer_scales_is_never_the_best_and_the_scales_are_said():
    labels = np.zeros(20, np.int64)
    right = {"bicubic": {1: 20, 2: 10, 4: 4}, "FSR-FER": {1: 20, 2: 12, 4: 8}, "rcan": {1: 20, 2: 11}}  # of 20
    predictions = {
        (row, "frozen", scale, None): 1 * (np.arange(20) >= count)
        for row, of_row in right.items()
        for scale, count in of_row.items()
    }
    context = Context(data="", degradation="", extractor="", generator="", checkpoint="", seeds="")
    distances = np.arange(20, dtype=np.float32)
    table = score_table(predictions, labels, split="val", context=context, distances=distances)
    (block,) = blocks(table, measures=["distance"])
    shown = {line.row: [(cell.text, cell.best) for cell in line.cells] for line in block.lines}
    far = -1
    assert [shown[row][far] for row in ("bicubic, HR", "bicubic", "FSR-FER", "rcan")] == [
        ("100.0", False), ("16.7", False), ("33.3", True), ("40.0", False),
    ]  # fmt: skip
    assert not any(best for row in ("bicubic, HR", "rcan") for _, best in shown[row])
    assert block.legend.endswith("means over x2, x4; of fewer scales, and so never marked as the best: rcan (x2)")
    all_there = {key: values for key, values in predictions.items() if key[0] != "rcan"}
    table = score_table(all_there, labels, split="val", context=context, distances=distances)
    assert blocks(table, measures=["distance"])[0].legend.endswith("means over x2, x4")
