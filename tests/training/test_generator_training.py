"""A generator's training: resumed, with a falling loss, from every source of weights, and finite."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.extractors.covpool import CovPoolFER, load_covpool, save_covpool
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig, RRDBConfig, TrainConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.features import choose_location, open_features
from fsrcache.training.run.train import train_generator

CPU = torch.device("cpu")
MLP = replace(TRAINING["best"], generator=MLPConfig(width=32, blocks=1, members=2), steps=48, batch=16)
ADVERSARIAL = TrainConfig(
    generator=RRDBConfig(filters=4, growth=2, blocks=1, global_skip=True),
    critic=CriticConfig(filters=2),
    steps=12,
    batch=8,
)


@pytest.mark.parametrize("config", [MLP, ADVERSARIAL], ids=["best", "adversarial"])
def test_training_resumed_is_training_undisturbed(extractor, store, tmp_path, config):
    def stop(progress):
        if progress.phase == "training" and progress.done >= 6:
            raise KeyboardInterrupt

    whole = train_generator(store, extractor, config, folder=tmp_path / "a", device=CPU)
    with pytest.raises(KeyboardInterrupt):
        train_generator(
            store, extractor, config,
            folder=tmp_path / "b", device=CPU, on_progress=stop, checkpoint_seconds=0.0,
        )  # fmt: skip
    resumed = train_generator(store, extractor, config, folder=tmp_path / "b", device=CPU)
    assert 0 < resumed.resumed_from < config.steps
    assert resumed.held_out_accuracy == whole.held_out_accuracy
    one, other = ((tmp_path / name / "generator.safetensors").read_bytes() for name in "ab")
    assert one == other
    histories = []
    for name in "ab":
        lines = [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        histories.append([{key: value for key, value in line.items() if key != "seconds"} for line in lines])
    assert histories[0] == histories[1]
    with pytest.raises(FsrcacheError, match=r": batch is \d+ there and 7 here"):
        train_generator(store, extractor, replace(config, batch=7), folder=tmp_path / "b", device=CPU)


def test_a_checkpoint_between_two_status_lines_changes_nothing(extractor, store, tmp_path, monkeypatch):
    def stop(progress):
        if progress.phase == "training" and progress.done >= 14:
            raise KeyboardInterrupt

    config = replace(MLP, steps=200, batch=4)
    train_generator(store, extractor, config, folder=tmp_path / "a", device=CPU)
    monkeypatch.setattr("fsrcache.training.run.due._REPORT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_generator(
            store, extractor, config, folder=tmp_path / "b", device=CPU, on_progress=stop, checkpoint_seconds=0.0
        )
    assert train_generator(store, extractor, config, folder=tmp_path / "b", device=CPU).resumed_from == 13
    one, other = ((tmp_path / name / "generator.safetensors").read_bytes() for name in "ab")
    assert one == other
    histories = [
        [{**json.loads(line), "seconds": 0} for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        for name in "ab"
    ]
    assert len(histories[0]) == 200 / 5
    assert histories[0] == histories[1]


def test_training_lowers_its_loss(extractor, store, tmp_path):
    config = replace(MLP, perceptual_weight=0.0, distillation_weight=0.0, reweight="none", learning_rate=1e-2)
    train_generator(store, extractor, config, folder=tmp_path, device=CPU)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert sum(line["l2"] for line in lines[-5:]) < 0.9 * sum(line["l2"] for line in lines[:5])


@pytest.mark.parametrize("reweight", ["lr", "hr", "sr", "sr_grad", "none"])
def test_every_source_of_the_weights_trains_otherwise(extractor, store, tmp_path, reweight):
    config = replace(ADVERSARIAL, steps=2, reweight=reweight, reweight_critic=reweight != "none", l2_steps=1)
    train_generator(store, extractor, config, folder=tmp_path, device=CPU)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert set(lines[0]) == {"step", "l2", "learning_rate", "held_out_accuracy", "seconds"} - {"held_out_accuracy"}
    assert {"critic", "penalty", "adversarial", "perceptual", "l2"} <= set(lines[1])


def test_a_term_that_is_not_finite_stops_training_and_nothing_is_written(extractor, store, tmp_path):
    wild = replace(ADVERSARIAL, learning_rate=1e30, milestones=())
    with pytest.raises(FsrcacheError, match=r"term was not finite at step \d+"):
        train_generator(store, extractor, wild, folder=tmp_path, device=CPU)
    assert not (tmp_path / "generator.safetensors").exists()
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_training_with_other_weights_is_refused(extractor, store, tmp_path):
    frozen = load_covpool(extractor)
    other = CovPoolFER(frozen.config, frozen.classes, generator=torch.Generator().manual_seed(3))
    save_covpool(tmp_path / "e", other, training={})
    with pytest.raises(FsrcacheError, match="was written with other weights"):
        train_generator(store, tmp_path / "e", MLP, folder=tmp_path / "run", device=CPU)


def test_a_store_of_which_no_face_is_held_out_is_refused_in_words(store, monkeypatch):
    monkeypatch.setattr(FeatureStore, "held_out", lambda self, split="train": np.zeros(self.spec.count(split), bool))
    location = choose_location(store, "ram", device=CPU)
    with pytest.raises(FsrcacheError, match=r"None of the \d+ training faces of .* is of the held-out tenth"):
        open_features(store, TRAINING["best"], location=location, device=CPU, seed=0)
