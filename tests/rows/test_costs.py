"""``evaluate`` counts and measures what the rows of a workspace cost."""

import json
import shutil
from dataclasses import asdict

import pytest
import torch

from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import load_covpool, save_covpool
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import PretrainConfig
from fsrcache.training.run.spent import TIME, Spent, write_spent
from fsrcache.verbs.baselines import baselines
from fsrcache.verbs.evaluate import evaluate

KEYS = {"row", "label", "members", "parameters", "gmac", "training_seconds", "training_cpu_seconds", "milliseconds"}


def of_rows(workspace, **arguments):
    table = evaluate(workspace, heads=["frozen"], device="cpu", cost=True, **arguments)
    return {one.label: one for one in table.cost}


def test_rows_have_their_costs(workspace):
    baselines(workspace.folder, rows=["ridge", "ridge-per-scale"], device="cpu")
    cost = of_rows(workspace, names=["a"])
    assert set(vars(cost["ridge"])) >= KEYS
    extractor = cost["bicubic"].parameters
    products = (36 + 54) * 36  # of features and early features to features
    linear = products + 36
    assert cost["ridge"].parameters == extractor + linear
    assert cost["ridge-per-scale"].parameters == extractor + 2 * linear
    assert cost["ridge"].gmac == cost["ridge-per-scale"].gmac == pytest.approx(cost["bicubic"].gmac + products / 1e9)
    assert cost["bicubic"].gmac < cost["FSR-FER, one of 2"].gmac < cost["FSR-FER"].gmac
    assert cost["majority"].parameters == 0
    assert all(one.milliseconds > 0 for label, one in cost.items() if label != "majority")
    assert all(cost[row].training_seconds > 0 for row in ("ridge", "ridge-per-scale", "FSR-FER"))
    assert all(cost[row].training_seconds is None for row in ("majority", "bicubic", "FSR-FER, one of 2"))


def test_a_training_that_was_there_takes_no_time(workspace):
    baselines(workspace.folder, rows=["ridge"], device="cpu")
    (file,) = workspace.row("ridge", 0).rglob(TIME)
    before = file.read_bytes()
    assert json.loads(before)["seconds"] > 0
    baselines(workspace.folder, rows=["ridge"], device="cpu")
    assert file.read_bytes() == before


@pytest.mark.slow
def test_rows_of_their_own_networks(tuned):
    baselines(tuned.folder, rows=["rcan"], settings=["steps=1"], device="cpu")
    cost = of_rows(tuned)
    assert cost["fine-tuned"].parameters == cost["bicubic"].parameters
    assert cost["fine-tuned"].gmac == cost["bicubic"].gmac < cost["rcan"].gmac
    assert cost["rcan"].parameters > cost["bicubic"].parameters
    assert cost["fine-tuned"].training_cpu_seconds > 0
    assert cost["rcan"].training_seconds > 0
    assert cost["bicubic"].training_seconds is None  # this extractor was never pre-trained


@pytest.mark.slow
def test_specialists_have_a_network_a_scale(workspace):
    schedule = asdict(PretrainConfig(epochs=1, batch=32, learning_rate=1e-3))
    save_covpool(workspace.extractor, load_covpool(workspace.extractor), training={"schedule": schedule, "epochs": 1})
    source = face_source(
        usable_faces(list_faces("drawn:140"), side=16), workspace.extractor, device=torch.device("cpu")
    )
    shutil.rmtree(workspace.store)
    extract_features(source, store=workspace.store, scales=[2, 4], data="drawn faces")
    baselines(workspace.folder, rows=["specialists"], device="cpu")
    workspace.pretraining.mkdir()
    write_spent(workspace.pretraining, Spent(3.0, 2.0))
    cost = of_rows(workspace)
    assert cost["specialists"].parameters == 2 * cost["bicubic"].parameters
    assert cost["specialists"].gmac == cost["bicubic"].gmac
    assert cost["specialists"].training_seconds > 0
    assert (cost["bicubic"].training_seconds, cost["bicubic"].training_cpu_seconds) == (3.0, 2.0)
