"""AffectNet and ExpW: found out, read to the label, split and box, and refused in words where they are wrong."""

import gzip
import pickle

import numpy as np
import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.faces.boxes import CUT
from fsrcache.faces.expressions import EXPRESSIONS, SPLITS
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import formats, list_faces, title_of
from fsrcache.faces.report import report
from fsrcache.faces.survey import survey

LISTS = "Manually_Annotated_file_lists"
ORDER = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")


def rows_of(listing):
    """Return [(name, class, split)]."""
    labels = [listing.classes[label] for label in listing.labels]
    return list(zip(map(str, listing.names), labels, [SPLITS[split] for split in listing.splits], strict=True))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_they_are_known_by_name():
    assert {"affectnet", "affectnet-7", "expw"} <= set(formats())
    assert title_of("affectnet-7") == "AffectNet without contempt"


@pytest.mark.parametrize("inside", ["", LISTS])
def test_affectnet(affectnet, inside, tile):
    listing = list_faces(affectnet / inside)
    assert (listing.layout, listing.classes) == ("affectnet", (*EXPRESSIONS, "contempt"))
    assert rows_of(listing) == [
        *((f"Manually_Annotated_Images/{i}/training.png#xywh=4,2,12,14", ORDER[i], "train") for i in range(8)),
        ("Manually_Annotated_Images/0/validation.png#xywh=4,2,12,14", "anger", "val"),
        ("Manually_Annotated_Images/1/validation.png#xywh=4,2,12,14", "happiness", "val"),
    ]
    assert np.array_equal(listing.load(3), tile(93, 20)[2:16, 4:16])
    assert (survey(listing).sizes == [14, 12]).all()
    assert listing.mapping == {str(i): name for i, name in enumerate(ORDER)}
    assert listing.left_out == {"labelled none": 1}
    assert "0 neutral, 1 happiness, 2 sadness" in listing.notes[0]
    assert "eight classes" in listing.notes[1]


@pytest.mark.parametrize("file", ["training.csv", "validation.csv", "validation.csv.gz", "mine.csv"])
def test_one_list_of_affectnet(affectnet, file):
    path = affectnet / LISTS / file
    if file.endswith(".gz"):
        path.write_bytes(gzip.compress((affectnet / LISTS / "validation.csv").read_bytes()))
    elif file == "mine.csv":
        path.write_bytes((affectnet / LISTS / "validation.csv").read_bytes())
    listing = list_faces(path)
    split = {"training.csv": "train", "mine.csv": "train"}.get(file, "val")
    assert {row[2] for row in rows_of(listing)} == {split}
    assert any("no split column" in note for note in listing.notes) == (file == "mine.csv")
    assert any("no face is labelled contempt" in note for note in listing.notes) == (file != "training.csv")


def test_affectnet_without_contempt(affectnet, affectnet_npy):
    for root, count in ((affectnet, 9), (affectnet_npy, 4)):
        listing = list_faces(root, layout="affectnet-7")
        assert (listing.layout, listing.classes, len(listing.names)) == ("affectnet-7", EXPRESSIONS, count)
        assert listing.left_out["contempt"] == 1
        assert list_faces(root).layout == "affectnet"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",3,-0.5", ",11,-0.5", r"Line 5 of .*training\.csv has the expression '11'"),
        (",3,-0.5", ",bored,-0.5", r"Line 5 .*'bored'"),
        (",3,-0.5", ",,-0.5", r"Line 5 .*''"),
        (",4,-0.5", ",4,low", r"Line 6 .*valence 'low'"),
        ("2/training.png,4,2", "2/training.png,4.5,2", r"Line 4 .*box '4\.5, 2, 12, 14'"),
        ("2/training.png,4,2,12", "2/training.png,4,2,0", r"Line 4 .*box '4, 2, 0, 14'"),
        ("2/training.png,4,2", "2/training.png,NULL,2", r"Line 4 .*box 'NULL, 2"),
        ("2/training.png,4,", "2/training.png,", r"Line 4 .*has 8 columns, the header 9"),
        ("facial_landmarks", "landmarks", "no column facial_landmarks.*order is unknown"),
    ],
)
def test_affectnet_refuses_a_wrong_row(affectnet, old, new, message):
    edit(affectnet / LISTS / "training.csv", old, new)
    with pytest.raises(FsrcacheError, match=message):
        list_faces(affectnet)


