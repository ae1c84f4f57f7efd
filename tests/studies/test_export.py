"""The study of exported models: which faces it asks about."""

import pytest
from PIL import Image

from fsrcache.drawn.face import draw_face
from fsrcache.errors import RequestError
from fsrcache.faces.bicubic import imresize
from fsrcache.workspace import Data, Workspace
from studies.export import scored_faces

CLASSES = ("sadness", "happiness")


@pytest.fixture
def files(tmp_path):
    """Return a function that makes a workspace of faces in some splits, and of one file that is no picture."""

    def make(*splits, **options):
        for split in splits:
            for number, name in enumerate(CLASSES):
                folder = tmp_path / "faces" / split / name
                folder.mkdir(parents=True)
                for index in range(4):
                    face = draw_face(9, 10 * number + index)
                    Image.fromarray(face if index else face[..., 0]).save(folder / f"{index}.png")
                (folder / "broken.png").write_bytes(b"no picture")
        workspace = Workspace(tmp_path / "fsr")
        workspace.remember(Data(str(tmp_path / "faces"), on_error="skip", **options))
        return workspace

    return make


@pytest.mark.parametrize(
    ("splits", "chosen"), [(("train", "test"), "test"), (("train", "val", "test"), "val")], ids=["without val", "val"]
)
def test_the_faces_are_of_val_or_else_of_test(splits, chosen, files):
    split, faces, labels = scored_faces(files(*splits), 24, CLASSES)
    assert split == chosen
    assert faces.shape == (8, 24, 24, 3)
    assert sorted(labels) == [0] * 4 + [1] * 4
    expected = {imresize(draw_face(9, index), size=(24, 24)).tobytes() for index in range(1, 4)}
    assert expected <= {face.tobytes() for face in faces[labels == 0]}


def test_the_workspace_s_limit_holds(files):
    assert len(scored_faces(files("train", "test", limit=4), 24, CLASSES)[1]) == 4


def test_data_without_either_split_are_refused(files, tmp_path):
    with pytest.raises(RequestError, match="neither val nor test"):
        scored_faces(files("train"), 24, CLASSES)
    with pytest.raises(RequestError, match="remembers no data"):
        scored_faces(Workspace(tmp_path / "other"), 24, CLASSES)
