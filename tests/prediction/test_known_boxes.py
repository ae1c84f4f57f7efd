"""Known boxes: whose lines they are, what a line may hold, and the square that is read around one."""

import numpy as np
import pytest

from fsrcache.errors import RequestError
from fsrcache.faces.boxes import Box
from fsrcache.faces.decode import PictureError
from fsrcache.prediction.crops import largest, square_crop
from fsrcache.prediction.known_boxes import KnownBoxes


@pytest.fixture
def written(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "boxes.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_a_line_is_of_the_pictures_whose_path_ends_so(written, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    lines = ["a.jpg,1,2,3,4", "party/a.jpg,5,6,7,8", f"{tmp_path}/c.jpg,0,0,9,9", "../b.jpg,0,0,5,5", "./d.jpg,1,1,2,2"]
    boxes = KnownBoxes(written("\n".join(["path,x,y,width,height", *lines])))
    assert boxes("a.jpg") == [Box(1, 2, 3, 4)]
    assert boxes("party/a.jpg") == [Box(5, 6, 7, 8), Box(1, 2, 3, 4)]
    assert boxes("ca.jpg") == []
    assert list(boxes.unused.values()) == [f"{tmp_path}/c.jpg", "../b.jpg", "./d.jpg"]
    assert boxes("c.jpg") == [Box(0, 0, 9, 9)]
    assert boxes(str(tmp_path.parent / "b.jpg")) == [Box(0, 0, 5, 5)]
    assert boxes("./d.jpg") == [Box(1, 1, 2, 2)]
    assert not boxes.unused


def test_columns_in_any_order_and_further_ones(written):
    boxes = KnownBoxes(written("\ufeffpath,height,width,y,x,who\r\nä.jpg,4,3,2.4,-1,Änne\r\n"))
    assert boxes("ä.jpg") == [Box(-1, 2, 3, 4)]


@pytest.mark.parametrize(
    "text",
    [
        "Path,X,Y,Width,Height\r\nparty\\a.jpg,1,2,3,4\r\n",
        "path, x, y, width, height\nparty/a.jpg, 1, 2, 3, 4\n",
        'path;x;y;width;height\n"party\\a.jpg";1;2;3;4\n',
        "x\ty\twidth\theight\t path \tsaid, by; whom\n1\t2\t3\t4\tparty/a.jpg \tme\n",
    ],
)
def test_a_file_of_excel_or_windows_is_read(written, text):
    boxes = KnownBoxes(written(text))
    assert boxes("photos/party/a.jpg") == [Box(1, 2, 3, 4)]
    assert not boxes.unused
    assert KnownBoxes(written(text))("photos\\party\\a.jpg") == [Box(1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no column path, x, y, width, height"),
        ("path,x,y,w,h\n", "has no column width, height"),
        ("path,x,y,width,height,X\n", "has the columns 'x' and 'X', which mean the same"),
        ("path,x,y,width,height\na.jpg,1,2,3\n", "line 2: it has another number of values"),
        ("path,x,y,width,height\na.jpg,10,5,2,30,40\n", "line 2: it has another number of values than the header"),
        ("x,y,width,height,path\n1,2,3,4\n", "line 2: it has another number of values than the header"),
        ("path,x,y,width,height\na.jpg,1,2,3,4\na.jpg,1,two,3,4\n", "line 3: y is 'two'"),
        ("path,x,y,width,height\na.jpg,1,2,0,4\n", "line 2: width is '0'; it should be a number from 1 to 16,777,216"),
        ("path,x,y,width,height\na.jpg,nan,2,3,4\n", "line 2: x is 'nan'"),
        ("path,x,y,width,height\na.jpg,1e30,2,3,4\n", "line 2: x is '1e30'"),
    ],
)
def test_what_is_no_box_is_refused_by_its_line(written, text, words):
    with pytest.raises(RequestError, match=words):
        KnownBoxes(written(text))


def test_what_is_no_text_is_refused(written):
    with pytest.raises(RequestError, match=r"boxes\.csv, line 3: it is not in UTF-8"):
        KnownBoxes(written("path,x,y,width,height\na,1,2,3,4\nä,1,2,3,4", encoding="latin-1"))


PICTURE = np.arange(48, dtype=np.uint8).reshape(6, 8)


def test_a_square_is_the_pixels_in_it():
    np.testing.assert_array_equal(square_crop(PICTURE, Box(2, 1, 4, 4)), PICTURE[1:5, 2:6])
    colours = np.stack([PICTURE, PICTURE + 1, PICTURE + 2], axis=2)
    np.testing.assert_array_equal(square_crop(colours, Box(2, 1, 4, 4)), colours[1:5, 2:6])


def test_a_box_is_widened_to_a_square_around_its_centre():
    np.testing.assert_array_equal(square_crop(PICTURE, Box(3, 1, 2, 4)), PICTURE[1:5, 2:6])
    np.testing.assert_array_equal(square_crop(PICTURE, Box(2, 2, 4, 2)), PICTURE[1:5, 2:6])


def test_beyond_the_picture_its_edge_repeats():
    expected = np.pad(PICTURE, ((1, 0), (0, 1)), mode="edge")[:4, 5:9]
    np.testing.assert_array_equal(square_crop(PICTURE, Box(5, -1, 4, 4)), expected)


@pytest.mark.parametrize("box", [Box(-5, 0, 8, 6), Box(9, 0, 4, 4), Box(2, 2, 1, 1)])
def test_a_box_that_shows_no_face_is_refused(box):
    with pytest.raises(PictureError, match="the face's box"):
        square_crop(PICTURE, box)


def test_a_square_of_enormous_size_is_refused():
    with pytest.raises(PictureError, match="the face's box at 0, 0 is 100000 pixels long"):
        square_crop(np.zeros((2, 100_000), np.uint8), Box(0, 0, 100_000, 2))


def test_the_largest_keep_their_order():
    boxes = [Box(0, 0, side, side) for side in (3, 9, 5, 9, 4)]
    assert [box.width for box in largest(boxes)] == [3, 9, 5, 9, 4]
    assert [box.width for box in largest(boxes, max_faces=3)] == [9, 5, 9]
    assert [box.width for box in largest(boxes, min_size=4, max_faces=9)] == [9, 5, 9, 4]
    assert [box.width for box in largest([Box(0, 0, 2, 9)], min_size=9)] == [2]
    assert largest([], max_faces=2) == []
