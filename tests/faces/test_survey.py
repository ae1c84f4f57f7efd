"""Decoding everything once: sizes, sides, duplicates, what is unusable, in bounded memory."""

import threading
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

import fsrcache.faces.faces as reading
from fsrcache import imresize
from fsrcache.ahead import ordered_map
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces.faces import faces_of, usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.faces.report import equal_rows, report
from fsrcache.faces.sheet import class_sheet, scale_sheet
from fsrcache.faces.survey import survey
from fsrcache.threads import usable_threads
from fsrcache.verbs.data import faces_of_listing


@pytest.fixture
def data(tmp_path, write):
    write(tmp_path / "train/happy/1.png", 1)
    write(tmp_path / "train/happy/2.png", 2, 20)
    write(tmp_path / "train/sad/3.png", 3)
    write(tmp_path / "val/happy/4.bmp", 1)  # stands in train too, in another file format
    write(tmp_path / "test/sad/5.png", 3)
    write(tmp_path / "test/angry/6.png", 3)  # and with another label
    return tmp_path


def test_faces_are_read_at_the_commonest_side(data, tile):
    faces = usable_faces(list_faces(data))
    assert (faces.side, faces.resized, faces.grey) == (12, 1, True)
    batch = faces.batch(np.arange(6))
    assert batch.shape == (6, 12, 12, 1)
    small = list(faces.names).index("train/happy/2.png")
    assert np.array_equal(batch[small, ..., 0], imresize(tile(2, 20), size=(12, 12)))
    assert np.array_equal(batch[list(faces.names).index("train/happy/1.png"), ..., 0], tile(1))
    larger = usable_faces(list_faces(data), side=20)
    assert (larger.side, larger.resized) == (20, 5)
    with pytest.raises(RequestError, match="side is 0"):
        usable_faces(list_faces(data), side=0)


def test_a_face_that_is_not_square_or_grey(tmp_path, write):
    write(tmp_path / "train/happy/1.png", 1)
    Image.new("RGB", (9, 12), "red").save(tmp_path / "train/happy/2.png")
    batch = usable_faces(list_faces(tmp_path)).batch(np.array([1, 0]))
    assert batch.shape == (2, 12, 12, 3)
    assert (batch[0] == (255, 0, 0)).all()
    assert np.array_equal(batch[1, ..., 0], batch[1, ..., 2])


def test_the_side_is_the_longer_one_and_what_is_stretched_to_it_is_said(tmp_path):
    for i, size in enumerate([(9, 12), (12, 7), (9, 9)]):
        path = tmp_path / f"happy/{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", size).save(path)
    listing, notes = list_faces(tmp_path), []
    assert usable_faces(listing).side == 12
    stretched = "2 of 3 pictures are not square, and are stretched to be"
    faces_of_listing(listing, side=None, on_error="fail", on_progress=lambda progress: notes.append(progress.note))
    assert stretched in notes
    assert stretched in report(usable_faces(listing))["notes"]


def test_a_side_that_no_face_has_is_refused_unless_it_is_named(tmp_path):
    for i, length in enumerate([2049, 2049, 12]):
        path = tmp_path / f"happy/{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("1", (length, 3)).save(path)
    listing = list_faces(tmp_path)
    with pytest.raises(FsrcacheError, match=r"commonest side of the pictures is 2,049 pixels; .* 2,048") as caught:
        usable_faces(listing)
    assert "uncropped" in caught.value.remedy
    assert "side=N" in caught.value.remedy
    assert usable_faces(listing, side=100).side == 100
    uncropped = report(faces_of(listing, survey(listing)))
    assert uncropped["side"] == 2049
    assert "uncropped" in uncropped["notes"][-1]


