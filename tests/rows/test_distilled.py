"""The distilled rows: an extractor that learns on coarse faces what it says at full resolution, labels or not."""

import math

import numpy as np
import pytest
import torch

from fsrcache.errors import RequestError
from fsrcache.evaluation.evaluate import evaluate_predictors
from fsrcache.extractors.extractor import Taps
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.weights import read_record
from fsrcache.rows import distilled, distilled_unlabelled
from fsrcache.rows.row import RowContext
from fsrcache.store.reader import FeatureStore
from fsrcache.training.classifier import fit, trainer
from fsrcache.training.classifier.distillation import Distillation, distillation_loss
from fsrcache.verbs.baselines import baselines

CPU, ROWS = torch.device("cpu"), ["distilled", "distilled-unlabelled"]
QUICK = ("epochs=1", "batch=16", "learning_rate=0.01")


def trained(workspace, **options):
    return baselines(workspace, **{"rows": ROWS, "settings": QUICK, "device": "cpu", **options}).rows


def weights_of(workspace, row, seed=0):
    return (workspace.row(row, seed) / "extractor.safetensors").read_bytes()


def test_the_terms_of_the_loss():
    taps = Taps(torch.zeros(2, 1), torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    fine = Taps(torch.zeros(2, 1), torch.tensor([[2.0], [0.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]]))
    labels = torch.tensor([0, 1])
    odds = 1 / (1 + math.exp(-2.0))
    divergence = (-math.log(4 * odds * (1 - odds)) / 2) / 2  # mean over two faces, the first of which agrees
    entropy = (math.log(2) - math.log(1 - odds)) / 2
    for weights, wanted in (
        (Distillation(label_weight=0, logits_weight=3, embedding_weight=0), 3 * divergence),
        (Distillation(label_weight=0, logits_weight=0, embedding_weight=2), 2 * 0.25),
        (Distillation(label_weight=5, logits_weight=1, embedding_weight=0), divergence + 5 * entropy),
    ):
        assert distillation_loss(weights, label_smoothing=0.0)(taps, fine, labels).item() == pytest.approx(wanted)
    with pytest.raises(RequestError, match="weights of 0 for logits and embedding"):
        Distillation(logits_weight=0, embedding_weight=0)


def test_both_rows_are_trained_and_scored(workspace):
    results = trained(workspace)
    assert [(one.row, one.epochs, one.was_there) for one in results] == [(row, 1, False) for row in ROWS]
    assert [one.was_there for one in trained(workspace)] == [True, True]
    store, extractor = FeatureStore(workspace.store), open_extractor(workspace.extractor)
    context = RowContext(workspace=workspace, store=store, extractor=extractor, device=CPU, on_progress=lambda _: None)
    ready = [*distilled.predictors(context, ()), *distilled_unlabelled.predictors(context, ())]
    assert {one.facts["settings"] for one in ready} == {"default with epochs=1, batch=16, learning_rate=0.01"}
    assert {one.changes for one in ready} == {("epochs=1", "batch=16", "learning_rate=0.01")}
    table = evaluate_predictors(store, extractor, ready, device=CPU, heads=["frozen"])
    assert [(one.row, one.scale) for one in table.rows] == [(row, scale) for row in ROWS for scale in (1, 2, 4)]
    for row, weight in zip(ROWS, (1.0, 0.0), strict=True):
        file = workspace.row(row, 0) / "extractor.safetensors"
        training = read_record(file, kind="extractor")["training"]
        assert training["distillation"] == {"label_weight": weight, "logits_weight": 1.0, "embedding_weight": 1.0}
        assert training["fine_tuned_from"] == extractor.digest


def test_without_labels_no_label_counts(workspace, monkeypatch):
    trained(workspace, seed=1)
    original = fit.read_splits

    def shuffled(faces, rows, *, on_progress):
        splits = original(faces, rows, on_progress=on_progress)
        pictures, labels = splits["train"]
        return {**splits, "train": (pictures, labels.roll(1))}

    monkeypatch.setattr(fit, "read_splits", shuffled)
    trained(workspace, seed=1, restart=False)
    before = {row: weights_of(workspace, row, 1) for row in ROWS}
    trained(workspace, seed=1, restart=True)
    tensors = {row: weights_of(workspace, row, 1) == before[row] for row in ROWS}
    assert tensors == {"distilled": False, "distilled-unlabelled": True}


def test_the_teacher_sees_the_same_changes_at_full_resolution(workspace, monkeypatch):

    seen, original = [], trainer.augment

    def augment(pictures, config, *, random):
        seen.append((pictures, random.bit_generator.state["state"]))
        return original(pictures, config, random=random)

    monkeypatch.setattr(trainer, "augment", augment)
    trained(workspace, rows=["distilled-unlabelled"])
    pairs = list(zip(seen[::2], seen[1::2], strict=True))
    assert all(student[1] == teacher[1] for student, teacher in pairs)
    differing = np.concatenate([(student[0] != teacher[0]).flatten(1).any(1).numpy() for student, teacher in pairs])
    assert 0.4 < differing.mean() < 0.9  # two of three scales are coarse
