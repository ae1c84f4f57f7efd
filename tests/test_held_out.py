"""The held-out tenth is a function of each picture alone."""

import numpy as np

from fsrcache.held_out import held_out


def test_the_held_out_tenth_is_of_the_picture_alone():
    many = np.random.default_rng(0).integers(0, 256, (20000, 16)).astype(np.uint8)
    chosen = held_out(many)
    assert np.array_equal(held_out(many[::-1]), chosen[::-1])
    assert 0.09 < chosen.mean() < 0.11