def test_report(data):
    (data / "train/sad/empty.png").touch()
    faces = usable_faces(list_faces(data), on_error="skip")
    record = report(faces)
    assert record["splits"]["train"] == dict.fromkeys(faces.classes, 0) | {"happiness": 2, "sadness": 1}
    assert record["splits"]["test"]["anger"] == 1
    assert record["sizes"] == {"12 x 12": 5, "20 x 20": 1}
    assert record["unreadable"] == [{"path": str(data / "train/sad/empty.png"), "reason": "empty file"}]
    twins = record["duplicates"]
    assert (twins["groups"], twins["pictures"], twins["across_splits"], twins["conflicting_labels"]) == (2, 5, 2, 1)
    assert twins["twins_in_train"] == {"val": 1, "test": 2}
    assert sorted(len(group) for group in twins["examples"]) == [2, 3]


def test_equal_rows_groups_like_a_dictionary():
    hashes = np.random.default_rng(0).integers(0, 2, (200, 16), np.uint8) * np.array([1] * 5 + [0] * 11, np.uint8)
    order, starts = equal_rows(hashes)
    groups = {tuple(sorted(order[a:b].tolist())) for a, b in pairwise(starts)}
    expected = {}
    for row, value in enumerate(hashes):
        expected.setdefault(value.tobytes(), []).append(row)
    assert groups == {tuple(rows) for rows in expected.values()}


def test_unusable_pictures_stop_later_commands_with_the_whole_list(data):
    (data / "train/sad/empty.png").touch()
    (data / "val/happy/text.jpg").write_text("text")
    with pytest.raises(FsrcacheError) as caught:
        usable_faces(list_faces(data))
    assert "2 of 8" in caught.value.what
    assert "empty.png: empty file" in caught.value.what
    assert "text.jpg: not a picture" in caught.value.what
    assert len(usable_faces(list_faces(data), on_error="skip").rows) == 6
    for picture in data.rglob("*.*"):
        picture.write_bytes(b"")
    with pytest.raises(FsrcacheError, match="8 of 8"):
        usable_faces(list_faces(data), on_error="skip")


def test_a_picture_that_goes_away_is_named(data):
    faces = usable_faces(list_faces(data))
    (data / "train/happy/1.png").unlink()
    with pytest.raises(FsrcacheError, match=r"1\.png could be read before"):
        faces.batch(np.arange(6))


def test_ordered_map_keeps_order_and_few_under_way():
    begun, most, before = 0, 0, threading.active_count()

    def items():
        nonlocal begun
        for i in range(500):
            begun += 1
            yield i

    for done, value in enumerate(ordered_map(lambda i: i * i, items(), threads=2), start=1):
        most = max(most, begun - done)
        assert value == (done - 1) ** 2
    assert done == 500
    assert most <= 33
    assert threading.active_count() == before


def test_memory_does_not_grow_with_pictures(tmp_path, write):
    for i in range(4):
        write(tmp_path / f"{i}.png", i, 200)

    def memory(count):
        """Return the bytes that are left of a survey, and the most that there were."""
        table = tmp_path / f"{count}.csv"
        table.write_text("path,label\n" + "".join(f"{i % 4}.png,happy\n" for i in range(count)))
        listing = list_faces(table)
        tracemalloc.start()
        seen = survey(listing)
        left, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(seen.hashes) == count
        return left, most

    memory(4)  # what is imported at the first picture is no picture's
    (left, most), (less, _) = memory(2000), memory(200)
    assert left - less < 1800 * 100  # a picture's record, not its 40,000 pixels
    under_way = 16 * usable_threads() + 1
    assert most - left < under_way * 400_000  # file, pixels and their copies of those alone that are being read


def test_sheets(data):
    faces = usable_faces(list_faces(data))
    sheet = class_sheet(faces, columns=3)
    assert sheet.size == (92 + 3 * (108 + 4), 4 + 7 * (108 + 4))
    scales = np.asarray(scale_sheet(faces, [1, 2, 4]))
    happy = scales[22 + 3 * 112 : 22 + 3 * 112 + 108, 92:]
    first = faces.batch(np.flatnonzero(faces.labels == 3)[:1])[0, ..., 0]
    assert np.array_equal(happy[:108:9, :108:9, 0], first)
    assert happy[:, 224:332].std() < happy[:, :108].std()


