"""Training on splits beside train: which pairs are drawn, what a run begun without them does, and what needs labels."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fsrcache
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.generators.forms import read_training
from fsrcache.presets import TRAINING, MLPConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.loader import FeatureBatch, trained_count, trained_rows
from fsrcache.training.data.mixing import mixed
from fsrcache.training.data.stream import Stream
from fsrcache.training.run.estimate import estimate_training
from fsrcache.training.run.features import choose_location, open_features
from fsrcache.training.run.train import train_generator
from fsrcache.training.step.updates import Networks, generator_terms
from fsrcache.training.sweep.plan import plan_runs
from fsrcache.workspace import Workspace

CPU = torch.device("cpu")
CONFIG = replace(
    TRAINING["best"], generator=MLPConfig(width=16, blocks=1), steps=32, batch=8, classification_weight=0.5,
    precision="fp32",
)  # fmt: skip


@pytest.fixture(scope="module")
def extended(extractor, tmp_path_factory):
    """The store of every training test, and in it a view of each training face and 35 faces without labels."""
    folder = tmp_path_factory.mktemp("extended") / "store"
    shutil.copytree(extractor.with_name("store"), folder)
    faces, others = (usable_faces(list_faces(Path(f"drawn:{count}")), side=24) for count in (280, 315))
    source = face_source(faces, extractor, device=CPU, views=1, unlabelled=others)
    extract_features(source, store=folder, scales=[2, 4], data="drawn faces")
    return FeatureStore(folder)


@pytest.fixture
def train(extractor, tmp_path):
    """Return a function that trains a run by its name, and returns the bytes of its generator."""

    def work(store, name, **options):
        train_generator(store, extractor, CONFIG, folder=tmp_path / name, device=CPU, **options)
        return (tmp_path / name / "generator.safetensors").read_bytes()

    return work


def expected_pairs(store):
    """Return by full-resolution feature what belongs to every face that is learnt from."""
    pairs = {}
    for split, kept in trained_rows(store).items():
        features = [store.features(split, scale)[:] for scale in store.scales]
        early = [store.early(split, scale)[:] for scale in store.scales]
        probabilities = [store.probabilities(split, scale)[:] for scale in store.scales]
        unlabelled = split == "unlabelled"
        labels = probabilities[0].argmax(1) if unlabelled else store.labels(split)
        for row in np.flatnonzero(kept):
            true = [float(one[row, labels[row]]) for one in probabilities]
            pairs[features[0][row].tobytes()] = (
                [one[row].tolist() for one in features],
                [one[row].tolist() for one in early],
                true,
                labels[row],
                not unlabelled,
            )
    return pairs


def test_a_cache_has_the_faces_of_all_splits_but_the_held_out_ones(extended):
    features = open_features(
        extended, CONFIG, location=choose_location(extended, "ram", device=CPU), device=CPU, seed=0
    )
    cache, expected = features.source, expected_pairs(extended)
    assert cache.shape == (3, trained_count(extended)) == (3, len(expected))
    assert trained_count(extended) == 2 * (~extended.held_out()).sum() + 35
    for face in range(cache.shape[1]):
        lines, early, probabilities, label, labelled = expected[cache.features[0, face].numpy().tobytes()]
        assert cache.features[:, face].tolist() == lines
        assert cache.early[:, face].tolist() == early
        assert cache.probabilities[:, face].tolist() == probabilities
        assert (int(cache.labels[face]), bool(cache.labelled[face])) == (label, labelled)
    held_out = {extended.features("train")[row].tobytes() for row in np.flatnonzero(extended.held_out())}
    assert {one.numpy().tobytes() for one in features.held_out.features[0]} <= held_out


def test_a_stream_has_the_same_faces_once_an_epoch(extended):
    expected, count = expected_pairs(extended), trained_count(extended)
    stream = Stream(extended, trained_rows(extended), count=1, seed=0)
    seen = []
    for step in range(count):
        pairs = stream.pairs(step, torch.tensor([step % 2 + 1]))
        seen.append(pairs.features[0, 0].numpy().tobytes())
        lines, early, probabilities, label, labelled = expected[seen[-1]]
        assert pairs.features[1, 0].tolist() == lines[step % 2 + 1]
        assert pairs.early[1, 0].tolist() == early[step % 2 + 1]
        assert pairs.probabilities[:, 0].tolist() == [probabilities[0], probabilities[step % 2 + 1]]
        assert (int(pairs.labels[0]), bool(pairs.labelled[0])) == (label, labelled)
    stream.close()
    assert set(seen) == set(expected)
    cache = open_features(extended, CONFIG, location=choose_location(extended, "ram", device=CPU), device=CPU, seed=0)
    for streamed, cached in zip(stream.moments(), cache.source.moments(), strict=True):
        torch.testing.assert_close(streamed, cached)


def test_without_them_a_training_is_that_of_a_store_without_them(store, extended, train):
    assert train(store, "before") == train(extended, "after", extra=()) != train(extended, "all")


@pytest.mark.parametrize("cache", ["ram", "stream"])
def test_resumed_it_is_undisturbed(extended, train, stop_after, cache):
    whole = train(extended, "whole", cache=cache)
    with pytest.raises(KeyboardInterrupt):
        train(extended, "cut", cache=cache, checkpoint_seconds=0.0, on_progress=stop_after("training", 12))
    assert train(extended, "cut", cache=cache) == whole


def test_a_run_goes_on_with_the_splits_it_was_begun_with(store, extended, train, stop_after, tmp_path):
    whole = train(store, "whole")
    with pytest.raises(KeyboardInterrupt):
        train(store, "cut", checkpoint_seconds=0.0, on_progress=stop_after("training", 12))
    with pytest.raises(FsrcacheError, match="other settings: it draws from view-1 here alone"):
        train(extended, "cut", extra=["view-1"])
    assert train(extended, "cut") == whole
    train(extended, "some", extra=["view-1"])
    kept = read_training(tmp_path / "some/generator.safetensors")["extra"]
    assert kept == {"view-1": extended.spec.extra["view-1"]["digest"]}
    train(extended, "some")  # has ended
    with pytest.raises(FsrcacheError, match="it draws from view-1 there alone"):
        train(store, "some")


def test_a_dry_run_counts_them(extended, extractor):
    every, none = (estimate_training(extended, extractor, CONFIG, device=CPU, extra=extra) for extra in (None, ()))
    assert every.memory["cache"] > 1.5 * none.memory["cache"]


def test_a_sweep_draws_from_them_and_goes_on_without(store, extended, extractor, tmp_path, stop_after):
    workspace = Workspace(tmp_path / "fsr")
    workspace.folder.mkdir()
    workspace.extractor.symlink_to(extractor)
    settings = ["generator.width=8", "batch=8", "steps=32"]
    (run,) = plan_runs(TRAINING["best"], settings, seeds=1, workspace=workspace, name="sweep")
    train_generator(store, extractor, run.config, folder=tmp_path / "whole", device=CPU)
    with pytest.raises(KeyboardInterrupt):
        train_generator(
            store, extractor, run.config,
            folder=run.folder, device=CPU, checkpoint_seconds=0.0, on_progress=stop_after("training", 12),
        )  # fmt: skip
    location = Path(extended.name)
    options = {"store": location, "settings": settings, "preset": "best", "device": "cpu"}
    with pytest.raises(RequestError, match=r"seed-0 has scales 1, 2, 4; .*1, 2, 4, extra splits view-1,unlabelled\."):
        fsrcache.sweep(workspace, seeds=2, **options)
    swept = *fsrcache.sweep(workspace, **options).runs, *fsrcache.sweep(workspace, name="new", **options).runs
    generators = [workspace.run(one.name) / "generator.safetensors" for one in swept]
    assert [[*read_training(one).get("extra", {})] for one in generators] == [[], ["unlabelled", "view-1"]]
    assert generators[0].read_bytes() == (tmp_path / "whole/generator.safetensors").read_bytes()


def batch(labelled):
    torch.manual_seed(0)
    return FeatureBatch(
        lr_features=torch.randn(3, 6), hr_features=torch.randn(3, 6), hr_embeddings=torch.randn(3, 4),
        lr_early=torch.randn(3, 2),
        lr_probabilities=torch.rand(3), hr_probabilities=torch.rand(3), labels=torch.tensor([1, 0, 1]),
        labelled=torch.tensor(labelled), scales=torch.tensor([2, 2, 4]),
    )  # fmt: skip


class Head(torch.nn.Module):
    def forward(self, features):
        return features[:, :4], features[:, 4:]


def test_the_classification_term_leaves_them_out_and_no_other_does():
    terms = []
    for labels in ([1, 0, 1], [1, 1, 1]):
        one = batch([1.0, 0.0, 1.0])._replace(labels=torch.tensor(labels))
        terms.append(generator_terms(one, one.lr_features, Networks(Head(), None, Head()), CONFIG, l2_alone=False))
    assert terms[0][0]["classification"] == terms[1][0]["classification"] > 0
    known = batch([1.0, 1.0, 1.0])
    every = generator_terms(known, known.lr_features, Networks(Head(), None, Head()), CONFIG, l2_alone=False)
    assert every[0]["classification"] > terms[0][0]["classification"]
    for name in ("l2", "perceptual", "distillation"):
        assert every[0][name] == terms[0][0][name]


class Curved(torch.nn.Module):
    """A head whose logits are no linear function of the feature, nor of the embedding."""

    def forward(self, features):
        return features[:, :4].square(), self.logits_of(features[:, :4].square())

    def logits_of(self, embeddings):
        return embeddings.square()


def test_a_mixed_sample_is_distilled_towards_what_the_head_makes_of_its_feature():
    torch.manual_seed(0)
    one = batch([1.0, 1.0, 1.0])
    one = one._replace(hr_embeddings=one.hr_features[:, :4].square())
    got = mixed(one, 1.0, classes=2)
    config = replace(CONFIG, mixing=1.0, classification_weight=0.0)
    terms, _ = generator_terms(got, got.hr_features, Networks(Curved(), None, Curved()), config, l2_alone=False)
    assert terms["distillation"].item() == pytest.approx(0, abs=1e-6)
    unmixed = replace(config, mixing=0.0)
    terms, _ = generator_terms(one, one.hr_features, Networks(Curved(), None, Curved()), unmixed, l2_alone=False)
    assert terms["distillation"].item() == pytest.approx(0, abs=1e-6)


def test_a_mixture_is_labelled_if_both_samples_are():
    torch.manual_seed(0)
    got = mixed(batch([1.0, 0.0, 1.0]), 1.0, classes=2)
    assert got.labelled.tolist() == [1.0, 0.0, 0.0]  # each with the one before it
    assert mixed(batch([1.0, 0.0, 1.0]), 0.0, classes=2).labelled.tolist() == [1.0, 0.0, 1.0]


def test_a_store_without_early_features_is_trained_on_and_it_is_said(workspace, extractor, tmp_path):
    source = face_source(usable_faces(list_faces(Path("drawn:280")), side=24), extractor, device=CPU, early=False)
    extract_features(source, store=tmp_path / "without", scales=[2, 4], data="drawn faces")
    notes = {}
    for name, settings in (("a", []), ("b", ["generator.early=false"])):
        said = notes[name] = []
        fsrcache.train(
            workspace, store=tmp_path / "without", name=name, steps=2, preset="tiny", device="cpu",
            settings=["generator.width=8", "batch=16", *settings],
            on_progress=lambda one, said=said: said.append(one.note),
        )  # fmt: skip
    unread = "The store has no early features, and none are read: extract into a new workspace for them."
    assert notes["a"].count(unread) == 1
    assert unread not in notes["b"]
    workspace.store.unlink()
    workspace.store.symlink_to(tmp_path / "without")
    assert "FSR-FER" in fsrcache.evaluate(workspace, names=["a"], heads=["frozen"], device="cpu").order
    assert len(fsrcache.load(workspace, run="a")(np.zeros((12, 12), np.uint8))) == 1


def test_training_best_without_views_says_what_it_was_chosen_for(workspace, extended):
    def notes(name, store, **options):
        said = []
        small = ("generator.width=8", "generator.rank=0", "batch=16")
        fsrcache.train(
            workspace, store=store, name=name, steps=2, settings=small, device="cpu",
            on_progress=lambda progress: said.append(progress.note), **options,
        )  # fmt: skip
        return [note for note in said if "no views" in note]

    assert notes("best", None, preset="best") == [
        "The store has no views: best was chosen on one with 3 of every face (extract, views 3)."
    ]
    assert not notes("none", None, preset="best", extra=())
    assert not notes("tiny", None, preset="tiny")
    assert not notes("views", extended.name, preset="best")
