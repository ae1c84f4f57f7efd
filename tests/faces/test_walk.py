"""Folders as people have them: links, loops, what systems put in between; what is left out is counted and named."""

import os

import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.faces.report import report
from fsrcache.faces.survey import survey
from fsrcache.faces.walk import LeftOut, walk_pictures


@pytest.fixture
def data(tmp_path, write):
    write(tmp_path / "data/train/happy/1.png", 1)
    write(tmp_path / "data/test/sad/2.png", 2)
    return tmp_path / "data"


def names(root):
    return [str(name) for name in list_faces(root).names]


BOTH = ["test/sad/2.png", "train/happy/1.png"]


@pytest.mark.parametrize(
    "folder", ["@eaDir", "@EADIR", "__MACOSX", "lost+found", "$RECYCLE.BIN", "#recycle", "System Volume Information"]
)
def test_system_folders(data, write, folder):
    write(data / folder / "3.png", 3)
    write(data / "train" / folder / "1.png/SYNOPHOTO_THUMB_M.jpg", 3)
    write(data / "train/happy" / folder / "1.png/SYNOPHOTO_THUMB_M.jpg", 3)
    listing = list_faces(data)
    assert listing.layout == "folders"
    assert [str(name) for name in listing.names] == BOTH
    assert listing.left_out == {"system folder": 3}
    assert sorted(listing.left_out_names["system folder"]) == sorted(
        [f"{folder}/", f"train/{folder}/", f"train/happy/{folder}/"]
    )


def test_system_folders_hide_no_numbered_folders(tmp_path, write):
    pictures = ["test/2/b.png", *(f"train/{number}/a.png" for number in range(1, 8))]
    for name in (*pictures, "train/@eaDir/1/a.png", "@eaDir/train.png"):
        write(tmp_path / name, 1)
    listing = list_faces(tmp_path)
    assert (listing.layout, listing.left_out) == ("rafdb-folders", {"system folder": 2})
    assert [str(name) for name in listing.names] == pictures


def test_hidden_and_system_files(data, write):
    for name in ("._1.png", ".hidden.png", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt"):
        (data / "train/happy" / name).write_bytes(b"-")
    write(data / "train/happy/.thumbnails/1.png", 1)
    listing = list_faces(data)
    assert [str(name) for name in listing.names] == BOTH
    assert listing.left_out == {
        "system file": 4, "hidden file": 1, "hidden folder": 1, "not a picture by its suffix": 1,
    }  # fmt: skip
    assert listing.left_out_names["hidden file"] == ["train/happy/.hidden.png"]
    assert "train/happy/._1.png" in listing.left_out_names["system file"]
    record = report(usable_faces(listing))
    assert record["left_out"] == listing.left_out
    assert record["left_out_names"] == listing.left_out_names


def test_the_first_ten_names_are_kept(data):
    for i in range(15):
        (data / f"train/happy/{i:02}.txt").touch()
    listing = list_faces(data)
    assert listing.left_out == {"not a picture by its suffix": 15}
    assert listing.left_out_names == {"not a picture by its suffix": [f"train/happy/{i:02}.txt" for i in range(10)]}


def test_what_lies_beside_a_single_folder(data, write):
    outer = data.rename(data.with_name("inner")).parent
    write(outer / ".trash/1.png", 1)
    (outer / "README.md").touch()
    listing = list_faces(outer)
    assert [str(name) for name in listing.names] == BOTH
    assert listing.left_out == {"hidden folder": 1, "not a picture by its suffix": 1}
    assert listing.left_out_names == {"hidden folder": [".trash/"], "not a picture by its suffix": ["README.md"]}


def test_links_are_followed(data, tmp_path, write):
    write(tmp_path / "pool/a/9.png", 9)
    (data / "train/happy/8.png").symlink_to(tmp_path / "pool/a/9.png")
    (data / "train/fear").symlink_to(tmp_path / "pool/a")
    (data / "val").symlink_to(data / "train")
    listing = list_faces(data)
    assert [str(name) for name in listing.names] == [
        *("test/sad/2.png", "train/fear/9.png", "train/happy/1.png", "train/happy/8.png"),
        *("val/fear/9.png", "val/happy/1.png", "val/happy/8.png"),
    ]
    assert listing.left_out == {}
    twins = report(usable_faces(listing))["duplicates"]  # what is reached twice is a duplicate, and shows as one
    assert twins["twins_in_train"] == {"val": 3, "test": 0}


def test_links_that_go_round_are_left_out(data):
    (data / "train/happy/again").symlink_to(data)
    (data / "train/happy/here").symlink_to(".")
    (data / "train/happy/itself").symlink_to("itself")
    (data / "train/happy/itself.png").symlink_to("itself.png")
    listing = list_faces(data)
    assert [str(name) for name in listing.names] == [*BOTH, "train/happy/itself.png"]
    assert listing.left_out == {"link to a folder that it lies in": 2, "link that leads nowhere": 1}
    assert listing.left_out_names["link to a folder that it lies in"] == ["train/happy/again/", "train/happy/here/"]
    assert list(survey(listing).unreadable) == [2]


def test_links_that_lead_nowhere(data):
    (data / "train/happy/gone.png").symlink_to("nothing.png")
    (data / "train/gone").symlink_to("nothing")
    listing = list_faces(data)
    assert listing.left_out_names == {"link that leads nowhere": ["train/gone"]}
    assert list(survey(listing).unreadable.values()) == ["a link that leads nowhere"]
    with pytest.raises(FsrcacheError, match=r"gone\.png: a link that leads nowhere"):
        usable_faces(listing)


def test_links_to_links_do_not_multiply_without_end(tmp_path, write):
    for level in range(24):
        (tmp_path / f"{level}").mkdir()
        for name in "ab" if level else "":
            (tmp_path / f"{level - 1}" / name).symlink_to(tmp_path / f"{level}")
    write(tmp_path / "23/1.png", 1)
    left_out = LeftOut()
    assert len(list(walk_pictures(tmp_path / "0", left_out))) == 64
    assert left_out.counts["folder that 64 other links lead to"] > 0


def test_a_single_folder_that_holds_itself(tmp_path):
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(FsrcacheError, match="not recognised"):
        list_faces(tmp_path)


def test_folders_a_thousand_deep(data, write):
    folder = data / "train/happy"
    for _ in range(1100):
        folder = folder / "d"
        folder.mkdir()
    write(folder / "3.png", 3)
    assert len(list_faces(data).names) == 3
    (folder / "3.png").unlink()
    while folder.name == "d":  # pytest's own way to remove it is recursive
        folder.rmdir()
        folder = folder.parent


def test_a_folder_that_cannot_be_read(data, monkeypatch):
    whole = os.scandir

    def scandir(folder):
        if str(folder).endswith("sad"):
            raise PermissionError(13, "Permission denied", str(folder))
        return whole(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = list_faces(data)
    assert [str(name) for name in listing.names] == BOTH[1:]
    assert listing.left_out_names == {"folder that cannot be read": ["test/sad/"]}
    with pytest.raises(FsrcacheError, match=r"cannot be (listed|read): Permission denied"):
        list_faces(data / "test/sad")
