"""``degrade``: its folder holds the faces of one store, made one way, and nothing else in the place of a face."""

import shutil
from pathlib import Path

import pytest
import torch

import fsrcache
from fsrcache.errors import RequestError
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import ExtractorConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Data, Workspace

SHAPE = ExtractorConfig(side=16, stages=((4,), (6,)), spd_side=4, hidden=8, embedding=4)
COUNT = 14  # faces of test


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with its store, and beside it a store of the same faces through JPEG and one of more faces."""
    folder = tmp_path_factory.mktemp("degrade")
    workspace = Workspace(folder / "fsr")
    workspace.remember(Data("drawn:70"))
    faces = usable_faces(list_faces(Path("drawn:70")), side=16)
    save_covpool(workspace.extractor, CovPoolFER(SHAPE, faces.classes), training={})
    more = usable_faces(list_faces(Path("drawn:77")), side=16)
    for store, some, jpeg in (("fsr/features", faces, None), ("jpeg", faces, 10), ("more", more, None)):
        degradation = Degradation(jpeg=jpeg)
        source = face_source(some, workspace.extractor, device=torch.device("cpu"), degradation=degradation)
        extract_features(source, store=folder / f"{store}.zarr", scales=[2], data="drawn faces")
    return workspace


def degrade(workspace, out, **options):
    return fsrcache.degrade(workspace, out=out, splits=["test"], **options)


def test_a_folder_is_gone_on_with_by_the_same_store_alone(workspace, tmp_path):
    assert degrade(workspace, tmp_path).were_there == 0
    next((tmp_path / "x2").iterdir()).unlink()
    assert degrade(workspace, tmp_path).were_there == COUNT - 1
    for store, field in (("jpeg", "degradation"), ("more", "pictures")):
        with pytest.raises(RequestError, match=rf"differ from the store's in {field}, by its degrade\.json") as refused:
            degrade(workspace, tmp_path, store=workspace.folder.parent / f"{store}.zarr")
        assert refused.value.remedy == "Name another folder."
    (tmp_path / "degrade.json").unlink()
    with pytest.raises(RequestError, match=r"has pictures, and no degrade\.json"):
        degrade(workspace, tmp_path)


def test_what_stands_in_the_place_of_a_face_is_refused(workspace, tmp_path):
    degrade(workspace, tmp_path)
    name = FeatureStore(workspace.store).ids("test")[3]
    path = tmp_path / f"x2/{name}.png"
    path.unlink()
    path.mkdir()
    with pytest.raises(RequestError, match=f"{path.name} is no file"):
        degrade(workspace, tmp_path)
    shutil.rmtree(tmp_path / "x2")
    (tmp_path / "x2").write_text("mine")
    with pytest.raises(RequestError, match="x2 is no folder"):
        degrade(workspace, tmp_path)
