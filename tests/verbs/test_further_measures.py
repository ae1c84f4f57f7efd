"""Faces are scored by their own size, whatever the order of the store, and by their distance to the trained ones."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import fsrcache
from fsrcache.drawn.face import draw_face
from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.formats import to_json, to_markdown
from fsrcache.evaluation.layout import blocks
from fsrcache.faces.bicubic import imresize
from studies.program import run

SIDES = (10, 14, 20, 24, 30)
CLASSES = ("happiness", "sadness")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("sizes")
    for split, count in (("train", 20), ("test", 25)):
        for name in CLASSES:
            folder = root / "faces" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                side = SIDES[index % len(SIDES)]
                face = draw_face(0, index, expression=name)
                Image.fromarray(imresize(face, size=(side, side - index % 2))).save(folder / f"{index}.png")
    shape = ("stages=4/6", "spd_side=4", "hidden=8", "embedding=4")
    options = {"preset": "tiny", "epochs": 1, "settings": shape, "side": 24, "device": "cpu"}
    fsrcache.pretrain(root / "ws", data=root / "faces", **options)
    fsrcache.extract(root / "ws", scales=[2], device="cpu")
    return root


def test_every_bin_counts_its_own_faces(workspace):
    table = fsrcache.evaluate(workspace / "ws", heads=["frozen"], native_sizes=True)
    of_bicubic = [score for score in table.by_size if score.row == "bicubic"]
    assert [(one.least, one.below, one.n) for one in of_bicubic] == [
        (1, 12, 10), (12, 16, 10), (16, 24, 10), (24, 32, 20),
    ]  # fmt: skip
    store = fsrcache.FeatureStore(workspace / "ws" / "features.zarr")
    right = store.probabilities("test", 1)[:].argmax(1) == store.labels("test")
    sizes = np.array(
        [SIDES[int(name.rpartition("/")[2].removesuffix(".png")) % len(SIDES)] for name in store.ids("test")]
    )
    for score in of_bicubic:
        here = (sizes >= score.least) & (sizes < score.below)
        assert score.accuracy == pytest.approx(100 * right[here].mean())
        assert score.low <= score.accuracy <= score.high
    assert fsrcache.evaluate(workspace / "ws", heads=["frozen"]).by_size == ()


def test_the_command(workspace):
    arguments = ("evaluate", "--workspace", workspace / "ws", "--heads", "frozen", "--measures", "native_size")
    shown = " ".join(run(*arguments).stdout.split())
    assert "1-11 12-15 16-23 24-31" in shown
    assert "pictures: 1-11 10, 12-15 10, 16-23 10, 24-31 20; every one enlarged by bicubic alone" in shown
    answer = json.loads(run(*arguments, "--json").stdout)
    assert {score["label"] for score in answer["by_size"]} == {"bicubic", "majority"}


def test_other_pictures_of_the_same_names_are_refused(workspace, tmp_path):
    shutil.copytree(workspace / "faces", tmp_path / "faces")
    moved = fsrcache.Workspace(workspace / "ws")
    before = moved.data()
    replaced, broken = (tmp_path / f"faces/test/happiness/{number}.png" for number in (3, 7))
    try:
        moved.remember(type(before)(str(tmp_path / "faces")))
        assert fsrcache.evaluate(moved, heads=["frozen"], native_sizes=True).by_size
        Image.new("L", (9, 9)).save(replaced)
        with pytest.raises(FsrcacheError, match=r"no picture .*happiness/3\.png as the store has"):
            fsrcache.evaluate(moved, heads=["frozen"], native_sizes=True)
        shutil.copy(workspace / "faces/test/happiness/3.png", replaced)
        broken.write_bytes(b"none")
        with pytest.raises(FsrcacheError, match=r"happiness/7\.png cannot be read: not a picture"):
            fsrcache.evaluate(moved, heads=["frozen"], native_sizes=True)
    finally:
        moved.remember(before)


def test_every_further_measure_that_is_asked_for_has_a_csv(workspace):
    def answer(*measures):
        asked = [word for name in measures for word in ("--measures", name)]
        ran = run("evaluate", "--workspace", workspace / "ws", "--heads", "frozen", *asked, "--json")
        return {path.name for path in (workspace / "ws/table").glob("*.csv")}, json.loads(ran.stdout)

    always = {"table.csv", "confusion.csv"}
    files, scores = answer("native_size", "distance")
    assert files == always | {"native_size.csv", "distance.csv"}
    for name, key in (("native_size.csv", "by_size"), ("distance.csv", "by_distance")):
        with (workspace / "ws/table" / name).open(newline="") as lines:
            read = list(csv.DictReader(lines))
        assert read
        for line, score in zip(read, scores[key], strict=True):
            assert line == {
                name: " ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
                for name, value in score.items()
            }
    assert answer()[0] == always  # those of an earlier table are gone


def test_pictures_that_are_not_there_are_named(workspace, tmp_path):
    (tmp_path / "faces").symlink_to(workspace / "faces")
    moved = fsrcache.Workspace(workspace / "ws")
    before = moved.data()
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    lonely = tmp_path / "other" / "test" / "happiness"
    lonely.mkdir(parents=True)
    Image.new("L", (9, 9)).save(lonely / "nobody.png")
    try:
        moved.remember(type(before)(str(tmp_path / "other")))
        with pytest.raises(FsrcacheError, match="The data have no picture test/"):
            fsrcache.evaluate(moved, heads=["frozen"], native_sizes=True)
    finally:
        moved.remember(before)


def test_evaluate_shows_the_ranges_when_they_are_asked_for(workspace):
    assert fsrcache.evaluate(workspace / "ws", heads=["frozen"]).by_distance == ()
    table = fsrcache.evaluate(workspace / "ws", heads=["frozen"], distances=True)
    (block,) = blocks(table, measures=["distance"])[:1]
    assert block.columns == ("near 10 %", "10-25 %", "25-50 %", "50-75 %", "far 25 %", "near 25 %", "far 75 %")
    assert [line.row for line in block.lines] == ["majority", "bicubic, HR", "bicubic"]
    rows = [one for one in table.by_distance if (one.label, one.full_resolution) == ("bicubic", False)]
    coarse = [score.accuracy for score in table.rows if score.label == "bicubic" and score.scale > 1]
    near, far = (one for one in rows if (one.nearest, one.farthest) in ((0.0, 0.25), (0.25, 1.0)))
    assert (near.n * near.accuracy + far.n * far.accuracy) / table.pictures == pytest.approx(np.mean(coarse))
    assert to_json(table)["by_distance"][0]["label"] in ("majority", "bicubic")
    assert "- distance: Euclidean" in to_markdown(table, measures=["distance"])


def test_the_report_shows_the_ranges_that_evaluate_has_kept(workspace):
    def sections():
        return fsrcache.report(workspace / "ws", out=workspace / "report.html").sections

    (workspace / "ws/predictions/test-distances.safetensors").unlink(missing_ok=True)
    assert "distance" not in sections()
    fsrcache.evaluate(workspace / "ws", heads=["frozen"], distances=True)
    assert "distance" in sections()
    assert "near 10 %" in (workspace / "report.html").read_text()
