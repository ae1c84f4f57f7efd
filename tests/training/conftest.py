"""A small workspace of drawn faces: an extractor and a store that every training test reads."""

from pathlib import Path

import pytest
import torch

from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.classifier.pretraining import pretrain_extractor
from fsrcache.workspace import Workspace

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def extractor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    faces = usable_faces(list_faces(Path("drawn:280")), side=24)
    shape = ExtractorConfig(side=24, stages=((8,), (12,)), spd_side=8, hidden=16, embedding=6)
    schedule = PretrainConfig(epochs=1, batch=32)
    pretrain_extractor(faces, shape, schedule, target=folder / "extractor", folder=folder / "pre", device=CPU)
    source = face_source(faces, folder / "extractor", device=CPU)
    extract_features(source, store=folder / "store", scales=[2, 4], data="drawn faces")
    return folder / "extractor"


@pytest.fixture
def store(extractor):
    return FeatureStore(extractor.with_name("store"))


@pytest.fixture
def workspace(store, extractor, tmp_path):
    """A workspace with a store at scales 1, 2 and 4."""
    workspace = Workspace(tmp_path / "fsr")
    workspace.folder.mkdir()
    workspace.store.symlink_to(store.name)
    workspace.extractor.symlink_to(extractor)
    return workspace
