"""The specialists: the extractor's own training at one scale each, resumed scale by scale, scored at its own scale."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.evaluate import evaluate_predictors
from fsrcache.evaluation.heads import Logits, probabilities_of
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.features import features_of
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, load_covpool, save_covpool
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.weights import read_record
from fsrcache.presets import PretrainConfig
from fsrcache.rows import specialists
from fsrcache.store.reader import FeatureStore
from fsrcache.training.classifier.estimate import PretrainEstimate
from fsrcache.verbs.baselines import baselines

CPU, OWN = torch.device("cpu"), PretrainConfig(epochs=2, batch=32, learning_rate=1e-3)
VIEWS = Degradation(jpeg=90)


@pytest.fixture
def pretrained(workspace):
    """Return a workspace whose extractor's file says how it was trained, and a store of JPEG views at x2 and x4."""
    model = load_covpool(workspace.extractor)
    save_covpool(workspace.extractor, model, training={"schedule": asdict(OWN), "epochs": 2, "seed": 4})
    source = face_source(faces(), workspace.extractor, device=CPU, degradation=VIEWS)
    shutil.rmtree(workspace.store)
    extract_features(source, store=workspace.store, scales=[2, 4], data="drawn faces")
    return workspace


@pytest.fixture(autouse=True)
def measured(monkeypatch):
    """Have the estimate be what a test can tell."""
    estimate = PretrainEstimate(
        epochs=2, steps_per_epoch=3, seconds_per_epoch=50.0, seconds=100.0, parameters=1, memory={}, measured_steps=5,
        pictures_per_second=1.0,
    )  # fmt: skip
    monkeypatch.setattr(specialists, "estimate_pretraining", lambda *_, **__: estimate)


def faces():
    return usable_faces(list_faces(Path("drawn:140")), side=16)


def trained(workspace, **options):
    return baselines(workspace, **{"rows": ["specialists"], "device": "cpu", **options}).rows[0]


def predictors(workspace, on_progress=lambda _: None):
    store, extractor = FeatureStore(workspace.store), open_extractor(workspace.extractor)
    context = specialists.RowContext(
        workspace=workspace, store=store, extractor=extractor, device=CPU, on_progress=on_progress
    )
    return specialists.predictors(context, ())


def test_a_specialist_a_scale_by_the_extractors_own_training(pretrained):
    notes = []
    result = trained(pretrained, on_progress=lambda one: notes.append(one.note))
    assert any(note.startswith("About 3 min 20 s for 2 specialists of 2 epochs on cpu") for note in notes)
    assert (result.epochs, result.resumed_from, result.was_there) == (4, 0, False)
    assert [(line["scale"], line["epoch"]) for line in result.history] == [(2, 1), (2, 2), (4, 1), (4, 2)]
    store, (predictor,) = FeatureStore(pretrained.store), predictors(pretrained)
    assert predictor.scales == (1, 2, 4)
    assert (predictor.facts["settings"], predictor.changes) == ("default", ())
    for scale in (2, 4):
        file = pretrained.row("specialists", 0) / f"x{scale}/extractor.safetensors"
        training = read_record(file, kind="extractor")["training"]
        assert training["scales"] == [scale]
        assert training["schedule"] == asdict(OWN)
        assert training["degradation"] == asdict(VIEWS)
        source = face_source(faces(), file, device=CPU)
        order = source.order
        seen = features_of(source.extractor, source.faces.batch(order["test"]), scale=scale, degradation=VIEWS)
        np.testing.assert_allclose(predictor.probabilities("test", scale), seen.probabilities, rtol=1e-4, atol=1e-6)
        held_out = order["train"][store.held_out()]
        answers = features_of(source.extractor, source.faces.batch(held_out), scale=scale, degradation=VIEWS)
        right = 100 * (answers.probabilities.argmax(1) == store.labels("train")[store.held_out()]).mean()
        assert result.held_out[f"x{scale}"] == pytest.approx(right)
    head = Logits(open_extractor(pretrained.extractor).frozen_head())  # as of the row bicubic
    expected = probabilities_of(head, store.features("test", 1)[:])
    np.testing.assert_array_equal(predictor.probabilities("test", 1), expected)


