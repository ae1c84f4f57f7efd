"""Pre-training of an extractor: resumed, alone in its folder, at mixed scales, on the manifold, and finite."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.covpool import load_covpool
from fsrcache.faces.degrade import SCALE_FORM
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.weights import read_weights
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.training.classifier.fine_tuning import fine_tune
from fsrcache.training.classifier.pretraining import pretrain_extractor
from fsrcache.training.run.lock import run_lock

CPU = torch.device("cpu")
EXTRACTOR = ExtractorConfig(side=24, stages=((8,), (12,)), spd_side=8, hidden=16, embedding=6)
SCHEDULE = PretrainConfig(epochs=2, batch=32)


@pytest.fixture(scope="module")
def faces():
    return usable_faces(list_faces(Path("drawn:140")), side=24)


@pytest.fixture(scope="module")
def pretrain(faces):
    """Return a function that pre-trains in a folder, or goes on there."""

    def run(folder, *, schedule=SCHEDULE, **options):
        return pretrain_extractor(
            faces, EXTRACTOR, schedule, target=folder / "extractor", folder=folder / "pre", device=CPU, **options
        )

    return run


@pytest.fixture(scope="module")
def workspace(pretrain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    pretrain(folder)
    return folder


def test_a_lack_of_memory_is_said(pretrain, tmp_path, monkeypatch):
    monkeypatch.setattr("fsrcache.training.classifier.trainer.ClassifierTrainer.step", lambda *_: torch.empty(1 << 60))
    with pytest.raises(FsrcacheError, match=r"A training in batches of 32 does not fit into the memory: .") as caught:
        pretrain(tmp_path)
    assert caught.value.remedy == "Set a smaller batch."


@pytest.mark.slow
def test_pretraining_resumed_is_pretraining_undisturbed(pretrain, workspace, tmp_path):
    def on_progress(progress):
        if "held_out_accuracy" in progress.values:  # after the first epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(tmp_path, on_progress=on_progress)
    result = pretrain(tmp_path)
    assert (result.resumed_from, result.resumed_step) == (1, 0)
    assert result.epochs == 2
    assert result.extractor == str(tmp_path / "extractor")
    assert (tmp_path / "extractor").read_bytes() == (workspace / "extractor").read_bytes()
    assert len((tmp_path / "pre/history.jsonl").read_text().splitlines()) == 2
    assert set(result.accuracy) == {"held-out", "val", "test"}
    with pytest.raises(FsrcacheError, match="seed is 0 there and 1 here"):
        pretrain(tmp_path, seed=1)
    with pytest.raises(FsrcacheError, match=r"scales is \[1\] there and \[1, 4\] here"):
        pretrain(tmp_path, scales=(1, 4))


def test_a_folder_has_one_training_at_a_time(faces, pretrain, workspace, tmp_path):
    with run_lock(tmp_path / "pre"):
        with pytest.raises(FsrcacheError, match="Another process is training in"):
            pretrain(tmp_path)
        with pytest.raises(FsrcacheError, match="Another process is training in"):
            fine_tune(faces, workspace / "extractor", target=tmp_path / "e", folder=tmp_path / "pre",
                      scales=(1, 2), degradation=SCALE_FORM, device=CPU, schedule=SCHEDULE)  # fmt: skip
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_pretraining_at_mixed_scales(pretrain, workspace, tmp_path):
    pretrain(tmp_path, scales=(1, 4))
    assert (tmp_path / "extractor").read_bytes() != (workspace / "extractor").read_bytes()
    assert read_weights(tmp_path / "extractor", kind="extractor")[1]["training"]["scales"] == [1, 4]


def test_the_map_is_orthonormal_after_training(workspace):
    bimap = load_covpool(workspace / "extractor").pool.bimap.weight
    assert (bimap @ bimap.mT - torch.eye(8)).abs().max() < 1e-5


def test_a_loss_that_is_not_finite_stops_pretraining(pretrain, tmp_path):
    with pytest.raises(FsrcacheError, match=r"The loss became (nan|inf) in epoch"):
        pretrain(tmp_path, schedule=replace(SCHEDULE, learning_rate=1e30))
    assert not (tmp_path / "extractor").exists()


def test_an_extractor_beyond_the_memory_is_refused(faces, tmp_path):
    huge = replace(EXTRACTOR, stages=((2**16,) * 9, (12,)))
    with pytest.raises(RequestError, match=r"The extractor would have 309,\d{3},\d{3},\d{3} weights: 494"):
        pretrain_extractor(faces, huge, SCHEDULE, target=tmp_path / "extractor", folder=tmp_path / "pre", device=CPU)
    assert not list(tmp_path.iterdir())
