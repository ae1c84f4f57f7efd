"""Ridge maps: the solution that others find, a map that is recovered, and the penalty that the frozen head chooses."""

import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.training.ridge import Moments, RidgeConfig

P, N = 7, 60


def pairs(seed=0, noise=1.0):
    random = np.random.default_rng(seed)
    x = random.normal(3, 2, (N, P)) * np.arange(1, P + 1)
    planted, offset = random.normal(size=(P, P)), random.normal(size=P)
    return x, x @ planted + offset + noise * random.normal(size=(N, P)), planted, offset


def moments_of(x, y, parts=4):
    moments = Moments(P)
    for one, other in zip(np.array_split(x, parts), np.array_split(y, parts), strict=True):
        moments.add(torch.from_numpy(one), torch.from_numpy(other))
    return moments


@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 1.0, 30.0])
def test_the_solution_is_that_of_least_squares_on_more_rows(penalty):
    x, y, _, _ = pairs()
    weight, bias = moments_of(x, y).solve(penalty)
    centred, target = x - x.mean(0), y - y.mean(0)
    pull = np.sqrt(penalty * (centred**2).sum(0).mean())
    naive = np.linalg.lstsq(np.vstack([centred, pull * np.eye(P)]), np.vstack([target, np.zeros((P, P))]), rcond=None)[
        0
    ]
    np.testing.assert_allclose(weight.numpy(), naive, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(bias.numpy(), y.mean(0) - x.mean(0) @ naive, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("penalty", [1e-6, 1e-2, 1.0])
def test_early_features_weigh_as_much_as_the_feature(penalty):
    x, y, _, _ = pairs()
    random = np.random.default_rng(1)
    early = random.normal(5, 1, (N, 4)) * (1e-3, 1.0, 1e3, 0.0) + y[:, :1]
    early[:, 3] = 2.0  # one that never varies
    moments = Moments(P, 4)
    for rows in np.array_split(np.arange(N), 3):
        moments.add(torch.from_numpy(np.hstack([x, early])[rows]), torch.from_numpy(y[rows]))
    weight, bias = moments.solve(penalty)
    spread = np.sqrt(x.var(0).mean())
    factors = np.append(np.ones(P), np.where(early.std(0) > 0, spread / np.maximum(early.std(0), 1e-12), 1.0))
    scaled = (np.hstack([x, early]) - np.hstack([x, early]).mean(0)) * factors
    pull = np.sqrt(penalty * N) * spread * np.eye(P + 4)
    target = np.vstack([y - y.mean(0), np.zeros((P + 4, P))])
    naive = factors[:, None] * np.linalg.lstsq(np.vstack([scaled, pull]), target, rcond=None)[0]
    np.testing.assert_allclose(weight.numpy(), naive, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(bias.numpy(), y.mean(0) - np.hstack([x, early]).mean(0) @ naive, rtol=1e-6, atol=1e-6)


def test_a_planted_map_is_recovered():
    x, y, planted, offset = pairs(noise=0.0)
    weight, bias = moments_of(x, y).solve(1e-9)
    np.testing.assert_allclose(weight.numpy(), planted, atol=1e-6)
    np.testing.assert_allclose(bias.numpy(), offset, atol=1e-5)


def test_parts_of_any_size_give_the_same_map():
    x, y, _, _ = pairs()
    whole, parts = (moments_of(x, y, parts).solve(0.1)[0] for parts in (1, 9))
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)


def test_what_has_no_solution_is_refused():
    with pytest.raises(FsrcacheError, match="no pairs"):
        Moments(P).solve(0.1)
    constant = np.ones((N, P))
    with pytest.raises(FsrcacheError, match=r"no solution with the penalty 0\.1"):
        moments_of(constant, constant).solve(0.1)


@pytest.mark.parametrize("penalties", [(), (0.0,), (1e7,), (0.1,) * 21, 0.1])
def test_penalties_are_checked(penalties):
    with pytest.raises(RequestError, match="penalties"):
        RidgeConfig(penalties=penalties)