def stop_at_the_last_scale(pretrained, monkeypatch, **options):
    """Train, and stop as the specialist for x4 is about to predict."""
    original = specialists._predict

    def interrupted(source, store, folder, scale, on_progress):
        if scale == 4:
            raise KeyboardInterrupt
        return original(source, store, folder, scale, on_progress)

    with monkeypatch.context() as patch:
        patch.setattr(specialists, "_predict", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(pretrained, **options)


def test_it_goes_on_at_the_scale_where_it_stopped(pretrained, monkeypatch):
    trained(pretrained, seed=1, settings=["epochs=1"])
    stop_at_the_last_scale(pretrained, monkeypatch, settings=["epochs=1"])
    assert [one.scales for one in predictors(pretrained)] == [(1, 2), (1, 2, 4)]
    result = trained(pretrained, settings=["epochs=1"])
    assert (result.epochs, result.resumed_from, result.was_there) == (2, 2, False)
    assert trained(pretrained, settings=["epochs=1"]).was_there
    both = predictors(pretrained)
    assert [(one.row, one.seed, one.facts["settings"]) for one in both] == [
        ("specialists", seed, "default with epochs=1") for seed in (0, 1)
    ]
    for scale in (2, 4):
        assert not np.array_equal(*(one.probabilities("test", scale) for one in both))


def test_an_interrupted_restart_goes_on_without_it(pretrained, stop_after):
    trained(pretrained, settings=["epochs=1"])
    with pytest.raises(KeyboardInterrupt):
        trained(pretrained, restart=True, on_progress=stop_after("specialists, x2: pre-training", 1))
    assert trained(pretrained).epochs == 4


def test_a_seed_whose_specialists_were_trained_by_different_settings_is_left_out(pretrained, stop_after):
    trained(pretrained, settings=["epochs=1"])
    trained(pretrained, settings=["epochs=1"], seed=1)
    with pytest.raises(KeyboardInterrupt):
        trained(pretrained, restart=True, on_progress=stop_after("specialists, x4: pre-training", 1))
    notes = []
    (kept,) = predictors(pretrained, on_progress=lambda one: notes.append(one.note))
    assert kept.seed == 1
    assert notes == ["specialists with the seed 0 is left out: its networks were trained by different settings."]
    trained(pretrained)
    assert [(one.seed, one.facts["settings"]) for one in predictors(pretrained)] == [
        (0, "default"), (1, "default with epochs=1"),
    ]  # fmt: skip


@pytest.mark.parametrize("change", ["shape", "schedule", "unknown"])
def test_those_of_another_extractor_are_left_out(pretrained, change):
    trained(pretrained, settings=["epochs=1"])
    model, schedule = load_covpool(pretrained.extractor), replace(OWN, epochs=5)
    save_covpool(pretrained.extractor, model, training={"schedule": asdict(schedule)})
    assert [one.facts["settings"] for one in predictors(pretrained)] == ["default with epochs=1"]
    if change == "shape":
        model = CovPoolFER(replace(model.config, hidden=8), model.classes)
    else:
        schedule = replace(schedule, learning_rate=2e-3)
    save_covpool(pretrained.extractor, model, training={"schedule": asdict(schedule)} if change != "unknown" else {})
    notes = []
    assert predictors(pretrained, on_progress=lambda one: notes.append(one.note)) == []
    assert notes == ["specialists with the seed 0 is left out: its networks were trained as another extractor was."]


def test_a_scale_whose_last_specialist_was_about_to_predict_is_left_out(pretrained, monkeypatch):
    trained(pretrained, settings=["epochs=1"])
    stop_at_the_last_scale(pretrained, monkeypatch, restart=True)
    notes = []
    (ready,) = predictors(pretrained, on_progress=lambda one: notes.append(one.note))
    assert (ready.scales, ready.facts["settings"]) == ((1, 2), "default")
    assert notes == [
        "specialists with the seed 0 is left out at x4: its predictions are of other faces, or of the network before "
        "the present one."
    ]
    assert ready.probabilities("test", 2).shape[1] == 7
    result = trained(pretrained)
    assert (result.epochs, result.resumed_from, result.was_there) == (4, 4, False)
    assert [one.scales for one in predictors(pretrained)] == [(1, 2, 4)]


def test_they_are_scored_as_they_are_and_refused_if_they_do_not_belong(pretrained):
    trained(pretrained, settings=["epochs=1"])
    store, extractor, ready = (
        FeatureStore(pretrained.store),
        open_extractor(pretrained.extractor),
        predictors(pretrained),
    )
    table = evaluate_predictors(store, extractor, ready, device=CPU)
    assert [(one.row, one.head, one.scale) for one in table.rows] == [("specialists", "frozen", s) for s in (1, 2, 4)]
    for split in ("test", "val"):  # with temperatures of val, and of the held-out tenth
        calibrated = evaluate_predictors(store, extractor, ready, device=CPU, split=split, calibration=True)
        assert all(one.temperature is not None for one in calibrated.rows)
    for one in table.rows:
        answers = ready[0].probabilities("test", one.scale).argmax(1)
        assert one.accuracy == pytest.approx(100 * (answers == store.labels("test")).mean())
    folder = pretrained.row("specialists", 0)
    (folder / "x2/test.safetensors").write_bytes((folder / "x2/val.safetensors").read_bytes())
    with pytest.raises(FsrcacheError, match="no predictions of test for the faces") as caught:
        ready[0].probabilities("test", 2)
    assert caught.value.remedy.endswith("rows=['specialists'], seed=0)`.")
    (folder / "x4/extractor.safetensors").write_bytes(b"x")
    with pytest.raises(FsrcacheError, match="no predictions of val for the faces"):
        ready[0].probabilities("val", 4)


def test_an_extractor_of_unknown_training_has_none(workspace):
    with pytest.raises(
        RequestError, match=r"specialists cannot be trained: how CovPoolFER was pre-trained is not known"
    ):
        trained(workspace)
    extractor = open_extractor(workspace.extractor)
    assert specialists.obstacle(extractor, (1, 2)) == "how CovPoolFER was pre-trained is not known."
    assert specialists.obstacle(replace(extractor, schedule=OWN), (1, 2)) == ""
    model = load_covpool(workspace.extractor)
    for training in ({"schedule": asdict(OWN)}, {"schedule": asdict(OWN), "fine_tuned_from": "0" * 64}):
        save_covpool(workspace.extractor, model, training=training)
        known = open_extractor(workspace.extractor).schedule
        assert known == (None if "fine_tuned_from" in training else OWN)


def test_all_rows_leave_it_out_before_work_begins(workspace, monkeypatch):
    monkeypatch.setattr("fsrcache.verbs.baselines.RowTraining", None)  # of the first row that is trained
    notes = []
    with pytest.raises(TypeError):
        baselines(workspace, rows=["all"], device="cpu", on_progress=lambda one: notes.append(one.note))
    assert "specialists is left out: how CovPoolFER was pre-trained is not known." in notes
