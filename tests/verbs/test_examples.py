"""The picture of example faces: of the store's own pictures, and left out in words where they are not at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fsrcache
from fsrcache.cli.main import main
from fsrcache.drawn.face import draw_face
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.faces.expressions import EXPRESSIONS
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import ExtractorConfig
from fsrcache.workspace import Data, Workspace

SETTINGS = ("generator.width=8", "batch=16")
SHAPE = ExtractorConfig(side=16, stages=((4,), (6,)), spd_side=4, hidden=8, embedding=4)
CPU = ("--device", "cpu", "--heads", "frozen")


@pytest.fixture
def workspace(tmp_path):
    """A workspace of an untrained extractor on a folder of faces, their store, and a run of two steps."""
    for index in range(70):
        split = ("train", "test")[index >= 49]
        path = tmp_path / "faces" / split / EXPRESSIONS[index % 7] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_face(0, index)).save(path)
    faces = usable_faces(list_faces(tmp_path / "faces"), side=16)
    workspace = Workspace(tmp_path / "fsr")
    save_covpool(workspace.extractor, CovPoolFER(SHAPE, faces.classes), training={})
    source = face_source(faces, workspace.extractor, device=torch.device("cpu"))
    extract_features(source, store=workspace.store, scales=[2], data="faces")
    workspace.remember(Data(str(tmp_path / "faces")))
    fsrcache.train(workspace, preset="tiny", steps=2, settings=SETTINGS, device="cpu")
    return workspace


def evaluated(workspace, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--workspace", str(workspace.folder), *CPU])
    assert stop.value.code == 0
    return capsys.readouterr().err.splitlines()


def test_the_last_lines_say_what_to_look_at(workspace, capsys):
    folder = workspace.run("default")
    lines = evaluated(workspace, capsys)
    assert lines[-2].endswith(str(folder / "accuracy.png"))
    assert lines[-1].endswith(str(folder / "faces.png"))
    with Image.open(folder / "faces.png") as sheet:
        assert sheet.width < 800
        shown = np.asarray(sheet)[60:210, 112:262].reshape(-1, 3)
    assert shown.std() > 10  # a face


def test_without_the_pictures_a_line_says_so(workspace, capsys):
    folder = workspace.run("default")
    evaluated(workspace, capsys)
    faces = Path(workspace.data().path)
    faces.rename(faces.with_name("moved"))
    assert evaluated(workspace, capsys)[-1] == (
        f"No faces.png: The faces are not at hand: nothing is at {faces} any more."
    )
    assert not (folder / "faces.png").exists()  # not that of another table
    faces.with_name("moved").rename(faces)
    for path in faces.rglob("test/*/*.png"):
        Image.new("RGB", (100, 100)).save(path)
    assert "as the store has" in evaluated(workspace, capsys)[-1]
