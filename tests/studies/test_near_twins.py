"""Near twins: distances to trained faces alone, seeds averaged, groups by distance, and the study itself."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from fsrcache.evaluation.predictions import write_predictions
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace
from studies import near_twins


def probabilities(answers, classes=3):
    return np.eye(classes, dtype=np.float32)[np.asarray(answers)]


def test_distances_are_to_trained_faces_and_their_mirrored_views():
    random = np.random.default_rng(0)
    features = {"train": random.normal(size=(40, 6)), "view-1": random.normal(size=(40, 6))}
    held_out = np.arange(40) % 10 == 0
    features["val"] = np.stack([features["train"][3], features["train"][10], features["view-1"][4], np.full(6, 9.0)])
    store = SimpleNamespace(
        features=lambda split, _: features[split].astype(np.float16),
        labels=lambda split: np.zeros(len(features[split])),
        held_out=lambda _="train": held_out,
        spec=SimpleNamespace(extra=("view-1",)),
    )
    same, left_out, mirrored, far = near_twins.distances_to_training(store, "val")
    assert (same, mirrored) == (pytest.approx(0, abs=1e-2), pytest.approx(0, abs=1e-2))
    assert 0.3 < left_out < far
    store.spec.extra = ()
    assert near_twins.distances_to_training(store, "val")[2] > 0.3


def test_seeds_are_averaged_and_one_network_of_several_is_left_out(tmp_path):
    labels = np.array([0, 1, 2, 2])
    for folder, answers in (
        ("row/seed-0", [0, 1, 0, 0]),
        ("row/seed-1", [0, 0, 2, 0]),
        ("row/seed-0/one", [0, 0, 0, 0]),
    ):
        write_predictions(tmp_path / folder / "val-frozen.safetensors", {1: probabilities(answers)}, source={})
    write_predictions(tmp_path / "row/seed-0/test-frozen.safetensors", {1: probabilities(labels)}, source={})
    right = near_twins.rows_right(tmp_path, "val", labels)
    assert list(right) == ["row"]
    assert right["row"][1].tolist() == [1, 0.5, 0.5, 0]


def test_groups_go_from_near_to_far():
    distances = np.arange(20, 0, -1).astype(np.float32)
    near, _, _, _, far, nearest, rest = near_twins.groups(
        distances, {"row": {1: distances < 3, 2: distances < 2, 4: distances < 17}}
    )
    assert (near["faces"], near["farthest"], far["faces"], far["farthest"]) == (2, 2, 5, 20)
    assert near["rows"]["row"] == {"full_resolution": 100, "coarse": pytest.approx(75)}
    assert (nearest["faces"], nearest["farthest"], rest["faces"]) == (5, 5, 15)
    assert far["rows"]["row"] == {"full_resolution": 0, "coarse": pytest.approx(10)}


def test_the_study_writes_json_and_a_table(workspace, tmp_path):
    store = FeatureStore(Workspace(workspace).store)
    split = next(name for name in store.splits if name != "train")
    labels = store.labels(split)
    answers = {scale: probabilities(labels, len(store.classes)) for scale in store.scales}
    write_predictions(Workspace(workspace).predictions / f"bicubic/{split}-frozen.safetensors", answers, source={})
    words = ["--workspace", str(workspace), "--split", split, "--out", str(tmp_path)]
    result = CliRunner().invoke(near_twins.main, words, catch_exceptions=False)
    assert result.exit_code == 0
    record = json.loads((tmp_path / "near-twins.json").read_text())
    assert sum(group["faces"] for group in record["groups"][:5]) == record["faces"] == len(labels)
    table = (tmp_path / "near-twins.md").read_text()
    assert "| bicubic | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 |" in table
    assert "| full resolution | 100.0 |" in table
