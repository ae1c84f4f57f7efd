"""Sources: which files paths mean, and pictures one at a time, those of a video too."""

import glob
import io
import os
import struct
import sys
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fsrcache.errors import RequestError
from fsrcache.faces.boxes import Box
from fsrcache.prediction.answers import Failure
from fsrcache.prediction.frames import Frame, read_frames
from fsrcache.prediction.predict import predict_frames
from fsrcache.prediction.sources import list_sources
from fsrcache.prediction.temperatures import UNCALIBRATED
from fsrcache.verbs.predict import predict

FRAMES = 12


@pytest.fixture
def tree(tmp_path):
    for name in ("b.png", "a.JPG", "inner/c.webp", "inner/notes.txt", ".hidden/d.png", "inner/e.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    return tmp_path


@pytest.fixture
def video(tmp_path):
    """A video whose frames are red, and the bluer the later."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(FRAMES):
        writer.write(np.full((48, 64, 3), (10 * number, 0, 200), np.uint8))  # BGR
    writer.release()
    return path


def test_files_folders_and_patterns_in_their_order(tree):
    def listed(*paths):
        return [one.removeprefix(f"{tree}/") for one in list_sources([f"{tree}/{path}" for path in paths]).files]

    assert listed("") == ["a.JPG", "b.png", "inner/c.webp", "inner/e.tif"]
    assert listed("inner/notes.txt", "b.png") == ["inner/notes.txt", "b.png"]
    assert listed("**/*.[wt]*", "gone.png") == ["inner/c.webp", "inner/e.tif", "inner/notes.txt", "gone.png"]
    assert list_sources(["-"]).files == ["-"]
    assert list_sources(tree / "b.png").files == [f"{tree}/b.png"]
    (tree / "empty").mkdir()
    with pytest.raises(RequestError, match="There is no picture at"):
        listed("empty")


def test_two_stars_are_folders_of_any_depth(tree, monkeypatch):
    (tree / "a/b/c").mkdir(parents=True)
    for name in ("a/1.png", "a/b/2.png", "a/b/c/3.png", "a/[x].png"):
        (tree / name).write_bytes(b"-")
    monkeypatch.chdir(tree)
    patterns = ("**/*.png", "**", "a/**", "a/**/*.png", "a/**/b/*.png", "**/b/**/*.png", "[a]/**/[[]x].png", "./**/3.*",
                f"{tree}/**/*.png", "a/**/**/1.png", "a**/*.png", "**/.hidden/*", "*/*.png")  # fmt: skip
    for pattern in patterns:
        matches = [one for one in glob.glob(pattern, recursive=True) if Path(one).is_file()]  # noqa: PTH207
        assert list_sources([pattern]).files == sorted(set(matches)), pattern
        assert matches, pattern


def test_two_stars_leave_out_links_to_a_folder_that_they_lie_in(tree):
    (tree / "inner/loop").symlink_to(tree)
    (tree / "inner/again").symlink_to(tree)  # each of which leads to the other
    (tree / "other").symlink_to(tree / "inner")
    files = [one.removeprefix(f"{tree}/") for one in list_sources([f"{tree}/**/*.[tw]*"]).files]
    assert files == [f"{folder}/{name}" for folder in ("inner", "other") for name in ("c.webp", "e.tif", "notes.txt")]
    assert list_sources([f"{tree}/**/b.png"]).files == [f"{tree}/b.png"]


def test_folders_that_a_pattern_cannot_read_fail(tree, monkeypatch):
    iterdir = Path.iterdir

    def closed(path):
        if path.name == "inner":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    pattern = f"{tree}/**/*.png"
    failure = Failure(pattern, f"folders that cannot be read: {tree}/inner/")
    assert list_sources([pattern]).files == [f"{tree}/b.png", failure]


def test_what_folders_hold_beside_pictures_is_counted_and_named(tree):
    for name in ("d.jfif", "e.heic", "inner/f.MP4"):
        (tree / name).write_bytes(b"-")
    files, left_out = list_sources([tree])
    assert [one.removeprefix(f"{tree}/") for one in files] == [
        "a.JPG",
        "b.png",
        "d.jfif",
        "inner/c.webp",
        "inner/e.tif",
    ]
    others = [f"{tree}/e.heic", f"{tree}/inner/f.MP4", f"{tree}/inner/notes.txt"]
    assert left_out.names == {"hidden folder": [f"{tree}/.hidden"], "not a picture by its suffix": others}
    assert list_sources([tree, tree / "inner"]).left_out.counts["not a picture by its suffix"] == 5


def test_a_folder_or_pattern_without_a_picture_fails_where_others_have_some(tree):
    (tree / "empty").mkdir()
    files = list_sources([tree / "empty", tree / "b.png", f"{tree}/none/*.png", f"{tree}/empt*"]).files
    assert files == [
        Failure(f"{tree}/empty", "a folder without a picture"),
        f"{tree}/b.png",
        Failure(f"{tree}/none/*.png", "a pattern that matches no file"),
        Failure(f"{tree}/empt*", "a pattern that matches no file"),
    ]
    assert list(read_frames(files[::2])) == files[::2]
    with pytest.raises(RequestError, match="There is no picture at"):
        list_sources([tree / "empty", f"{tree}/none/*.png"])


def test_folders_that_cannot_be_read_fail(tree, monkeypatch):
    scandir = os.scandir

    def closed(path):
        if str(path).endswith(("inner", "away")):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    (tree / "away").mkdir()
    monkeypatch.setattr(os, "scandir", closed)
    files, left_out = list_sources([tree, tree / "inner"])
    assert files == [
        f"{tree}/a.JPG",
        f"{tree}/b.png",
        Failure(str(tree), "folders in it that cannot be read: away/, inner/"),
        Failure(f"{tree}/inner", "a folder that cannot be read"),
    ]
    assert list(left_out.counts) == ["hidden folder"]
    assert list_sources([tree / "inner"]).files == files[3:]  # which is no wrong request


def test_names_that_are_no_utf8_are_read(tmp_path):
    folder = tmp_path / "party"
    folder.mkdir()
    paths = [folder / os.fsdecode(name) for name in (b"caf\xe9.png", rb"caf\xe9.png", "é.png".encode())]
    for number, path in enumerate(paths):
        Image.new("L", (2, 2), number).save(path)
    frames = list(read_frames(list_sources([folder]).files))
    assert {frame.path: int(frame.pixels[0, 0]) for frame in frames} == {
        str(path): number for number, path in enumerate(paths)
    }
    assert [frame.path for frame in read_frames(list_sources([f"{folder}/*[!g]png"]).files)] == sorted(map(str, paths))


def test_a_name_that_cannot_be_is_missing_alone(tree):
    Image.new("L", (2, 2)).save(tree / "b.png")
    names = [f"{'a' * 5000}.png", f"{'a' * 5000}.mp4", f"{tree}/b.png"]
    *failures, frame = read_frames(list_sources(names).files)
    assert [failure.path for failure in failures] == names[:2]
    assert all("File name too long" in failure.reason for failure in failures)
    assert frame.path == f"{tree}/b.png"


def test_a_picture_from_standard_input(monkeypatch, crowd):
    data = io.BytesIO()
    Image.fromarray(crowd[0]).save(data, "PNG")
    data.seek(0)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    (frame,) = read_frames(["-"])
    assert frame.path == "-"
    np.testing.assert_array_equal(frame.pixels, crowd[0])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert list(read_frames(["-"])) == [Failure("-", "empty file")]


def test_no_more_is_read_of_standard_input_than_of_a_file(monkeypatch):
    for module in ("prediction.frames", "faces.decode"):
        monkeypatch.setattr(f"fsrcache.{module}.MAX_BYTES", 1000)
    endless = io.BytesIO(bytes(10**6))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(endless))
    (failure,) = read_frames(["-"])
    assert "1,001" in failure.reason
    assert endless.tell() == 1001


def test_standard_input_that_is_closed_or_not_for_reading_fails_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)  # as after <&-
    assert list(read_frames(["-"])) == [Failure("-", "standard input is closed")]

    class ForWriting(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, _):
            raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(ForWriting())))
    assert list(read_frames(["-"])) == [Failure("-", "standard input cannot be read: Bad file descriptor")]


def test_every_so_many_frames_of_a_video_in_rgb(video):
    frames = list(read_frames([str(video)], every=5))
    assert [frame.path for frame in frames] == [f"{video}#frame={number}" for number in (0, 5, 10)]
    for frame, blue in zip(frames, (0, 50, 100), strict=True):
        np.testing.assert_allclose(frame.pixels[24, 32], [200, 0, blue], atol=6)
    assert len(list(read_frames([str(video)]))) == FRAMES


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    monkeypatch.chdir((tmp_path / "clip.mp4").rename(tmp_path / "10:30.mp4").parent)
    assert [frame.path for frame in read_frames(["10:30.mp4"], every=3)] == ["10:30.mp4#frame=0"]


def test_a_video_whose_name_is_no_utf8_fails_alone(video):
    path = str(video.rename(video.with_name(os.fsdecode(b"cl\xe9p.avi"))))  # OpenCV would crash
    assert list(read_frames([path])) == [Failure(path, "a video whose name is no UTF-8; rename it")]


@pytest.mark.parametrize("suffix", [".wmv", ".3gp", ".ts", ".flv", ".ogv", ".MP4"])
def test_a_video_is_one_by_its_suffix(video, suffix):
    assert len(list(read_frames([str(video.rename(video.with_suffix(suffix)))]))) == FRAMES


def test_what_is_no_video_fails_alone(video, tmp_path):
    (tmp_path / "none.mp4").write_bytes(b"no video" * 100)
    first, *others = read_frames([str(tmp_path / "none.mp4"), str(tmp_path / "gone.mp4"), str(video)])
    assert first == Failure(str(tmp_path / "none.mp4"), "no video that can be read")
    assert others[0] == Failure(str(tmp_path / "gone.mp4"), "missing file")
    assert len(others) == 1 + FRAMES


def test_a_video_that_ends_early_is_named_after_its_frames(video):
    video.write_bytes(b"00dc".join(video.read_bytes().split(b"00dc")[:8]))  # the header and seven frames
    *frames, failure = read_frames([str(video)], every=2)
    assert [frame.path for frame in frames] == [f"{video}#frame={number}" for number in range(0, 2 * len(frames), 2)]
    assert len(frames) in (3, 4)
    assert failure.path == str(video)
    assert failure.reason.startswith("damaged: it ends after ")
    assert failure.reason.endswith(f" of {FRAMES} frames")


def element(name, *content):
    """Return an element of Matroska: name, size, and what is in it."""
    data = b"".join(content)
    return bytes.fromhex(name) + (1 << 56 | len(data)).to_bytes(8, "big") + data


def number(name, value):
    return element(name, value.to_bytes(8, "big"))


@pytest.fixture
def uneven(tmp_path):
    """A Matroska file of 60 frames, half of them 33 ms long and half of them 120, with the bytes of each."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(picture, "JPEG")
    times = [33 * frame for frame in range(30)] + [990 + 120 * frame for frame in range(30)]
    blocks = [element("a3", b"\x81", time.to_bytes(2, "big"), b"\x80", picture.getvalue()) for time in times]
    video = element("e0", number("b0", 64), number("ba", 48))
    track = (number("d7", 1), number("73c5", 1), number("83", 1), element("86", b"V_MJPEG"), video)
    duration = element("4489", struct.pack(">d", times[-1] + 120))
    segment = (
        element("1549a966", number("2ad7b1", 1_000_000), duration),
        element("1654ae6b", element("ae", *track)),
        element("1f43b675", number("e7", 0), *blocks),
    )
    path = tmp_path / "uneven.mkv"
    path.write_bytes(element("1a45dfa3", element("4282", b"matroska")) + element("18538067", *segment))
    return path, len(blocks[0])


def test_a_video_whose_frames_are_of_uneven_length_is_whole(uneven):
    path, block = uneven
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) > 80  # of 60
    capture.release()
    assert [frame.path for frame in read_frames([str(path)])] == [f"{path}#frame={frame}" for frame in range(60)]
    path.write_bytes(path.read_bytes()[: -20 * block])
    *frames, failure = read_frames([str(path)])
    assert len(frames) in (39, 40)
    assert failure.reason.startswith("damaged: it ends after ")


