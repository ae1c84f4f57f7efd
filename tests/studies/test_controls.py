"""Controls of a generator: permutations, other faces, unseen scales, and the study itself, which goes on."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.degrade import SCALE_FORM, low_resolution_view
from fsrcache.models.generators.forms import read_training
from fsrcache.spd import vech
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.loader import load_cache, trained_rows
from fsrcache.verbs.train import train
from fsrcache.workspace import Data, Workspace
from studies import controls
from studies.unseen import Inputs, unseen_features, view_at

SETTINGS = ("generator.width=8", "generator.rank=0", "batch=16")


@pytest.fixture
def store(workspace):
    return FeatureStore(Workspace(workspace).store)


@pytest.fixture
def cache(store):
    return load_cache(store, "train", rows=np.arange(40), device=torch.device("cpu"))


def test_channels_are_permuted_in_rows_and_columns():
    matrices = torch.randn(3, 5, 5, dtype=torch.float64)
    matrices = matrices + matrices.mT
    order = torch.tensor([2, 0, 1, 4, 3])
    permuted = controls.permuted_channels(vech(matrices), order=order)
    torch.testing.assert_close(permuted, vech(matrices[:, order][:, :, order]))
    entries = controls.permuted_entries(vech(matrices), order=torch.arange(15).flip(0))
    assert torch.equal(entries, vech(matrices).flip(1))


def test_other_faces():
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 2, 2])
    alike, unlike = controls.other_faces(labels, np.random.default_rng(0))
    faces = np.arange(len(labels))
    assert sorted(alike) == faces.tolist()
    assert (alike != faces).all()
    assert np.array_equal(labels[alike], labels)
    assert (labels[unlike] != labels).all()


def test_labels_of_other_faces(store):
    store = store.at_scales([4])
    rows = np.flatnonzero(trained_rows(store)["train"])
    cache = load_cache(store, "train", rows=rows, device=torch.device("cpu"))
    other = controls.with_other_labels(cache, store, np.random.default_rng(0))
    order = np.random.default_rng(0).permutation(len(rows))
    assert torch.equal(other.features, cache.features)
    assert torch.equal(other.labels, cache.labels[order])
    assert not torch.equal(other.labels, cache.labels)
    for at, scale in enumerate((1, 4)):  # of the face itself, for the other's label
        stored = store.probabilities("train", scale)[:][rows, other.labels]
        assert np.array_equal(other.probabilities[at], stored)
        assert not np.array_equal(other.probabilities[at], cache.probabilities[at][order])


def test_fine_features_of_other_faces(cache):
    before = cache._replace(
        features=cache.features.clone(), early=cache.early.clone(), probabilities=cache.probabilities.clone()
    )
    shuffled = controls.with_other_targets(cache, np.random.default_rng(0))
    order = np.random.default_rng(0).permutation(40)
    for name in ("features", "early", "probabilities"):
        values, old = getattr(shuffled, name), getattr(before, name)
        assert torch.equal(values[1:], old[1:])
        assert torch.equal(values[0], old[0][order])
    assert torch.equal(shuffled.embeddings, before.embeddings[order])
    assert torch.equal(shuffled.labels, before.labels)


@pytest.fixture
def rows(workspace, store):
    """Return a function of a generator that gives its untrained controls by name."""
    scales = {"HR": 1, "x4": 4}
    views = {
        name: Inputs(*(read("train", one)[:] for read in (store.features, store.early))) for name, one in scales.items()
    }
    extractor = open_extractor(Workspace(workspace).extractor)
    labels = store.labels("train").astype(np.int64)

    def scored(generator):
        untrained = controls.untrained_controls(views, labels, extractor, generator, seed=0)
        return {row["name"]: row["accuracy"] for row in untrained}

    return scored


def test_a_generator_that_changes_nothing(rows):
    accuracy = rows(nn.Identity())
    for name in ("FSR-FER", "mean change", "change of another face of the class", "change of a face of another class"):
        assert accuracy[name] == accuracy["bicubic"]
    for what in ("entries", "channels"):
        assert accuracy[f"{what} permuted"] == accuracy[f"{what} permuted, no generator"]
        assert accuracy[f"{what} permuted"] != accuracy["bicubic"]


def test_a_generator_that_does_not_read_the_feature(rows, store):
    class Constant(nn.Module):
        def forward(self, features):
            return fine.expand(len(features), -1)

    fine = torch.from_numpy(store.features("train", 1)[:1]).float()
    accuracy = rows(Constant())
    assert not any("early" in name for name in accuracy)
    assert accuracy["FSR-FER"] == accuracy["channels permuted"] == accuracy["entries permuted"]
    assert accuracy["FSR-FER"]["x4"] == accuracy["FSR-FER"]["HR"] != accuracy["bicubic"]["HR"]


def test_early_features_of_other_faces(rows, store):
    class Early(nn.Module):
        early = store.spec.widths["early"]

        def forward(self, features, early):
            seen.append(early.numpy())
            return features

    seen, own = [], store.early("train", 4)[:].astype(np.float32)
    accuracy = rows(Early())
    assert accuracy["early features of another face"] == accuracy["bicubic"]
    unlike, alike = seen[-3], seen[-1]  # each at full resolution, then at x4
    labels = store.labels("train")
    whose = [[int(np.flatnonzero((own == row).all(1))[0]) for row in one] for one in (unlike, alike)]
    assert sorted(whose[0]) == sorted(whose[1]) == list(range(len(own)))
    assert (labels[whose[0]] != labels).any()
    assert (labels[whose[1]] == labels).all()
    assert (whose[1] != np.arange(len(own))).all()


def test_full_resolution(workspace, store):
    class Shorter(nn.Module):
        def forward(self, features):
            return 0.9 * features

    fine = Inputs(store.features("train", 1)[:], store.early("train", 1)[:])
    extractor = open_extractor(Workspace(workspace).extractor)
    assert controls.full_resolution(fine, extractor, nn.Identity()) == {"changed_answers": 0, "relative_change": 0}
    assert controls.full_resolution(fine, extractor, Shorter())["relative_change"] == pytest.approx(10, abs=0.1)
    negative = nn.Linear(136, 136, bias=False)
    nn.init.eye_(negative.weight).data.neg_()
    changed = controls.full_resolution(fine, extractor, negative)
    assert changed["relative_change"] == pytest.approx(200)
    assert changed["changed_answers"] > 0


def test_a_view_at_any_scale():
    faces = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 1), np.uint8)
    whole = low_resolution_view(faces, 5, SCALE_FORM).transpose(0, 3, 1, 2)
    assert np.array_equal(view_at(faces, 5, SCALE_FORM), whole)
    small = imresize_batch(faces, size=(10, 10))  # 24 / 2.5 is 9.6
    assert np.array_equal(view_at(faces, 2.5, SCALE_FORM)[:, 0], imresize_batch(small, size=(24, 24))[..., 0])


def test_unseen_features_are_in_the_order_of_the_store(workspace, store):
    files = Workspace(workspace)
    files.remember(Data("drawn:280"))
    unseen = unseen_features(
        files, store, open_extractor(files.extractor), "val", scales=[4, 2.5], on_progress=lambda _: None
    )
    np.testing.assert_allclose(unseen[4].features, store.features("val", 4)[:], atol=4e-3)
    np.testing.assert_allclose(unseen[4].early, store.early("val", 4)[:], atol=4e-3)
    distance = np.abs(unseen[2.5].features - store.features("val", 4)[:]).mean()
    assert 0.01 < distance < np.abs(store.features("val", 1)[:] - store.features("val", 4)[:]).mean()


@pytest.mark.slow
def test_the_study_goes_on(workspace, tmp_path):
    files = Workspace(workspace)
    files.remember(Data("drawn:280"))
    train(files, preset="best", steps=2, settings=SETTINGS, device="cpu")

    def run(*more):
        words = ["--workspace", workspace, "--out", tmp_path, "--unseen", "2.5,9", *more]
        done = CliRunner().invoke(controls.main, list(map(str, words)))
        assert done.exit_code == 0, done.output
        return json.loads((tmp_path / "controls.json").read_text())

    record = run("--trained-at", 4)
    names = [row["name"] for row in record["rows"]]
    assert names[:2] == ["bicubic", "FSR-FER"]
    assert names[-3:] == ["trained at x4 alone", controls._LABELS, controls._TARGETS]
    assert all(list(row["accuracy"]) == ["HR", "x2", "x4", "x2.5", "x9"] for row in record["rows"])
    folder = workspace / "controls/default"
    (alone,) = folder.glob("2-trained-at-x4-alone-*/generator.safetensors")
    assert read_training(alone)["scales"] == (1, 4)
    assert len({path.read_bytes() for path in folder.glob("*/generator.safetensors")}) == 3
    changed = alone.stat().st_mtime_ns
    again = run()
    assert alone.stat().st_mtime_ns == changed
    assert [row for row in again["rows"] if row["name"] != "trained at x2 alone"] == record["rows"]
    longer = run("--trained-at", "2", "--steps", 3)
    assert "trained for 3 steps" in [row["name"] for row in longer["rows"]]
    lines = (tmp_path / "controls.md").read_text().splitlines()
    assert all(line.count("|") == 7 for line in lines[: 2 + len(longer["rows"])])
    assert "x2.5, x9 were in no training" in lines[-1]
    train(files, preset="best", steps=2, settings=SETTINGS, device="cpu", scales=[4], restart=True)  # nothing else new
    run("--trained-at", "4")
    targets = [*folder.glob("2-trained-towards-the-fine-features-of-other-faces-*/generator.safetensors")]
    assert sorted(read_training(path)["scales"] for path in targets) == [(1, 2, 4), (1, 4)]


def test_a_scale_that_the_run_was_not_trained_at(workspace, tmp_path):
    files = Workspace(workspace)
    files.remember(Data("drawn:280"))
    train(files, preset="best", steps=1, settings=SETTINGS, device="cpu", name="short")
    words = ["--workspace", str(workspace), "--out", str(tmp_path), "--name", "short", "--trained-at", "2.5"]
    done = CliRunner().invoke(controls.main, words)
    assert done.exit_code == 2
    assert "--trained-at 2.5: the run short was not trained there, but at 2, 4." in done.output
