"""A face is cropped from the picture's own pixels by the box behind its name."""

import numpy as np
import pytest

from fsrcache.faces.boxes import CUT, Box, crop, split_box, with_box
from fsrcache.faces.decode import PictureError
from fsrcache.faces.index import list_faces
from fsrcache.faces.survey import survey


@pytest.mark.parametrize("box", [Box(0, 0, 1, 1), Box(-3, 12, 40, 50)])
def test_a_box_behind_a_name(box):
    assert split_box(with_box("a/b #1.jpg", box)) == ("a/b #1.jpg", box)
    for name in ("a.jpg", "a.jpg#xywh=1,2,3", "a.jpg#xywh=1,2,-3,4", "#xywh=1,2,3,4", "a.jpg#xywh=1,2,3,4.png"):
        assert split_box(name) == (name, None)


def test_crop(tile):
    picture = np.stack([tile(i, 20) for i in range(3)], axis=2)
    face, notes = crop(picture, Box(4, 2, 12, 14))
    assert np.array_equal(face, picture[2:16, 4:16])
    assert face.base is None
    assert notes == ()
    picture[2:16, 4:16] = picture[2:16, 4:16, :1]
    assert crop(picture, Box(4, 2, 12, 14))[0].shape == (14, 12)


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        (Box(-2, -3, 10, 10), slice(0, 7), slice(0, 8)),
        (Box(15, 12, 10, 8), slice(12, 20), slice(15, 20)),
    ],
)
def test_a_box_beyond_the_edge_is_cut(tile, box, rows, columns):
    face, notes = crop(tile(1, 20), box)
    assert np.array_equal(face, tile(1, 20)[rows, columns])
    assert notes == (CUT,)


@pytest.mark.parametrize(
    "box", [Box(16, 0, 10, 8), Box(30, 3, 4, 4), Box(-9, -9, 4, 4), Box(3, 3, 0, 4), Box(0, 0, 99, 99)]
)
def test_a_box_that_does_not_fit(tile, box):
    with pytest.raises(PictureError, match=f"{box.width} x {box.height} at {box.x}, {box.y}, .* 20 x 20 pixels"):
        crop(tile(1, 20), box)


def test_a_table_may_name_boxes(tmp_path, write, tile):
    write(tmp_path / "1.png", 1, 20)
    (tmp_path / "t.csv").write_text(
        'path,label\n"1.png#xywh=1,2,3,4",happy\n"1.png#xywh=9,9,5,5",sad\n"1.png#xywh=99,9,5,5",sad\n1.png,fear\n'
    )
    listing = list_faces(tmp_path / "t.csv")
    assert np.array_equal(listing.load(0), tile(1, 20)[2:6, 1:4])
    seen = survey(listing)
    assert seen.sizes.tolist() == [[4, 3], [5, 5], [0, 0], [20, 20]]
    assert [listing.where(i).rsplit("/")[-1] for i in seen.unreadable] == ["1.png#xywh=99,9,5,5"]
