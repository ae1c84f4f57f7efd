"""Faces as files in a folder a scale: each has a file of its own, and those of other programs are found again."""

import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.faces.scale_folders import existing_picture, picture_path


def test_every_face_has_a_file_of_its_own(tmp_path):
    names = ["a", "a.png", "a.png.png", "a.PNG", "a.jpg", "a.jpg.png", "b/a.png"]
    assert len({picture_path(tmp_path, 4, name) for name in names}) == len(names)
    assert picture_path(tmp_path, 4, "b/a.png") == tmp_path / "x4/b/a.png.png"


def test_a_file_of_the_very_name_is_found_too(tmp_path):
    (tmp_path / "x4/b").mkdir(parents=True)
    for name, file in (("b/1.png", "b/1.png"), ("b/2.png", "b/2.png.png"), ("b/3.jpg", "b/3.jpg")):
        (tmp_path / "x4" / file).touch()
        assert existing_picture(tmp_path, 4, name) == tmp_path / "x4" / file
    assert existing_picture(tmp_path, 4, "b/4.png") is None


def test_an_absolute_name_of_a_table_is_there_without_its_root(tmp_path):
    picture = tmp_path / "faces/a.jpg"
    picture.parent.mkdir()
    picture.touch()
    inside = tmp_path / "small/x4" / str(picture).lstrip("/")
    assert picture_path(tmp_path / "small", 4, str(picture)) == inside.with_name("a.jpg.png")
    assert existing_picture(tmp_path / "small", 4, str(picture)) is None  # not the face itself
    inside.parent.mkdir(parents=True)
    inside.touch()
    assert existing_picture(tmp_path / "small", 4, str(picture)) == inside


@pytest.mark.parametrize("name", ["../a.jpg", "b/../../a.jpg", "/b/../a.jpg"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(FsrcacheError, match="leads out of a folder") as caught:
        picture_path(tmp_path, 4, name)
    assert "without '..'" in caught.value.remedy
