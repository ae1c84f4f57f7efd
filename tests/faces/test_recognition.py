"""A layout is recognised by all that makes it; a name or two of its kind make none of one's own faces."""

import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.faces.index import list_faces


def test_some_of_the_numbers_from_one_to_seven_are_nobodys_order(tmp_path, write):
    for number in (1, 2):
        write(tmp_path / f"train/{number}/a.png", number)
    with pytest.raises(FsrcacheError, match="A bare number is ambiguous"):
        list_faces(tmp_path)
    assert list_faces(tmp_path, layout="rafdb-folders").mapping["2"] == "fear"


def test_numbers_of_rafdb_are_said(tmp_path, write):
    for number in range(1, 8):  # some in one split, the others in the other
        write(tmp_path / f"{'train' if number % 2 else 'test'}/{number}/a.png", number)
    listing = list_faces(tmp_path)
    assert listing.layout == "rafdb-folders"
    assert listing.notes == (
        "numbers mean what RAF-DB's authors say: 1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, "
        "7 neutral",
    )


@pytest.mark.parametrize("name", ["Training_1.png", "Training_1_of_me.png"])
def test_one_name_of_fer2013_makes_no_fer2013_of_other_pictures(tmp_path, write, name):
    for number, picture in enumerate((name, "a.png", "b.png")):
        write(tmp_path / "happy" / picture, number)
    listing = list_faces(tmp_path)
    assert (listing.layout, len(listing.names)) == ("folders", 3)


def test_other_pictures_among_those_of_fer2013_are_left_out(tmp_path, write):
    for number, picture in enumerate(("PublicTest_1.png", "Training_2.png", "Training_2.png0.png", "a.png")):
        write(tmp_path / "happy" / picture, number)
    listing = list_faces(tmp_path)
    assert listing.layout == "fer2013-folders"
    assert listing.left_out == {"augmented copy": 1, "not named as FER2013's pictures": 1}


def test_without_a_name_of_fer2013_the_remedy_is_another_layout(tmp_path, write):
    write(tmp_path / "happy/Training_1_of_me.png", 1)
    with pytest.raises(FsrcacheError, match=r"No picture below .* is named Training_N") as caught:
        list_faces(tmp_path, layout="fer2013-folders")
    assert "layout='folders'" in caught.value.remedy
