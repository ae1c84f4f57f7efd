"""Rows of pictures that another program enlarged: by our own bicubic they are the row bicubic, bit for bit."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import fsrcache
from fsrcache.cli.main import main
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.tables import HEADS
from fsrcache.faces.bicubic import imresize
from fsrcache.faces.decode import decode
from fsrcache.store.reader import FeatureStore

SIDE = 16


def enlarged(small, folder):
    """Enlarge every picture of a folder by bicubic, into another one."""
    for path in sorted(small.rglob("*.png")):
        target = folder / path.relative_to(small)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(imresize(decode(path), size=(SIDE, SIDE))).save(target)
    return folder


@pytest.fixture(scope="session")
def folders(prepared, tmp_path_factory):
    """Return the folder of the small faces of all splits, and that of the enlarged ones."""
    root = tmp_path_factory.mktemp("pictures")
    fsrcache.degrade(prepared, out=root / "small")
    return root / "small", enlarged(root / "small", root / "large")


@pytest.fixture
def large(folders, tmp_path):
    return shutil.copytree(folders[1], tmp_path / "large")


def table_of(workspace, **options):
    return fsrcache.evaluate(workspace, **{"names": ["a"], "heads": ["frozen"], "device": "cpu", **options})


def features_files(workspace, row):
    """Return the files of a row's features by split and scale, such as ``test-x4``."""
    return {path.name.rpartition("-")[0]: path for path in sorted(workspace.pictures(row).glob("*.safetensors"))}


def scores(table, row):
    return {
        (one.head, one.scale): (one.accuracy, one.mean_class_accuracy, one.macro_f1)
        for one in table.rows
        if one.label == row
    }


def of_split(workspace, folder, split):
    """Return the files of a split's faces at the scales 2 and 4."""
    names = FeatureStore(workspace.store).ids(split)
    return [folder / f"x{scale}" / f"{name}.png" for scale in (2, 4) for name in names]


def test_small_pictures_have_the_names_and_sizes_of_the_store(folders, workspace):
    store = FeatureStore(workspace.store)
    names = sorted(f"{name}.png" for split in store.splits for name in store.ids(split))
    for scale, side in ((2, 8), (4, 4)):
        paths = sorted((folders[0] / f"x{scale}").iterdir())
        assert [path.name for path in paths] == names
        assert {decode(path).shape[:2] for path in paths} == {(side, side)}


def test_enlarged_by_bicubic_they_are_bicubic_with_every_head(workspace, large):
    table = table_of(workspace, heads=tuple(HEADS), pictures={"up": large})
    assert scores(table, "up") == scores(table, "bicubic")
    assert {head for head, _ in scores(table, "up")} == set(HEADS)
    for path in sorted(workspace.predictions.glob("bicubic/*.safetensors")):
        ours, theirs = load_file(workspace.predictions / "pictures/up" / path.name), load_file(path)
        for name, values in theirs.items():
            np.testing.assert_array_equal(ours[name], values)
    assert table.context.rows["up"].endswith("from the folder large")


def test_features_are_those_of_the_store_bit_for_bit(workspace, large):
    table = table_of(workspace, pictures={"up": large})
    assert scores(table, "up") == scores(table, "bicubic")
    for split in ("train", "val", "test"):
        for scale in (2, 4):
            ours = load_file(features_files(workspace, "up")[f"{split}-x{scale}"])["features"]
            np.testing.assert_array_equal(ours, FeatureStore(workspace.store).features(split, scale)[:])


def test_the_row_stays_and_what_has_changed_is_extracted_again(workspace, large):
    first = scores(table_of(workspace, pictures={"up": large}), "up")
    kept = {name: path.stat().st_mtime_ns for name, path in features_files(workspace, "up").items()}
    assert scores(table_of(workspace), "up") == first  # without the option
    for path in of_split(workspace, large, "test")[:7]:
        Image.new("RGB", (SIDE, SIDE), "white").save(path)
    table_of(workspace, pictures={"up": large})
    now = {name: path.stat().st_mtime_ns for name, path in features_files(workspace, "up").items()}
    assert [name for name in kept if now[name] != kept[name]] == ["test-x2"]
    assert len(list(workspace.pictures("up").glob("*.safetensors"))) == len(kept)
    shutil.rmtree(large / "x4")
    table = table_of(workspace, pictures={"up": large})
    assert {scale for _, scale in scores(table, "up")} == {1, 2}
    assert any(note.startswith("up is without x4: ") for note in table.context.notes)


def test_the_reported_split_alone_has_no_refitted_heads(workspace, large):
    for path in of_split(workspace, large, "train"):
        path.unlink()
    table = table_of(workspace, heads=["frozen", "refit-linear"], pictures={"up": large}, calibration=True)
    assert {head for head, _ in scores(table, "up")} == {"frozen"}
    assert any(note.startswith("up has no faces of train") for note in table.context.notes)
    for path in of_split(workspace, large, "val"):
        path.unlink()
    table_of(workspace, pictures={"up": large})
    table = table_of(workspace, split="val")
    assert not scores(table, "up")
    assert any(note.startswith("No row up: it has no faces of val") for note in table.context.notes)


def test_missing_pictures_are_counted_and_the_first_is_named(workspace, large):
    missing = of_split(workspace, large, "test")[3:6]
    for path in missing:
        path.unlink()
    with pytest.raises(FsrcacheError) as caught:
        table_of(workspace, pictures={"up": large})
    count = 2 * len(FeatureStore(workspace.store).ids("test"))
    assert caught.value.what == f"3 of {count} pictures of test are missing, first {missing[0]}."
    for path in of_split(workspace, large, "test"):
        path.unlink(missing_ok=True)
    with pytest.raises(FsrcacheError, match=f"{count} of {count} pictures of test are missing"):
        table_of(workspace, pictures={"up": large})


