"""Small data sets in every layout."""

import gzip
import lzma

import numpy as np
import pytest
from PIL import Image


def tile(seed, side=12):
    return np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)


@pytest.fixture(name="tile")
def tile_fixture():
    """Make the picture of a seed."""
    return tile


@pytest.fixture
def write():
    """Write a picture of its own at a path."""

    def write(path, seed, side=12):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(tile(seed, side)).save(path)

    return write


@pytest.fixture
def rafdb(tmp_path, write):
    root = tmp_path / "RAF"
    lines = []
    for number in range(1, 8):
        for split in ("train", "test"):
            name = f"{split}_{number:05d}"
            lines.append(f"{name}.jpg {number}")
            (root / "basic/Image/aligned").mkdir(parents=True, exist_ok=True)
            write(root / f"basic/Image/aligned/{name}_aligned.jpg", number + 10 * (split == "test"))
    (root / "basic/EmoLabel").mkdir()
    (root / "basic/EmoLabel/list_patition_label.txt").write_text("\n".join(lines) + "\n")
    return root


FER_ROWS = [(0, "Training"), (3, "Training"), (6, "PublicTest"), (5, "PrivateTest")]


@pytest.fixture
def fer_rows():
    """Return the emotions and usages of the rows."""
    return FER_ROWS


@pytest.fixture
def fer_csv(tmp_path):
    """Write FER2013's rows in either form and packing."""

    def make(name, *, rows=FER_ROWS, edit=lambda text: text):
        def pixels(i):
            return " ".join(map(str, tile(i).ravel()))

        if "icml" in name:
            lines = ["emotion, Usage, pixels", *(f"{e},{u},{pixels(i)}" for i, (e, u) in enumerate(rows))]
        else:
            lines = ["emotion,pixels,Usage", *(f"{e},{pixels(i)},{u}" for i, (e, u) in enumerate(rows))]
        content = edit("\n".join(lines) + "\n").encode()
        pack = {".gz": gzip.compress, ".xz": lzma.compress}.get("." + name.rsplit(".", 1)[1], bytes)
        (tmp_path / name).write_bytes(pack(content))
        return tmp_path / name

    return make


AFFECTNET_HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)


@pytest.fixture
def affectnet(tmp_path, write):
    """Write AffectNet's lists: eight expressions and none to train on, two expressions in val."""
    root = tmp_path / "AffectNet"
    for name, labels in (("training", (0, 1, 2, 3, 4, 5, 6, 7, 8)), ("validation", (6, 1))):
        lines = [AFFECTNET_HEADER]
        for number, label in enumerate(labels):
            write(root / f"Manually_Annotated_Images/{number}/{name}.png", 10 * len(labels) + number, 20)
            valence = 0.5 if label == 1 else -0.5
            lines.append(f"{number}/{name}.png,4,2,12,14,181.64;530.91,{label},{valence},0.1")
        path = root / f"Manually_Annotated_file_lists/{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def affectnet_npy(tmp_path, write):
    """Write AffectNet's files of annotations: as text and as numbers, as numpy saves them."""
    root = tmp_path / "AffectNet8"
    for split, labels in (("train", ("1", "7", np.int64(4), "10")), ("val", (np.float32(0), "3"))):
        for number, label in enumerate(labels):
            write(root / f"{split}_set/images/{number}.jpg", number + 10 * (split == "val"))
            (root / f"{split}_set/annotations").mkdir(exist_ok=True)
            np.save(root / f"{split}_set/annotations/{number}_exp.npy", label)
            np.save(root / f"{split}_set/annotations/{number}_val.npy", "0.1")
    return root


EXPW_LINES = ["two_people_1.png 0 2 4 16 14 22.9 3", "two_people_1.png 1 6 15 23 14 61.5 0", "a b_2.png 0 0 0 9 9 80 6"]


@pytest.fixture
def expw(tmp_path, write):
    """Write ExpW: two faces in one picture, one in another; the second box is cut at the right edge."""
    root = tmp_path / "ExpW"
    write(root / "image/origin/two_people_1.png", 1, 20)
    write(root / "image/origin/a b_2.png", 2, 10)
    (root / "label").mkdir()
    (root / "label/label.lst").write_text("\n".join(EXPW_LINES) + "\n")
    return root
