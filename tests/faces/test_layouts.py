"""Each layout is found out, read to the label and split, and refused in words when it is wrong."""

from functools import partial
from pathlib import Path, PurePath
from types import ModuleType

import numpy as np
import pytest

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces import index
from fsrcache.faces.decode import decode
from fsrcache.faces.expressions import EXPRESSIONS, SPLITS, understand_expressions
from fsrcache.faces.index import list_faces
from fsrcache.faces.listing import Listing, file_listing
from fsrcache.faces.survey import survey
from fsrcache.faces.walk import LeftOut, walk_pictures

NOTES = "TEST/Contempt/notes.txt"


def rows_of(listing):
    """Return {name: (class, split)}."""
    return {
        str(name): (listing.classes[label], SPLITS[split])
        for name, label, split in zip(listing.names, listing.labels, listing.splits, strict=True)
    }


@pytest.mark.parametrize("inside", ["", "basic"])
def test_rafdb(rafdb, inside):
    listing = list_faces(rafdb / inside)
    assert (listing.layout, listing.classes) == ("rafdb", EXPRESSIONS)
    rows = rows_of(listing)
    assert len(rows) == 14
    assert rows["Image/aligned/train_00001_aligned.jpg"] == ("surprise", "train")
    assert rows["Image/aligned/test_00004_aligned.jpg"] == ("happiness", "test")
    assert not survey(listing).unreadable


@pytest.mark.parametrize("line", ["train_00001.jpg 8", "train_00001.jpg 0", "train_00001.jpg", "other_1.jpg 3"])
def test_rafdb_refuses_a_wrong_line(rafdb, line):
    labels = rafdb / "basic/EmoLabel/list_patition_label.txt"
    labels.write_text("\n\n" + line)
    with pytest.raises(FsrcacheError, match="Line 3"):
        list_faces(rafdb)


def test_rafdb_lists_a_missing_picture(rafdb):
    (rafdb / "basic/Image/aligned/test_00002_aligned.jpg").unlink()
    listing = list_faces(rafdb)
    seen = survey(listing)
    assert [listing.where(i)[-22:] for i in seen.unreadable] == ["test_00002_aligned.jpg"]
    assert list(seen.unreadable.values()) == ["missing file"]


@pytest.mark.parametrize("above", ["", "archive/DATASET"])
def test_rafdb_folders(tmp_path, write, above):
    for number in range(1, 8):
        write(tmp_path / above / f"train/{number}/train_{number}_aligned.jpg", number)
        write(tmp_path / above / f"test/{number}/test_{number}_aligned.jpg", number)
    listing = list_faces(tmp_path)
    assert listing.layout == "rafdb-folders"
    rows = rows_of(listing)
    assert rows["train/6/train_6_aligned.jpg"] == ("anger", "train")
    assert rows["test/7/test_7_aligned.jpg"] == ("neutral", "test")


def test_numbers_outside_rafdb_are_ambiguous(tmp_path, write):
    for number in range(7):
        write(tmp_path / f"train/{number}/{number}.png", number)
    with pytest.raises(FsrcacheError, match="ambiguous"):
        list_faces(tmp_path)
    with pytest.raises(FsrcacheError, match="not a class of RAF-DB"):
        list_faces(tmp_path, layout="rafdb-folders")


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv"])
@pytest.mark.parametrize("folder", [False, True])
def test_fer2013(fer_csv, name, packing, folder, tile, fer_rows):
    path = fer_csv(name + packing)
    listing = list_faces(path.parent if folder else path)
    assert listing.layout == "fer2013"
    assert list(rows_of(listing).values()) == [
        ("anger", "train"),
        ("happiness", "train"),
        ("neutral", "val"),
        ("surprise", "test"),
    ]
    for i in range(len(fer_rows)):
        assert np.array_equal(listing.load(i), tile(i))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n3,", "\n7,", r"Line 3 .*'7'"),
        ("\n3,", "\nx,", r"Line 3 .*'x'"),
        ("PublicTest", "Publik", r"Line 4 .*'Publik'"),
        (",PublicTest", "", r"Line 4 .*2 columns"),
    ],
)
def test_fer2013_refuses_a_wrong_row(fer_csv, old, new, message):
    with pytest.raises(FsrcacheError, match=message):
        list_faces(fer_csv("fer2013.csv", edit=lambda text: text.replace(old, new, 1)))


