"""A workspace of a few drawn faces: an untrained extractor, its store, three short runs, and the extractor tuned."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import TRAINING, ExtractorConfig, MLPConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.train import train_generator
from fsrcache.verbs.baselines import baselines
from fsrcache.workspace import Data, Workspace

CPU = torch.device("cpu")
EXTRACTOR = ExtractorConfig(side=16, stages=((6,), (8,)), spd_side=8, hidden=12, embedding=5)
MLP = replace(
    TRAINING["best"], generator=MLPConfig(width=16, blocks=1, rank=2, members=2), steps=6, batch=8, learning_rate=5e-2
)  # so that six steps of two seeds are told apart
QUICK = ("epochs=1", "batch=32")
RUNS = {"a": (MLP, 0), "b": (MLP, 1), "other": (replace(MLP, l2_weight=3.0), 0)}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows") / "fsr"
    workspace = Workspace(folder)
    workspace.remember(Data("drawn:140"))
    faces = usable_faces(list_faces(Path("drawn:140")), side=EXTRACTOR.side)
    model = CovPoolFER(EXTRACTOR, faces.classes, generator=torch.Generator().manual_seed(4)).eval()
    save_covpool(workspace.extractor, model, training={"epochs": 0, "seed": 4})
    source = face_source(faces, workspace.extractor, device=CPU)
    extract_features(source, store=workspace.store, scales=[2, 4], data="drawn faces")
    for name, (config, seed) in RUNS.items():
        train_generator(
            FeatureStore(workspace.store), workspace.extractor, config,
            folder=workspace.run(name), seed=seed, device=CPU,
        )  # fmt: skip
    return folder


@pytest.fixture
def workspace(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "fsr")
    return Workspace(tmp_path / "fsr")


@pytest.fixture(scope="session")
def tuned_once(prepared, tmp_path_factory):
    """Return a workspace whose extractor was fine-tuned with the seed 0, and the result of that."""
    folder = tmp_path_factory.mktemp("tuned") / "fsr"
    shutil.copytree(prepared, folder)
    return folder, baselines(folder, settings=QUICK, device="cpu").rows[0]


@pytest.fixture
def tuned(tuned_once, tmp_path):
    shutil.copytree(tuned_once[0], tmp_path / "fsr")
    return Workspace(tmp_path / "fsr")


@pytest.fixture(scope="session")
def prepared_runs():
    """Return configuration and seed of every run by name, and the device."""
    return {**RUNS, "device": CPU}
