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
