"""Fewer faces for a quick try: every class by its share, the same ones whatever the order, none decoded."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fsrcache.errors import RequestError
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.faces.limit import limited, shares


def refuse(i):
    raise AssertionError(f"picture {i} was decoded")


@pytest.fixture
def listing():
    """1,400 drawn faces, of which half of the happy ones are gone."""
    whole = list_faces(Path("drawn:1400"))
    keep = np.flatnonzero((whole.labels != 3) | (np.arange(1400) // 70 % 2 == 0))
    return replace(
        whole, names=whole.names[keep], labels=whole.labels[keep], splits=whole.splits[keep], load=refuse,
        where=lambda i: whole.where(int(keep[i])),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "limit", "sample"),
    [
        ([70, 20, 10], 10, [7, 2, 1]),
        ([50, 30, 20], 7, [4, 2, 1]),  # 3.5, 2.1, 1.4
        ([100, 5, 1, 0, 1, 1], 6, [2, 1, 1, 0, 1, 1]),  # one of each
        ([100, 5, 1, 0, 1, 1], 4, [4, 0, 0, 0, 0, 0]),  # too few for that
        ([2, 1], 3, [2, 1]),
        ([2, 1], 9, [2, 1]),
        ([0, 0], 5, [0, 0]),
    ],
)
def test_classes_get_their_shares(counts, limit, sample):
    assert shares(np.array(counts, np.int64), limit).tolist() == sample


def test_shares_are_exact_wherever_every_class_has_one():
    random = np.random.default_rng(0)
    for _ in range(300):
        counts, limit = random.integers(0, 40, 8), int(random.integers(1, 100))
        sample, exact = shares(counts, limit), limit * counts / max(1, counts.sum())
        assert sample.sum() == min(limit, counts.sum())
        assert (sample <= counts).all()
        assert (sample[counts > 0] >= (limit >= np.count_nonzero(counts))).all()
        if limit < counts.sum() and (exact[counts > 0] >= 1).all():
            assert (abs(sample - exact) < 1).all()


def test_every_split_has_at_most_so_many_faces_of_every_class_by_its_share(listing):
    few = limited(listing, 65)
    assert np.bincount(few.splits).tolist() == [65, 65, 65]
    for split in range(3):
        assert np.bincount(few.labels[few.splits == split]).tolist() == [10, 10, 10, 5, 10, 10, 10]
    counts = "65 of 910 of train, 65 of 130 of val, 65 of 260 of test"
    assert few.notes == (f"At most 65 faces of every split: {counts}, every class by its share.",)
    assert limited(listing, None) is listing
    assert limited(listing, 910) is listing


def test_the_order_of_the_data_is_no_matter_and_more_faces_are_others_beside(listing):
    backwards = replace(
        listing, names=listing.names[::-1], labels=listing.labels[::-1].copy(), splits=listing.splits[::-1].copy()
    )
    few = limited(listing, 39)
    assert set(few.names) == set(limited(backwards, 39).names)
    assert set(few.names) < set(limited(listing, 65).names)
    assert [few.where(i) for i in range(len(few.names))] == list(few.names)
    first = listing.names[np.isin(listing.names, few.names)]
    assert list(first) == list(few.names)  # in the order of the data
    assert set(few.names) != set(listing.names[: len(few.names)])


def test_pictures_votes_and_conversions_are_those_of_their_names():
    whole = list_faces(Path("drawn:140"))
    votes = np.eye(7, dtype=np.float32)[whole.labels]
    read = []
    watched = replace(
        whole, soft_labels=votes, load=lambda i: read.append(i) or whole.load(i),
        load_noted=lambda i: (read.append(i) or whole.load(i), ("noted",)),
    )  # fmt: skip
    few = limited(watched, 7)
    np.testing.assert_array_equal(few.soft_labels.argmax(axis=1), few.labels)
    faces = usable_faces(few)
    assert len(read) == len(faces.names) == 21
    assert faces.seen.conversions == {"noted": 21}
    number = int(few.names[20].rpartition("-")[2])
    np.testing.assert_array_equal(faces.batch(np.array([20]))[0], whole.load(number))


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, 10**9])
def test_a_limit_that_is_none_is_a_wrong_request(listing, limit):
    with pytest.raises(RequestError, match=f"limit is {limit}"):
        limited(listing, limit)