def test_a_sheet_of_large_pictures_stays_small(tmp_path, monkeypatch):
    for i, shade in enumerate((10, 200)):
        path = tmp_path / f"happy/{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (300, 300), shade).save(path)
    faces = usable_faces(list_faces(tmp_path))
    resized = []
    monkeypatch.setattr(reading, "imresize", lambda picture, size: resized.append(size) or imresize(picture, size=size))
    sheet = class_sheet(faces)
    assert resized == 2 * [(200, 200)]  # from the file to what is shown
    monkeypatch.undo()
    assert sheet.size == (92 + 2 * (200 + 4), 4 + 7 * (200 + 4))  # as many columns as there are pictures
    assert sheet.getpixel((92 + 199, 4 + 3 * 204 + 199)) == (10, 10, 10)
    assert sheet.getpixel((92 + 204, 4 + 3 * 204)) == (200, 200, 200)
    assert scale_sheet(faces, [1, 2]).size == (92 + 2 * (200 + 4), 22 + 7 * (200 + 4))


@pytest.mark.parametrize("rows", [[0.5], ["0"], [True], [[0]], 0, [6], [-1], [None], np.array([0, 9], np.uint8)])
def test_rows_that_are_none_are_refused(data, rows):
    faces = usable_faces(list_faces(data))
    assert faces.batch([0, 5]).shape == faces.batch(np.array([0, 5])).shape == (2, 12, 12, 1)
    assert faces.batch([]).shape == (0, 12, 12, 1)
    with pytest.raises(RequestError, match="Rows"):
        faces.batch(rows)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_threads_that_are_none_are_refused(data, threads):
    listing = list_faces(data)
    with pytest.raises(RequestError, match="number of threads is"):
        survey(listing, threads=threads)
    with pytest.raises(RequestError, match="number of threads is"):
        usable_faces(listing).batch([0], threads=threads)


@pytest.mark.parametrize("wrong", [{"side": 12.5}, {"side": "12"}, {"side": float("nan")}, {"on_error": "skp"}])
def test_what_no_faces_can_be_is_refused(data, wrong):
    with pytest.raises(RequestError, match=r"side is|on_error is 'skp'"):
        usable_faces(list_faces(data), **wrong)


def test_sheets_that_are_none_are_refused(data):
    faces = usable_faces(list_faces(data))
    for columns in (0, 2.5, None):
        with pytest.raises(RequestError, match="columns"):
            class_sheet(faces, columns=columns)
    for scales in (2, [], "2", [0], [1.5]):
        with pytest.raises(RequestError, match="scale"):
            scale_sheet(faces, scales)


def test_conversions_are_counted(data, tile):
    Image.fromarray(tile(7).astype(np.uint16) * 257).save(data / "train/happy/7.png")
    Image.fromarray(tile(8).astype(np.uint16) * 257).save(data / "train/happy/8.png")
    Image.fromarray(tile(9)).save(data / "val/happy/9.gif", save_all=True, append_images=[Image.fromarray(tile(1))])
    Image.fromarray(tile(1).astype(np.int32)).save(data / "test/sad/1.tif")
    record = report(usable_faces(list_faces(data)))
    assert record["conversions"] == {
        "more than 8 bits, scaled to 8": 2,
        "more than 8 bits holding values up to 255, which are kept as they are": 1,
        "several frames, of which the first is kept": 1,
    }
    assert record["duplicates"]["pictures"] == 6  # test/sad/1.tif has the pixels of train/happy/1.png
    assert record["notes"] == []


def test_nothing_found_says_what_was_left_out(data):
    for picture in data.rglob("*.*"):
        picture.unlink()
    (data / "train/happy/.hidden.png").touch()
    with pytest.raises(FsrcacheError, match=r"There is no labelled picture\. Left out: 1 \(hidden file\)"):
        usable_faces(list_faces(data))
