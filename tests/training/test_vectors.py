"""Trainings on the plain vectors of somebody's network, whose head is features -> (embedding, logits) and no more."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

from fsrcache.errors import RequestError
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.extractor import make_extractor, state_digest
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.generators.forms import load_generator
from fsrcache.models.weights import read_record
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig, RRDBConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.estimate import estimate_training
from fsrcache.training.run.features import choose_location, open_features
from fsrcache.training.run.networks import make_trainer
from fsrcache.training.run.train import train_generator
from fsrcache.training.step.losses import distillation_loss
from fsrcache.training.step.updates import generator_terms

CPU = torch.device("cpu")
LENGTH = 64
LOW_RANK = MLPConfig(width=32, blocks=1, rank=4, members=2)
CONFIG = replace(
    TRAINING["best"], generator=LOW_RANK, steps=48, batch=32, precision="fp32", learning_rate=1e-2, full_resolution=0.0
)


class Network(nn.Module):
    """Grey pictures in blocks of 3 x 3 pixels, and a head on them."""

    side, channels = 24, 1

    def __init__(self, classes):
        super().__init__()
        self.classes, self.head = classes, Head(len(classes))

    def embed(self, pictures):
        features = avg_pool2d(pictures.float() / 25, 3).flatten(1)
        return features, *self.head(features)


class Head(nn.Module):
    """A layer called ``classify`` that takes the features, and not the embedding of equal width."""

    def __init__(self, classes):
        super().__init__()
        self.classify, self.hidden = nn.Linear(LENGTH, classes), nn.Linear(LENGTH, LENGTH)

    def forward(self, features):
        return self.hidden(features).relu(), self.classify(features)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    module = Network(list_faces(Path("drawn:280")).classes)
    return make_extractor(
        module, name="blocks", digest=state_digest(module), preprocessing="pixels / 25", trainable=True
    )


@pytest.fixture(scope="module")
def vectors(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors") / "store"
    faces = usable_faces(list_faces(Path("drawn:280")), side=24)
    extract_features(face_source(faces, network, device=CPU), store=folder, scales=[2, 4], data="drawn faces")
    return FeatureStore(folder)


@pytest.mark.parametrize(
    "config",
    [CONFIG, replace(CONFIG, generator=replace(LOW_RANK, rank=0), mixing=0.5, reweight="sr")],
    ids=["low rank", "linear, mixed"],
)
@pytest.mark.parametrize("cache", ["ram", "stream"])
def test_an_mlp_learns(vectors, network, tmp_path, config, cache):
    train_generator(vectors, network, config, folder=tmp_path, device=CPU, cache=cache)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert sum(line["l2"] for line in lines[-8:]) < 0.9 * sum(line["l2"] for line in lines[:8])
    record = read_record(tmp_path / "generator.safetensors", kind="generator")
    assert (record["length"], record["side"]) == (LENGTH, None)
    generator, _ = load_generator(tmp_path / "generator.safetensors")
    features = torch.from_numpy(vectors.features("train", 4)[:40]).float()
    residual = (generator(features) - features) / generator.deviation
    most = 2 * LOW_RANK.rank if config is CONFIG else LENGTH  # of two members
    assert 0 < torch.linalg.matrix_rank(residual, rtol=1e-4) <= most


def test_distillation_is_from_the_heads_own_logits(vectors, network):
    location = choose_location(vectors, "ram", device=CPU)
    trainer = make_trainer(
        open_features(vectors, CONFIG, location=location, device=CPU, seed=0), network, CONFIG, seed=0
    )
    trainer.batches.prepare(0, 1)
    trainer.batches.begin(0)
    batch = trainer.batches.batch(0)
    terms, weights = generator_terms(batch, batch.lr_features, trainer.networks, CONFIG, l2_alone=False)
    (_, lr_logits), (embedding, hr_logits) = (network.head(one) for one in (batch.lr_features, batch.hr_features))
    torch.testing.assert_close(terms["distillation"], distillation_loss(lr_logits, hr_logits, weights=weights))
    torch.testing.assert_close(batch.hr_embeddings, embedding, rtol=1e-2, atol=1e-2)  # kept in half precision


def test_a_dry_run_counts_the_networks(vectors, network):
    estimate = estimate_training(vectors, network, CONFIG, device=CPU)
    width, rank = LOW_RANK.width, LOW_RANK.rank
    a_sample = LENGTH * width + 2 * width * width + width * rank + rank * LENGTH
    assert estimate.gmac_per_sample["generator"] == pytest.approx(LOW_RANK.members * a_sample / 1e9)
    assert set(estimate.parameters) == {"generator", "head"}


def test_networks_beyond_the_memory_are_refused(vectors, network, tmp_path, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.train.open_features", None)
    wide = replace(CONFIG, generator=MLPConfig(width=2**16, blocks=200))
    with pytest.raises(RequestError, match=r"The generator would have 1,7\d\d,\d{3},\d{3},\d{3} weights: 27"):
        train_generator(vectors, network, wide, folder=tmp_path, device=CPU)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"generator": RRDBConfig()}, "The generator rrdb works on symmetric matrices, and these features are plain"),
        ({"critic": CriticConfig()}, "The critic judges symmetric matrices as pictures, and these features are plain"),
    ],
)
def test_networks_on_pictures_of_matrices_are_refused(vectors, network, tmp_path, monkeypatch, changes, reason):
    monkeypatch.setattr("fsrcache.training.run.train.open_features", None)  # they are refused before it
    with pytest.raises(RequestError, match=reason) as error:
        train_generator(vectors, network, replace(CONFIG, **changes), folder=tmp_path, device=CPU)
    assert error.value.remedy == "Use an MLP without a critic: preset best."
    assert not list(tmp_path.iterdir())