def test_words_are_understood_in_any_list_of_affectnet(affectnet):
    (affectnet / LISTS / "training.csv").write_text(
        "subDirectory_filePath,expression\n0/training.png,Happy\n1/training.png,fear\n2/training.png,No-Face\n"
    )
    listing = list_faces(affectnet / LISTS / "training.csv")
    assert rows_of(listing) == [
        ("Manually_Annotated_Images/0/training.png", "happiness", "train"),
        ("Manually_Annotated_Images/1/training.png", "fear", "train"),
    ]
    assert (listing.left_out, listing.mapping["Happy"]) == ({"labelled no face": 1}, "happiness")
    assert survey(listing).sizes.tolist() == [[20, 20], [20, 20]]
    assert not any("numbers" in note for note in listing.notes)


def test_another_order_shows_in_the_valence(affectnet):
    """FER2013's 1 is disgust, whose valence is negative, and AffectNet's happiness."""
    path = affectnet / LISTS / "training.csv"
    row = path.read_text().splitlines()[2]
    disgust = [row.replace("1,0.5", "1,-0.5")] * 11
    path.write_text("\n".join([path.read_text().strip(), *disgust]) + "\n")
    with pytest.raises(FsrcacheError, match=r"11 of 12 faces labelled 1 \(happiness in AffectNet\) have no positive"):
        list_faces(affectnet)
    path.write_text("\n".join([path.read_text().strip(), *[row] * 10]) + "\n")
    assert len(list_faces(affectnet).names) == 31


def test_affectnet_lists_what_cannot_be_used(affectnet):
    lists = affectnet / LISTS / "training.csv"
    (affectnet / "Manually_Annotated_Images/1/training.png").unlink()
    edit(lists, "2/training.png,4,2,12,14", "2/training.png,4,2,120,140")
    edit(lists, "3/training.png,4,2,12,14", "3/training.png,NULL,NULL,NULL,NULL")
    edit(lists, "5/training.png,4,2", "4/training.png,4,2")
    listing = list_faces(affectnet)
    assert listing.left_out == {"labelled none": 1, "no box of a face": 1}
    reasons = survey(listing).unreadable
    assert [reasons[1], reasons[2][:36]] == ["missing file", "the face's box, 120 x 140 at 4, 2, d"]
    assert len(reasons) == 2
    twins = report(usable_faces(listing, on_error="skip"))["duplicates"]
    assert (twins["groups"], twins["conflicting_labels"]) == (1, 1)


def test_affectnet_needs_its_pictures(affectnet, tmp_path):
    (affectnet / "Manually_Annotated_Images").rename(tmp_path / "elsewhere")
    with pytest.raises(FsrcacheError, match="There is no folder Manually_Annotated_Images beside"):
        list_faces(affectnet)
    with pytest.raises(FsrcacheError, match=r"neither AffectNet's training\.csv"):
        list_faces(tmp_path / "elsewhere", layout="affectnet")


def test_affectnet_npy(affectnet_npy):
    listing = list_faces(affectnet_npy)
    assert (listing.layout, listing.classes) == ("affectnet", (*EXPRESSIONS, "contempt"))
    rows = rows_of(listing)
    assert rows == [
        ("train_set/images/0.jpg", "happiness", "train"),
        ("train_set/images/1.jpg", "contempt", "train"),
        ("train_set/images/2.jpg", "fear", "train"),
        ("val_set/images/0.jpg", "neutral", "val"),
        ("val_set/images/1.jpg", "surprise", "val"),
    ]
    assert listing.left_out == {"labelled no face": 1}
    assert survey(listing).sizes.tolist() == [[12, 12]] * 5
    inner = list_faces(affectnet_npy / "val_set")
    assert rows_of(inner) == [(name.removeprefix("val_set/"), *rest) for name, *rest in rows[3:]]
    assert list_faces(affectnet_npy.parent).layout == "affectnet"


