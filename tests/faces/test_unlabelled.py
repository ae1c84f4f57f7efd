"""Faces without labels: pictures of any depth, layouts whose labels are ignored, and what is no data."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fsrcache.cli.data import data
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.faces.unlabelled import list_unlabelled


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), len(path.name), np.uint8)).save(path)


def names(listing):
    assert listing.classes == ("unlabelled",)
    assert not listing.labels.any()
    assert not listing.splits.any()
    return listing.names.tolist()


def test_a_folder_of_any_depth_whatever_its_folders_are_called(tmp_path):
    for name in ("a.png", "train/happy/b.png", "train/nobody knows/c.png", "x/y/z/d.jpg"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    listing = list_unlabelled(tmp_path)
    assert names(listing) == ["a.png", "train/happy/b.png", "train/nobody knows/c.png", "x/y/z/d.jpg"]
    assert listing.left_out == {"not a picture by its suffix": 1}
    assert listing.load(1).tolist() == [[5] * 4] * 4


def test_labels_and_splits_of_a_layout_are_ignored(tmp_path):
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n3,1 2 3 4,Training\n0,5 6 7 8,PublicTest\n")
    listing = list_unlabelled(tmp_path / "fer2013.csv")
    assert names(listing) == ["row-000001", "row-000002"]
    assert listing.load(1).tolist() == [[5, 6], [7, 8]]


def test_a_table_needs_paths_alone(tmp_path):
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    for number, text in enumerate(["path\nb.png\na.png\n", "path,label\nb.png,unknown\na.png,\n",
                                   "path,label,split\nb.png,happy,extra\na.png,sad,train\n"]):  # fmt: skip
        (tmp_path / f"{number}.csv").write_text(text)
        listing = list_unlabelled(tmp_path / f"{number}.csv")
        assert names(listing) == ["b.png", "a.png"]
        assert listing.load(0).tolist() == [[5] * 4] * 4


def test_votes_leave_no_face_out(tmp_path):
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n3,1 2 3 4,Training\n0,5 6 7 8,PublicTest\n")
    columns = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    rows = ["Training,a.png,0,10,0,0,0,0,0,0,0,0", "PublicTest,b.png,0,0,0,0,0,0,0,0,10,0"]
    (tmp_path / "fer2013new.csv").write_text("\n".join([f"Usage,Image name,{columns}", *rows, ""]))
    assert list_faces(tmp_path / "fer2013.csv").layout == "ferplus"
    for path in (tmp_path, tmp_path / "fer2013.csv", tmp_path / "fer2013new.csv"):
        assert names(list_unlabelled(path)) == ["row-000001", "row-000002"]


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(FsrcacheError, match="cannot be read: File name too long"):
        list_unlabelled(tmp_path / ("a" * 300))


def test_a_table_crops_and_orders_as_ever(tmp_path):
    for name in ("a.png", "b.png"):
        picture(tmp_path / name)
    (tmp_path / "table.csv").write_text("path,label\nb.png,happy\na.png,sad\n")
    assert names(list_unlabelled(tmp_path / "table.csv")) == list_faces(tmp_path / "table.csv").names.tolist()


def test_the_command_counts_them(tmp_path):
    for name in ("a.png", "x/b.png", "x/y/c.png"):
        picture(tmp_path / name)
    done = CliRunner().invoke(data, [str(tmp_path), "--unlabelled", "--json"])
    assert json.loads(done.stdout)["splits"] == {"train": {"unlabelled": 3}}
    done = CliRunner().invoke(data, [str(tmp_path), "--unlabelled"])
    assert "faces without labels" in done.stdout
    assert CliRunner().invoke(data, [str(tmp_path), "--unlabelled", "--format", "folders"]).exit_code == 2


def test_what_is_no_data_is_refused(tmp_path):
    with pytest.raises(RequestError, match="nothing at"):
        list_unlabelled(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(FsrcacheError, match="not recognised") as error:
        list_unlabelled(tmp_path / "a.txt")
    assert error.value.remedy.startswith("Faces without labels are a folder of pictures")
    with pytest.raises(FsrcacheError, match=r"no picture among the faces without labels\. Left out: 1"):
        usable_faces(list_unlabelled(tmp_path))
