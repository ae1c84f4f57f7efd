"""Views of a face: which ones there are, and that they are functions of the face alone."""

import numpy as np

from fsrcache.faces.views import view_of_face


def faces(count=200):
    random = np.random.default_rng(0)
    picture = np.arange(10 * 10 * 3, dtype=np.uint32).reshape(10, 10, 3).astype(np.uint8)
    return picture, random.integers(0, 256, (count, 16)).astype(np.uint8)


def shift_of(view, original):
    """Return by how many pixels a view is shifted down and right, from its middle."""
    return next(
        (down, right)
        for down in range(-2, 3)
        for right in range(-2, 3)
        if np.array_equal(view[2:8, 2:8], original[2 - down : 8 - down, 2 - right : 8 - right])
    )


def test_odd_views_are_mirrored_and_every_view_is_shifted():
    picture, hashes = faces()
    for number, original in ((1, picture[:, ::-1]), (2, picture)):
        shifts = {shift_of(view_of_face(picture, number=number, picture_hash=one), original) for one in hashes}
        assert shifts == {(down, right) for down in range(-2, 3) for right in range(-2, 3)} - {(0, 0)}


def test_the_edge_is_repeated():
    picture, hashes = faces(40)
    for one in hashes:
        view = view_of_face(picture, number=2, picture_hash=one)
        down, right = shift_of(view, picture)
        rows, columns = (np.clip(np.arange(10) - shift, 0, 9) for shift in (down, right))
        assert np.array_equal(view, picture[rows][:, columns])


def test_a_view_follows_from_face_and_number():
    picture, (one, other) = faces(2)
    views = [view_of_face(picture, number=2, picture_hash=one) for _ in range(2)]
    assert np.array_equal(*views)
    assert not np.array_equal(views[0], view_of_face(picture, number=2, picture_hash=other))
    assert not np.array_equal(views[0], view_of_face(picture, number=4, picture_hash=one))
