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
