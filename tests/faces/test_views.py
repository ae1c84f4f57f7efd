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


def affine_of(view):
    """Return turn in degrees, zoom and shift of a view of two ramps, by least squares on its middle."""
    side = len(view)
    inner = slice(side // 4, -side // 4)
    down, right = (axis[inner, inner] + 0.5 - side / 2 for axis in np.mgrid[:side, :side])
    positions = np.stack([right.ravel(), down.ravel(), np.ones(right.size)], axis=1)
    ramps = view[inner, inner].reshape(-1, 2) / 4 + 0.5 - side / 2
    (across_x, across_y), (down_x, down_y), shift = np.linalg.lstsq(positions, ramps, rcond=None)[0]
    np.testing.assert_allclose([across_x, across_y], [down_y, -down_x], atol=2e-2)  # a turn and a zoom, no shear
    return np.rad2deg(np.arctan2(across_y, across_x)), np.hypot(across_x, across_y), *shift


def test_the_first_views_are_shifted_and_odd_ones_mirrored():
    picture, hashes = faces()
    for number, original in ((1, picture[:, ::-1]), (2, picture), (3, picture[:, ::-1])):
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


def test_later_views_are_turned_zoomed_and_shifted():
    _, hashes = faces()
    down, right = np.mgrid[:60, :60]
    ramps = np.stack([right, down], axis=-1).astype(np.uint8) * 4
    for number, original in ((5, ramps[:, ::-1]), (4, ramps)):
        views = [view_of_face(original, number=number, picture_hash=one) for one in hashes]
        turn, zoom, across, below = np.array([affine_of(view) for view in views]).T
        for values, most in ((turn, 10), (zoom - 1, 0.1), (across, 4), (below, 4)):
            assert 0.9 * most < np.abs(values).max() < 1.03 * most
            assert abs(values.mean()) < 0.2 * most


def test_what_lies_beyond_the_edge_repeats_it():
    _, hashes = faces()
    light = np.full((48, 48, 3), 200, np.uint8)
    assert all(np.array_equal(view_of_face(light, number=4, picture_hash=one), light) for one in hashes)
