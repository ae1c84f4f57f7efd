"""A workspace of a few drawn faces: an untrained extractor, its store, a short run; and a crowd of these faces."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.faces.bicubic import imresize
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.model import load
from fsrcache.presets import TRAINING, ExtractorConfig, MLPConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.train import train_generator
from fsrcache.workspace import Data, Workspace

CPU = torch.device("cpu")
SIDE = 24
EXTRACTOR = ExtractorConfig(side=SIDE, stages=((8,), (12,)), spd_side=8, hidden=16, embedding=6)
CONFIG = dataclasses.replace(
    TRAINING["tiny"], generator=MLPConfig(width=16, blocks=1, rank=0), steps=8, batch=16, learning_rate=3e-2
)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    workspace = Workspace(tmp_path_factory.mktemp("predict") / "fsr")
    workspace.remember(Data("drawn:140"))
    faces = usable_faces(list_faces(Path("drawn:140")), side=SIDE)
    save_covpool(workspace.extractor, CovPoolFER(EXTRACTOR, faces.classes), training={})
    source = face_source(faces, workspace.extractor, device=CPU)
    extract_features(source, store=workspace.store, scales=[2, 4], data="drawn faces")
    store = FeatureStore(workspace.store)
    train_generator(store, workspace.extractor, CONFIG, folder=workspace.run("default"), device=CPU)
    return workspace.folder


@pytest.fixture(scope="session")
def model(prepared):
    return load(prepared)


@pytest.fixture
def folder(prepared, tmp_path):
    """A workspace's folder of the test's own."""
    return Path(shutil.copytree(prepared, tmp_path / "fsr"))


@pytest.fixture(scope="session")
def drawn():
    """Drawn faces, uint8 [70, 100, 100, 3]."""
    return usable_faces(list_faces(Path("drawn:70")), side=100).batch(np.arange(70))


@pytest.fixture(scope="session")
def crowd(drawn):
    """A picture uint8 [240, 320, 3] and the squares (x, y, side) of the faces in it, the largest first."""
    picture = np.full((240, 320, 3), 90, np.uint8)
    squares = [(10, 20, 96), (150, 30, 48), (230, 120, 32), (40, 160, 24)]
    for face, (x, y, side) in zip(drawn, squares, strict=False):
        picture[y : y + side, x : x + side] = imresize(face, size=(side, side))
    return picture, squares


@pytest.fixture
def photo(crowd, tmp_path):
    """The path of the crowd's picture."""
    path = tmp_path / "photo.png"
    Image.fromarray(crowd[0]).save(path)
    return path
