"""A small workspace of drawn faces: an extractor and a store that studies read, and train in."""

from pathlib import Path

import pytest
import torch

from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.training.classifier.pretraining import pretrain_extractor
from fsrcache.workspace import Workspace


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    files = Workspace(folder)
    faces = usable_faces(list_faces(Path("drawn:280")), side=24)
    shape = ExtractorConfig(side=24, stages=((8,), (16,)), spd_side=16, hidden=16, embedding=6)
    pretrain_extractor(faces, shape, PretrainConfig(epochs=1, batch=32), target=files.extractor, folder=folder / "pre",
             device=torch.device("cpu"))  # fmt: skip
    extract_features(face_source(faces, files.extractor, device=torch.device("cpu")), store=files.store, scales=[2, 4],
            data="drawn faces")  # fmt: skip
    return folder