def test_fer2013_lists_broken_pixels(fer_csv, tile):
    def edit(text):
        lines = text.splitlines()
        lines[1] = lines[1].replace(" ", " 256 ", 1)
        lines[2] = lines[2].replace(" ", " x ", 1)
        lines[3] = lines[3].replace(" ", "", 1)
        lines.append("2,,Training")
        return "\n".join(lines)

    listing = list_faces(fer_csv("fer2013.csv", edit=edit))
    reasons = survey(listing).unreadable
    assert sorted(reasons) == [0, 1, 2, 4]
    assert "'256'" in reasons[0]
    assert "'x'" in reasons[1]
    assert np.array_equal(listing.load(3), tile(3))
    assert listing.where(3).endswith("fer2013.csv: row 4")


def test_a_cut_archive_is_named(fer_csv):
    path = fer_csv("fer2013.csv.xz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FsrcacheError, match=r"fer2013\.csv\.xz cannot be read"):
        list_faces(path)


def test_fer2013_folders(tmp_path, write):
    write(tmp_path / "train/angry/Training_1.jpg", 1)
    write(tmp_path / "train/angry/Training_1.jpg0.jpg", 1)  # augmented
    write(tmp_path / "test/happy/PrivateTest_2.jpg", 2)
    write(tmp_path / "test/happy/PublicTest_3.png", 3)
    listing = list_faces(tmp_path)
    assert listing.layout == "fer2013-folders"
    assert rows_of(listing) == {
        "train/angry/Training_1.jpg": ("anger", "train"),
        "test/happy/PrivateTest_2.jpg": ("happiness", "test"),
        "test/happy/PublicTest_3.png": ("happiness", "val"),
    }
    assert listing.left_out == {"augmented copy": 1}


VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
VOTES = ["0,6,4,0,0,0,0,0,0,0", "5,0,0,5,0,0,0,0,0,0", "0,0,0,4,3,0,0,3,0,0", "0,0,0,0,0,0,0,0,2,8"]


@pytest.fixture
def ferplus(fer_csv, fer_rows):
    fer_csv("fer2013.csv")
    lines = [f"{usage},fer{i}.png,{votes}" for i, ((_, usage), votes) in enumerate(zip(fer_rows, VOTES, strict=True))]
    votes = fer_csv("fer2013.csv").with_name("fer2013new.csv")
    votes.write_text("\n".join([VOTES_HEADER, *lines]) + "\n")
    return votes


def test_ferplus(ferplus, tile):
    for path in (ferplus, ferplus.parent, ferplus.with_name("fer2013.csv")):
        assert list_faces(path).layout == "ferplus"
    majority = list_faces(ferplus)
    assert majority.classes == (*EXPRESSIONS, "contempt")
    assert rows_of(majority) == {"row-000001": ("happiness", "train")}
    assert majority.left_out == {"no majority": 2, "most votes are for unknown or NF (not a face)": 1}
    argmax = list_faces(ferplus, votes="argmax")
    assert rows_of(argmax) == {"row-000001": ("happiness", "train"), "row-000003": ("sadness", "val")}
    assert np.array_equal(argmax.load(1), tile(2))
    soft = list_faces(ferplus, votes="soft").soft_labels
    names = majority.classes
    assert soft[0, names.index("happiness")] == pytest.approx(0.6)
    assert soft[1, names.index("contempt")] == pytest.approx(0.3)
    assert np.allclose(soft.sum(axis=1), 1)
    assert list_faces(ferplus.parent, layout="fer2013").layout == "fer2013"


def test_ferplus_must_go_with_its_rows(ferplus):
    text = ferplus.read_text()
    ferplus.write_text(text.replace("PublicTest", "Training"))
    with pytest.raises(FsrcacheError, match="does not match"):
        list_faces(ferplus)
    ferplus.write_text(text.replace("6,4", "six,4"))
    with pytest.raises(FsrcacheError, match="Line 2"):
        list_faces(ferplus)
    ferplus.write_text(text.replace("contempt", "scorn", 1))
    with pytest.raises(FsrcacheError, match="no column contempt"):
        list_faces(ferplus)


def test_folders_with_and_without_splits(tmp_path, write):
    write(tmp_path / "a/Training/Happy/1.png", 1)
    write(tmp_path / "a/Training/happiness/2.png", 2)
    write(tmp_path / "a/validation/3_sad/deeper/3.png", 3)
    write(tmp_path / "a/TEST/Contempt/4.png", 4)
    (tmp_path / "a/TEST/Contempt/notes.txt").write_text("-")
    (tmp_path / "a/.cache").mkdir()
    write(tmp_path / "a/.cache/5.png", 5)
    listing = list_faces(tmp_path / "a")
    assert (listing.layout, listing.classes[-1]) == ("folders", "contempt")
    assert rows_of(listing) == {
        "TEST/Contempt/4.png": ("contempt", "test"),
        "Training/Happy/1.png": ("happiness", "train"),
        "Training/happiness/2.png": ("happiness", "train"),
        "validation/3_sad/deeper/3.png": ("sadness", "val"),
    }
    assert listing.mapping == {
        "Happy": "happiness",
        "happiness": "happiness",
        "3_sad": "sadness",
        "Contempt": "contempt",
    }
    assert listing.left_out == {"hidden folder": 1, "not a picture by its suffix": 1}
    assert listing.left_out_names == {"hidden folder": [".cache/"], "not a picture by its suffix": [NOTES]}
    assert listing.notes == ()
    write(tmp_path / "b/fear/1.png", 1)
    alone = list_faces(tmp_path / "b")
    assert rows_of(alone) == {"fear/1.png": ("fear", "train")}
    assert alone.notes == ("no folder of a split: all 1 pictures are train",)


def test_folders_refuse_an_unknown_class(tmp_path, write):
    write(tmp_path / "train/happy/1.png", 1)
    write(tmp_path / "train/bored/1.png", 1)
    with pytest.raises(FsrcacheError) as caught:
        list_faces(tmp_path)
    assert "'bored'" in caught.value.what
    assert "'happy'" in caught.value.what
    assert "joy" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "path,label,split\na/1.png,happy,train\n2.png,Sad,Test\n"),
        ("t.csv", "label, image ,Usage\nhappy,a/1.png,Training\nSad, 2.png,PrivateTest\n"),
        ("t.tsv", "\ufefffile\temotion\tset\na/1.png\tjoy\ttrain\n2.png\tsadness\ttest\n"),
    ],
)
def test_table(tmp_path, write, name, text, tile):
    write(tmp_path / "a/1.png", 1)
    write(tmp_path / "2.png", 2)
    (tmp_path / name).write_text(text)
    listing = list_faces(tmp_path / name)
    assert listing.layout == "table"
    assert rows_of(listing) == {"a/1.png": ("happiness", "train"), "2.png": ("sadness", "test")}
    assert np.array_equal(listing.load(1), tile(2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n1.png,3\n", "'3'"),
        ("path,label,split\n1.png,happy,middle\n", "'middle'"),
        ("path,label\n1.png\n", r"Line 2 .* has 1 columns, the header 2"),
        ("path,label\n1.png,\xff\n", r"Line 2 .* is not UTF-8: byte 0xFF at offset 17"),
    ],
)
def test_table_refuses(tmp_path, text, message):
    (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(FsrcacheError, match=message):
        list_faces(tmp_path / "t.csv")


def test_drawn():
    listing = list_faces(Path("drawn:140"))
    assert np.array_equal(np.bincount(listing.splits), [98, 14, 28])
    assert all((np.bincount(listing.labels[listing.splits == split]) > 0).all() for split in range(3))
    assert listing.load(5) is listing.load(5)  # drawn once
    for wrong in ("drawn:0", "drawn:many", "drawn:²", "drawn:99999999999999"):
        with pytest.raises(RequestError, match="number of faces"):
            list_faces(Path(wrong))


def test_what_is_not_recognised(tmp_path):
    with pytest.raises(RequestError, match="nothing at"):
        list_faces(tmp_path / "none")
    with pytest.raises(FsrcacheError, match="not recognised"):
        list_faces(tmp_path)
    (tmp_path / "a.pdf").write_text("-")
    with pytest.raises(FsrcacheError, match="not recognised"):
        list_faces(tmp_path / "a.pdf")
    for layout in ("rafdb", "fer2013", "ferplus", "fer2013-folders", "table"):
        with pytest.raises(FsrcacheError, match=r"no|not"):
            list_faces(tmp_path, layout=layout)


def test_a_name_that_is_not_utf8_is_listed(tmp_path, write):
    write(tmp_path / "train/happy/1.png", 1)
    (tmp_path / "train/happy/1.png").rename(
        tmp_path / "train/happy" / b"caf\xe9.png".decode("utf-8", "surrogateescape")
    )
    assert "UTF-8" in survey(list_faces(tmp_path)).unreadable[0]


def test_the_word_drawn_and_a_folder_of_that_name(tmp_path, write, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list_faces("drawn").layout == "drawn"
    write(tmp_path / "drawn/train/happy/1.png", 1)
    for word in ("drawn", Path("drawn")):
        with pytest.raises(
            RequestError, match=r"Write \./drawn for the file or folder, drawn:1400 for the built-in faces"
        ):
            list_faces(word)
    assert len(list_faces("drawn:1400").names) == 1400
    for folder in ("./drawn", "drawn/", Path("drawn").absolute()):
        assert rows_of(list_faces(folder)) == {"train/happy/1.png": ("happiness", "train")}
    (tmp_path / "drawn:70").touch()
    assert len(list_faces("drawn:70").names) == 70


@pytest.mark.parametrize("path", [None, 7, "", b"drawn", ["drawn"], "a\0b"])
def test_other_paths_are_refused(path):
    with pytest.raises(RequestError, match="The data are"):
        list_faces(path)


def test_a_layout_from_outside_is_one_module_and_one_line(tmp_path, write, monkeypatch):
    """Its pictures are named ``happy-1.png`` in one folder, and all are test."""
    outside = ModuleType("outside")
    outside.NAME, outside.TITLE = "prefixes", "files named after their class"
    outside.recognises = lambda path: (path / "PREFIXES").is_file()

    def read(path, *, votes):  # noqa: ARG001  # a layout's signature
        left_out = LeftOut()
        entries = ((parts[0], parts[0].split("-")[0], SPLITS.index("test")) for parts in walk_pictures(path, left_out))
        understand = partial(understand_expressions, where=str(path))
        return file_listing("prefixes", path, entries=entries, understand=understand, left_out=left_out)

    outside.read = read
    write(tmp_path / "happy-1.png", 1)
    write(tmp_path / "sad-2.png", 2)
    with pytest.raises(FsrcacheError, match="not recognised"):
        list_faces(tmp_path)
    (tmp_path / "PREFIXES").touch()
    monkeypatch.setattr(index, "LAYOUTS", (*index.LAYOUTS, outside))
    assert index.formats()[-1] == "prefixes"
    assert index.title_of("prefixes") == "files named after their class"
    for listing in (list_faces(tmp_path), list_faces(str(tmp_path), layout="prefixes")):
        assert listing.layout == "prefixes"
        assert rows_of(listing) == {"happy-1.png": ("happiness", "test"), "sad-2.png": ("sadness", "test")}
    assert not survey(listing).unreadable


def test_text_and_other_kinds_of_paths(rafdb):
    class Location:
        def __fspath__(self):
            return str(rafdb)

    names = [str(name) for name in list_faces(rafdb).names]
    for path in (str(rafdb), PurePath(rafdb), Location()):
        assert [str(name) for name in list_faces(path).names] == names
    picture = rafdb / names[0] if (rafdb / names[0]).exists() else rafdb / "basic" / names[0]
    assert np.array_equal(decode(str(picture)), decode(picture))


def listing_with(**others):
    arguments = {
        "layout": "made", "classes": EXPRESSIONS, "names": np.array(["a", "b"], np.dtypes.StringDType()),
        "labels": np.array([0, 6], np.uint8), "splits": np.array([0, 2], np.uint8), "load": None, "where": str,
        "mapping": {},
    }  # fmt: skip
    return Listing(**(arguments | others))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"classes": list(EXPRESSIONS)}, r"classes of a listing are \['surprise'"),
        ({"classes": (1, 2)}, "classes"),
        ({"labels": [0, 6]}, "labels of a listing are of the type list"),
        ({"labels": np.array([0, 6])}, r"labels of a listing are int64 \[2\], its names 2"),
        ({"labels": np.array([0, 7], np.uint8)}, "labels of a listing go up to 7"),
        ({"splits": np.array([0], np.uint8)}, r"splits of a listing are uint8 \[1\], its names 2"),
        ({"splits": np.array([0, 3], np.uint8)}, "splits of a listing go up to 3"),
    ],
)
def test_a_listing_is_checked(others, message):
    assert len(listing_with().names) == 2
    with pytest.raises(RequestError, match=message):
        listing_with(**others)