def test_a_video_needs_opencv(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(RequestError, match="OpenCV cannot be loaded"):
        list(read_frames([str(video)]))


def test_opencv_is_missed_before_the_first_picture_is_done(folder, video, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(RequestError, match="OpenCV cannot be loaded"):
        predict([video.parent, video], workspace=folder, crops=True)


def test_the_frames_of_a_video_are_labelled(folder, video, tmp_path):
    (tmp_path / "boxes.csv").write_text("path,x,y,width,height\nclip.avi#frame=10,4,4,40,40\n")
    answers = list(predict([video], workspace=folder, boxes=tmp_path / "boxes.csv", every=5))
    assert [len(answer.faces) for answer in answers] == [0, 0, 1]


@pytest.mark.parametrize("faces", [0, 1, 30])
def test_memory_does_not_grow_with_the_number_of_pictures(model, faces):
    alive, most = set(), 0

    def frames():
        for number in range(200):
            pixels = np.zeros((8, 8), np.uint8)
            alive.add(number)
            weakref.finalize(pixels, alive.discard, number)
            yield Frame(str(number), pixels)

    def locate(frame):
        return [(Box(0, 0, 8, 8), frame.pixels.copy())] * faces, []

    answers = predict_frames(model, frames(), locate, temperature=lambda _: UNCALIBRATED, threshold=0.5)
    for number, answer in enumerate(answers):
        most = max(most, len(alive))
        assert (answer.path, len(answer.faces)) == (str(number), faces)
    assert most <= 34