def test_pictures_of_another_size_or_kind_are_fitted_and_it_is_said(workspace, large):
    notes = []
    for path in of_split(workspace, large, "test"):
        picture = Image.fromarray(decode(path))
        picture.resize((2 * SIDE, SIDE)).save(path.with_name(path.name.removesuffix(".png")), format="BMP")
        path.unlink()  # the face's name as it is
    shutil.rmtree(large / "x2")
    table_of(workspace, pictures={"up": large}, on_progress=lambda one: notes.append(one.note))
    count = len(FeatureStore(workspace.store).ids("test"))
    assert any(f"{count} pictures are resized to 16 x 16 pixels" in text for text in notes)


@pytest.mark.parametrize(
    ("name", "folder", "words"),
    [("HR", "large", "another meaning"), ("Mean", "large", "another meaning"),
     ("FSR-FER, mean of 3", "large", "no name for a row"),
     ("bicubic", "large", "a row of the table already"), ("FSR-fer", "large", "a row of the table already"),
     ("../up", "large", "no name for a row"), ("up", "none", "There is no folder"),
     ("up", "large/x2", "no folder of a scale of the store")],
)  # fmt: skip
def test_what_can_be_no_row_is_refused(workspace, large, name, folder, words):
    with pytest.raises(RequestError, match=words):
        table_of(workspace, pictures={name: large.parent / folder})


def test_a_row_of_another_extractor_is_left_out(workspace, large):
    table_of(workspace, pictures={"up": large})
    path, notes = workspace.pictures("up") / "pictures.json", []
    record = json.loads(path.read_text())
    record["source"]["extractor"] = "another"
    path.write_text(json.dumps(record))
    assert not scores(table_of(workspace, on_progress=lambda one: notes.append(one.note)), "up")
    assert any(text.startswith("up is left out: ") for text in notes)


def test_a_row_stays_until_another_folder_is_whole(workspace, large, tmp_path):
    def answers():
        return {path.name: path.read_bytes() for path in (workspace.predictions / "pictures/up").iterdir()}

    table_of(workspace, pictures={"up": large})
    first = answers()
    before = {path: path.read_bytes() for path in workspace.pictures("up").iterdir()}
    other = shutil.copytree(large, tmp_path / "other")
    for path in of_split(workspace, other, "test"):
        Image.new("RGB", (SIDE, SIDE), "white").save(path)
    broken = other / "x4" / of_split(workspace, other, "test")[0].name  # x2 is extracted before it is read
    broken.write_bytes(b"-")
    with pytest.raises(FsrcacheError, match="cannot be read"):
        table_of(workspace, pictures={"up": other})
    assert {path: path.read_bytes() for path in before} == before
    shutil.rmtree(workspace.predictions)
    table_of(workspace)
    assert answers() == first
    Image.new("RGB", (SIDE, SIDE), "white").save(broken)
    table_of(workspace, pictures={"up": other})
    assert answers() != first
    assert len(list(workspace.pictures("up").iterdir())) == len(before)  # nothing is left of the row before


@pytest.mark.parametrize("change", ["deleted", "changed", "file deleted"])
def test_kept_scores_of_other_pictures_have_a_note(workspace, large, change):
    first, notes = table_of(workspace, pictures={"up": large}), []
    path = of_split(workspace, large, "test")[0]
    match change:
        case "deleted":
            shutil.rmtree(large)
        case "changed":
            Image.new("RGB", (SIDE, SIDE), "white").save(path)
        case "file deleted":
            path.unlink()
    table = table_of(workspace, on_progress=lambda one: notes.append(one.note))
    assert scores(table, "up") == scores(first, "up")
    state = "is gone" if change == "deleted" else "has changed"
    text = f"{state}; the scores are those of its pictures before"
    assert f"up: the folder {large} {text}." in notes
    assert table.context.rows["up"] == f"{first.context.rows['up']}, which {text}"


def test_a_picture_that_is_broken_is_named(workspace, large):
    path = of_split(workspace, large, "test")[0]
    path.write_bytes(b"-")
    with pytest.raises(FsrcacheError, match=f"{path.name} cannot be read"):
        table_of(workspace, pictures={"up": large})


def test_the_commands(workspace, large, tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as stop:
            main([words[0], "--workspace", str(workspace.folder), *map(str, words[1:])])
        return stop.value.code, *capsys.readouterr()

    code, out, _ = run("degrade", tmp_path / "small", "--split", "test", "--scales", "4")
    count = len(FeatureStore(workspace.store).ids("test"))
    assert code == 0
    assert f"{count} pictures written, 0 were there; enlarge them to 16 x 16 pixels." in out
    again = json.loads(run("degrade", tmp_path / "small", "--split", "test", "--json")[1])
    assert (again["pictures"], again["were_there"], again["side"]) == (2 * count, count, SIDE)
    assert run("degrade", tmp_path / "small", "--scales", "3")[0] == 2
    options = ["--name", "a", "--heads", "frozen", "--device", "cpu", "--json"]
    answer = json.loads(run("evaluate", *options, "--pictures", "up", large)[1])
    assert {one["row"] for one in answer["rows"]} >= {"bicubic", "up"}
    assert run("evaluate", *options, "--pictures", "up", large, "--pictures", "up", large)[0] == 2