def test_pictures_and_annotations_that_do_not_match(affectnet_npy, write):
    (affectnet_npy / "train_set/images/1.jpg").unlink()
    (affectnet_npy / "val_set/annotations/0_exp.npy").unlink()
    (affectnet_npy / "val_set/images/1.jpg").rename(affectnet_npy / "val_set/images/1.PNG")
    write(affectnet_npy / "val_set/images/1.bmp", 5)
    (affectnet_npy / "val_set/images/notes.txt").touch()
    listing = list_faces(affectnet_npy)
    assert [row[0] for row in rows_of(listing)][3:] == ["val_set/images/1.PNG"]
    assert {listing.where(i)[-5:]: reason for i, reason in survey(listing).unreadable.items()} == {
        "1.jpg": "missing file"
    }
    assert listing.left_out == {
        "labelled no face": 1,
        "no file _exp.npy for the picture": 1,
        "second picture of a name": 1,
        "not a picture by its suffix": 1,
    }
    assert listing.left_out_names["no file _exp.npy for the picture"] == ["val_set/images/0.jpg"]


class Harmful:
    """Unpickling it shows."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def saved(path, value):
    np.save(path, value, allow_pickle=True)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: saved(path, np.array(Harmful(), object)), "no numpy file of one text or number"),
        (lambda _: pickle.dumps(Harmful()), "no numpy file"),
        (lambda path: saved(path, "3")[:-1], "does not hold one text or number"),
        (lambda path: saved(path, "3") + b"\0" * 4, "does not hold"),
        (lambda path: saved(path, "3")[:40], "no numpy file"),
        (lambda _: b"", "no numpy file"),
        (lambda path: saved(path, [1, 2]), "no numpy file"),
        (lambda path: saved(path, "3").replace(b"()", b"(9" + b"9" * 30 + b")"), "no numpy file"),
        (lambda path: saved(path, "3").replace(b"<U1", b"<i9"), "does not hold"),
        (lambda path: saved(path, np.zeros(2000)), "no numpy file"),
        (lambda path: saved(path, "11"), "the label '11'"),
        (lambda path: saved(path, -1), "the label '-1'"),
        (lambda path: saved(path, np.nan), "the label 'nan'"),
        (lambda path: saved(path, 1.5), r"the label '1\.5'"),
    ],
)
def test_a_damaged_annotation_is_named(affectnet_npy, make, message):
    path = affectnet_npy / "train_set/annotations/2_exp.npy"
    path.write_bytes(make(path))
    with pytest.raises(FsrcacheError, match=rf"train_set/annotations/2_exp\.npy .*{message}") as caught:
        list_faces(affectnet_npy)
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("value", ["4", b"4", np.array(["4"]), np.int8(4), np.array(4, ">u2"), 4.0, "fear", " Fear "])
def test_kinds_of_annotations(affectnet_npy, value):
    np.save(affectnet_npy / "train_set/annotations/0_exp.npy", value)
    assert rows_of(list_faces(affectnet_npy))[0][1] == "fear"


def test_numbered_folders_of_a_mirror_are_not_guessed(tmp_path, write):
    for number in range(8):
        write(tmp_path / f"train/{number}/{number}.png", number)
    with pytest.raises(FsrcacheError, match="is not known; the classes are '0', '1'") as caught:
        list_faces(tmp_path)
    assert "happiness in AffectNet" in caught.value.remedy


FACES = [
    ("image/origin/two_people_1.png#xywh=4,2,12,12", "happiness", "train"),
    ("image/origin/two_people_1.png#xywh=15,6,8,8", "anger", "train"),
    ("image/origin/a b_2.png#xywh=0,0,9,9", "neutral", "train"),
]


@pytest.mark.parametrize("inside", ["", "label", "label/label.lst"])
def test_expw(expw, inside, tile):
    listing = list_faces(expw / inside)
    assert (listing.layout, listing.classes, rows_of(listing)) == ("expw", EXPRESSIONS, FACES)
    assert np.array_equal(listing.load(0), tile(1, 20)[2:14, 4:16])
    assert np.array_equal(listing.load(1), tile(1, 20)[6:14, 15:])
    seen = survey(listing)
    assert seen.sizes.tolist() == [[12, 12], [8, 5], [9, 9]]
    assert (seen.unreadable, seen.conversions) == ({}, {CUT: 1})
    assert listing.mapping == {
        "5": "surprise", "2": "fear", "1": "disgust", "3": "happiness", "4": "sadness", "0": "anger", "6": "neutral",
    }  # fmt: skip
    assert listing.notes == (
        "ExpW has no splits: all 3 faces are train (a list named train.lst, val.lst or test.lst is of that split)",
    )


def test_expw_with_lists_of_splits(expw):
    first, *rest = (expw / "label/label.lst").read_text().splitlines()
    (expw / "label/val.lst").write_text(first)
    (expw / "label/test.lst").write_text("\n".join(rest))
    listing = list_faces(expw)
    assert [row[2] for row in rows_of(listing)] == ["val", "test", "test"]
    assert listing.notes == ()
    assert listing.left_out_names == {"list of all faces, beside those of splits": ["label.lst"]}
    assert [row[2] for row in rows_of(list_faces(expw / "label/test.lst"))] == ["test", "test"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("61.5 0", "61.5 7", r"Line 2 of .*label\.lst has the label '7'"),
        ("61.5 0", "61.5 angry", r"Line 2 .*'angry'"),
        ("61.5 0", "61.5", r"Line 2 .* is 'two_people_1.png 1 6"),
        ("1 6 15", "1 6.5 15", r"Line 2 .* is 'two_people"),
        ("1 6 15 23 14", "1 6 23 15 14", r"Line 2 .*box top 6, left 23, right 15, bottom 14"),
        ("1 6 15 23 14", "1 14 15 23 14", r"Line 2 .*box top 14"),
    ],
)
def test_expw_refuses_a_wrong_line(expw, old, new, message):
    edit(expw / "label/label.lst", old, new)
    with pytest.raises(FsrcacheError, match=message):
        list_faces(expw)


def test_expw_lists_what_cannot_be_used(expw):
    with (expw / "label/label.lst").open("a") as labels:
        labels.write("\ngone_3.png 0 0 0 9 9 80 6\ntwo_people_1.png 2 90 90 99 99 10 2\n")
        labels.write("two_people_1.png 3 2 4 16 14 22.9 4\n")
    listing = list_faces(expw)
    assert {listing.where(i).rsplit("/")[-1]: reason for i, reason in survey(listing).unreadable.items()} == {
        "gone_3.png#xywh=0,0,9,9": "missing file",
        "two_people_1.png#xywh=90,90,9,9": (
            "the face's box, 9 x 9 at 90, 90, does not fit the picture of 20 x 20 pixels"
        ),
    }
    twins = report(usable_faces(listing, on_error="skip"))["duplicates"]
    assert (twins["groups"], twins["conflicting_labels"]) == (1, 1)


def test_expw_without_faces_or_pictures(expw):
    (expw / "label/label.lst").write_text("\n")
    with pytest.raises(FsrcacheError, match="has no line with a face"):
        list_faces(expw)
    (expw / "image/origin").rename(expw / "pictures")
    (expw / "image").rmdir()
    with pytest.raises(FsrcacheError, match="There is no folder image/origin beside"):
        list_faces(expw)
    with pytest.raises(FsrcacheError, match=r"holds no label\.lst"):
        list_faces(expw / "pictures", layout="expw")
