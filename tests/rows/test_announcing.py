"""Extraction, baselines, evaluation and verifying say once how long they take, and what they do meanwhile."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fsrcache.announce import FirstSeconds, Pace
from fsrcache.evaluation import estimate
from fsrcache.evaluation.evaluate import evaluate_predictors
from fsrcache.evaluation.predictor import Predictor
from fsrcache.extraction import extract as extraction
from fsrcache.extractors.opening import open_extractor
from fsrcache.store import verify as verifying
from fsrcache.store.reader import FeatureStore
from fsrcache.training.classifier import fit
from fsrcache.verbs.baselines import baselines
from fsrcache.verbs.evaluate import evaluate
from fsrcache.verbs.extract import extract
from fsrcache.verbs.verify import verify

QUICK = ("epochs=1", "batch=32")
FACES, SCALES = 140, 3


@pytest.fixture
def announced(monkeypatch):
    """Have the second piece of any work tell a pace of 100 s, and keep what is announced: seconds, work, by what."""
    made, calls = [], Counter()

    def measured(self, pieces):
        calls[self] += 1
        return Pace(pieces, 100.0) if calls[self] == 2 else None

    monkeypatch.setattr(FirstSeconds, "measured", measured)
    monkeypatch.setattr("fsrcache.training.run.due._REPORT_SECONDS", 0.0)
    for module in (estimate, extraction, fit, verifying):
        monkeypatch.setattr(module, "announce", lambda _, *of, by: made.append((*of, by)))
    return made


def test_an_extraction_announces_what_is_missing(workspace, announced, monkeypatch):
    monkeypatch.setattr(extraction, "SIDE_BY_SIDE", 0)
    shutil.rmtree(workspace.store)
    extract(workspace, scales=[2, 4], device="cpu")
    assert len(announced) == 1
    seconds, work, by = announced[0]
    pictures = FACES * SCALES
    assert work.startswith(f"{pictures} pictures on cpu (")
    assert seconds == 100.0 * (pictures - int(by.removeprefix("the first ")))
    announced.clear()
    extract(workspace, scales=[2, 4, 8], device="cpu")
    assert announced[0][1].startswith(f"{FACES} pictures on cpu (")


@pytest.mark.slow
def test_baselines_count_the_extraction_in(workspace, announced):
    baselines(workspace, settings=QUICK, device="cpu")
    assert announced[0][1].startswith("1 epoch of")
    assert f" steps and the extraction of {FACES * SCALES} pictures on cpu (" in announced[0][1]


def test_verifying_announces_the_bytes(workspace, announced):
    verdict = verify(workspace)
    seconds, work, by = announced[0]
    assert work.startswith(f"{verdict.files} files, ")
    assert 0 < seconds < 100.0 * verdict.bytes
    assert by.endswith(" MB")


def test_an_evaluation_announces_what_is_not_kept(workspace, announced, monkeypatch):
    of_fits = {"refit-mlp": 10.0, "refit-linear": 20.0}
    monkeypatch.setattr(estimate, "_look", lambda *_, fits: (1.0, of_fits if fits else {}))
    reports = []
    evaluate(workspace, names=["a"], device="cpu", on_progress=reports.append)
    store = FeatureStore(workspace.store)
    fitted, whole, tested = int((~store.held_out()).sum()), len(store.labels("train")), len(store.labels("test"))
    seconds, work, by = announced[0]
    assert seconds == 3 * SCALES * (tested + whole + 30.0 * fitted)
    assert work.startswith("10 scores of rows with heads on cpu (")
    assert by == "a sample of each row"
    phases = {one.phase for one in reports}
    assert phases >= {
        "evaluating", "measuring", "bicubic: features of train", "bicubic, refit-mlp: re-fitting the head",
        "FSR-FER/a: train at x2", "FSR-FER/a: features of test", "FSR-FER/a, frozen: predicting",
    }  # fmt: skip
    evaluate(workspace, names=["a", "b"], heads=["frozen"], device="cpu")
    assert announced[1][:2] == (2 * SCALES * tested * 1.0, work.replace("10 scores", "2 scores"))
    evaluate(workspace, names=["a", "b"], heads=["frozen"], device="cpu")
    assert announced[2][0] == 0


def test_a_look_measures_features_and_fits(workspace, announced):
    store, device = FeatureStore(workspace.store), torch.device("cpu")
    asked = []

    def features(split, scale):
        asked.append((split, scale))
        return store.features(split, scale)[:]

    one = Predictor(
        row="r", name="r", source={}, extractor=open_extractor(Path(workspace.extractor)), features=features
    )  # fmt: skip
    before = torch.random.get_rng_state()
    evaluate_predictors(store, one.extractor, [one], device=device)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert asked[0] == ("test", 4)
    assert sorted(asked[1:]) == sorted((split, scale) for split in ("train", "test") for scale in (1, 2, 4))
    of_features, of_fits = estimate._look(store, one, "test", device, fits=True)
    assert 0 < of_features < 1
    assert all(0 < of_fits[name] < 10 for name in ("refit-mlp", "refit-linear"))
    assert np.isfinite(announced[0][0])
