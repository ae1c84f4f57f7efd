"""Names of extra splits in a list: short, and back."""

import pytest

from fsrcache.split_names import splits_in_words, splits_of_words, view_number, view_split


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ([], ""),
        (["view-1"], "view-1"),
        (["view-2", "view-1"], "view-1,view-2"),
        (["view-10", "unlabelled", "view-9", "view-11"], "view-9..11,unlabelled"),
        (["view-1", "view-3", "view-4", "view-5", "view-7"], "view-1,view-3..5,view-7"),
        (["unlabelled"], "unlabelled"),
    ],
)
def test_views_in_a_row_are_named_by_the_first_and_the_last(splits, words):
    assert splits_in_words(splits) == words
    if splits:
        assert set(splits_of_words(words)) == set(splits)


def test_what_is_no_row_stays_for_the_store_to_refuse():
    assert splits_of_words(" view-1..3, unlabelled") == ["view-1", "view-2", "view-3", "unlabelled"]
    assert splits_of_words("view-3..1") == []
    assert splits_of_words("view-0..2,view-1..,x") == ["view-0..2", "view-1..", "x"]


def test_numbers_of_views():
    assert view_number(view_split(100)) == 100
    assert [view_number(split) for split in ("view-101", "view-0", "view-01", "train", "view-1..3")] == [None] * 5
