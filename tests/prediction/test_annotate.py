"""Annotated pictures: a box around every face, a label that lies in the picture, and where the file lies."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces.boxes import Box
from fsrcache.prediction.annotate import annotated, annotator, refuse_own_pictures
from fsrcache.prediction.answers import FacePrediction, PicturePredictions

YELLOW, GREY = (255, 214, 10), (190, 190, 190)


def picture(*boxes, size=(200, 300), path="a.jpg", unsure=False):
    faces = tuple(
        FacePrediction(
            box=box, size=box.width, scale=2, label="happiness", probabilities={"happiness": 1.0}, confidence=0.5,
            unsure=unsure,
        )
        for box in boxes
    )  # fmt: skip
    return PicturePredictions(path, faces, np.zeros(size, np.uint8))


def coloured(image, colour):
    """Return the left, top, right and bottom pixel of a colour."""
    rows, columns = np.nonzero((np.asarray(image) == colour).all(2))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_a_box_lies_around_the_face_and_its_label_above():
    image = annotated(picture(Box(50, 80, 60, 60)))
    left, top, right, bottom = coloured(image, YELLOW)
    assert (left, right >= 109, bottom) == (50, True, 139)
    assert 55 < top < 80  # of the letters
    assert image.getpixel((60, 110)) == (0, 0, 0)  # the face itself is not covered
    assert coloured(annotated(picture(Box(50, 80, 60, 60), unsure=True)), GREY)[0] == 50


@pytest.mark.parametrize("box", [Box(0, 0, 60, 60), Box(240, 0, 60, 60), Box(240, 140, 60, 60), Box(-20, -20, 60, 60)])
def test_a_label_lies_in_the_picture(box):
    plain = annotated(picture())
    drawn = np.asarray(annotated(picture(box)))
    paper = (drawn == (20, 20, 20)).all(2)
    assert plain.size == (300, 200)
    assert paper.sum() > 300
    assert paper.any(1).sum() >= 14  # none of its height is cut off


def test_small_faces_are_enlarged_and_large_pictures_are_not():
    assert annotated(picture(Box(9, 9, 12, 12))).size == (1200, 800)
    assert annotated(picture(Box(9, 9, 4, 4))).size == (1800, 1200)
    assert annotated(picture(Box(9, 9, 12, 12), size=(3000, 4000))).size == (4000, 3000)


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("a.jpg", "a.jpg.png"),
        ("../party/a.jpg", "party/a.jpg.png"),
        ("/photos/a.jpg", "photos/a.jpg.png"),
        ("clip.mp4#frame=12", "clip.mp4#frame=12.png"),
        ("-", "standard input.png"),
    ],
)
def test_a_file_lies_as_the_picture_does(tmp_path, path, written):
    assert annotator(tmp_path / "answers")(picture(path=path)) == tmp_path / "answers" / written
    with Image.open(tmp_path / "answers" / written) as image:
        assert (image.format, image.size) == ("PNG", (300, 200))


def test_no_picture_replaces_another(tmp_path):
    write = annotator(tmp_path)
    paths = ["a.jpg", "../a.jpg", "../b.jpg", "a.jpg", "b.jpg", "x/../a.jpg", "x/a.jpg", f"{tmp_path.anchor}x/a.jpg"]
    written = [str(write(picture(path=path)).relative_to(tmp_path)) for path in paths]
    assert written == [
        "a.jpg.png", "a.jpg-2.png", "b.jpg-2.png", "a.jpg.png", "b.jpg.png",
        "x/a.jpg.png", "x/a.jpg-2.png", "x/a.jpg-3.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "path", "refused"),
    [
        ("in/answers", "in", True),
        ("answers", ".", True),
        ("in", "in", True),
        (".", "in", True),  # in/a.png.png beside in/a.png
        ("answers", "in/..", True),
        ("in/answers", "in/**/*.png", True),
        ("answers", "**/*.png", True),
        (".", "in/*.png", True),
        (".", "*.png", True),
        ("in/answers", "link", True),
        ("answers", "in", False),
        ("answers", "*.png", False),
        ("answers", "in/**/*.png", False),
        ("in/answers", "in/*.png", False),
        (".", "in/a.png", False),
        (".", "-", False),
        ("..", "in", False),
        ("in2", "in", False),
    ],
)
def test_a_folder_from_which_annotated_pictures_would_be_read_is_refused(tmp_path, monkeypatch, folder, path, refused):
    here = tmp_path / "here"
    (here / "in").mkdir(parents=True)
    (here / "link").symlink_to("in")
    (here / "in/a.png").write_bytes(b"-")
    monkeypatch.chdir(here)
    if not refused:
        refuse_own_pictures(Path(folder), [path])
        return
    with pytest.raises(RequestError, match="Pictures annotated in"):
        refuse_own_pictures(Path(folder), ["in/a.png", path])


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "answers").write_text("a file")
    with pytest.raises(FsrcacheError, match="cannot be written"):
        annotator(tmp_path / "answers")(picture())
