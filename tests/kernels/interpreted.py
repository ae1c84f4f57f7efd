"""Every Triton kernel in Triton's interpreter against the reference in float64, its outputs poisoned before the launch.

``test_interpreted.py`` runs this file in a process of its own: whether a kernel is interpreted is decided where it is
defined. The interpreter multiplies tiles in fp32, whatever precision is asked for.
"""

import sys
from itertools import product

import pytest
import torch
import triton

from fsrcache.kernels.bimap_covariance_pool import bimap_covariance_pool_reference, launch_bimap_covariance_pool
from fsrcache.kernels.covariance_pool import (
    covariance_pool_backward_reference,
    covariance_pool_reference,
    launch_covariance_pool,
    launch_covariance_pool_backward,
)
from fsrcache.kernels.gradient_norm import (
    gradient_norm_reference,
    launch_gradient_norm,
    launch_penalty_direction,
    penalty_direction_reference,
)
from fsrcache.kernels.log_eig import log_eig_reference
from fsrcache.kernels.log_eig_gemm import launch_log_eig_gemm
from fsrcache.kernels.log_eig_products import log_eig_products
from fsrcache.kernels.symmetric_gather import launch_symmetric_gather, symmetric_gather_reference

assert triton.knobs.runtime.interpret
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array with ndim:DeprecationWarning")  # of Triton 3.6

HALF = (torch.float16, torch.bfloat16)
NAN, STRANGE = float("nan"), 0x7F


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Fill what ``torch.empty`` and its kin return with NaN, or with 127 where there is none."""

    def poison(make):
        def made(*arguments, **options):
            tensor = make(*arguments, **options)
            return tensor.fill_(NAN if tensor.is_floating_point() else STRANGE)

        return made

    for name in ("empty", "empty_like"):
        monkeypatch.setattr(torch, name, poison(getattr(torch, name)))
    monkeypatch.setattr(torch.Tensor, "new_empty", poison(torch.Tensor.new_empty))


def random(*shape, dtype=torch.float32, offset=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, dtype=torch.float64, generator=generator) + offset).to(dtype)


def assert_near(got, expected, error=2e-6):
    assert got.shape == expected.shape
    assert got.isfinite().all()
    assert (got.double() - expected).norm() <= error * expected.norm()


SHAPES = [
    (1, 1, 1),
    (0, 3, 5),
    (2, 1, 36),
    (1, 65, 36),
    (2, 7, 144),
    (1, 256, 144),
    (1, 17, 1023),
    (1, 31, 1),
    (3, 127, 2),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_covariance_pool(shape, dtype):
    x = random(*shape, dtype=dtype, offset=3)
    pooled = launch_covariance_pool(x, 1e-2)
    assert pooled.dtype == torch.float32
    assert torch.equal(pooled, pooled.mT)
    assert_near(pooled, covariance_pool_reference(x.double(), 1e-2))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_covariance_pool_backward(shape, dtype):
    x = random(*shape, dtype=dtype, offset=3)
    gradient = random(shape[0], shape[1], shape[1], seed=1)
    of_x = launch_covariance_pool_backward(gradient, x, 1e-2)
    expected = covariance_pool_backward_reference(gradient.double(), x.double(), 1e-2)
    assert of_x.dtype == dtype
    assert_near(of_x, expected, {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}[dtype])


@pytest.mark.parametrize(
    ("shape", "side"),
    [((1, 1, 1), 1), ((0, 4, 5), 64), ((2, 65, 36), 1), ((2, 65, 36), 31), ((1, 17, 1023), 17), ((1, 17, 1023), 64),
     ((1, 256, 36), 128), ((1, 140, 20), 130)],
)  # fmt: skip
def test_bimap_covariance_pool(shape, side):
    x, w = random(*shape, offset=3), random(side, shape[1], seed=1)
    pooled = launch_bimap_covariance_pool(x, w, 1e-2)
    assert torch.equal(pooled, pooled.mT)
    assert_near(pooled, bimap_covariance_pool_reference(x.double(), w.double(), 1e-2))


@pytest.mark.parametrize("dtype", HALF)
def test_bimap_covariance_pool_in_half_precision(dtype):
    x, w = random(2, 64, 36, dtype=dtype, offset=3), random(32, 64, dtype=dtype, seed=1)
    assert_near(launch_bimap_covariance_pool(x, w, 1e-4), bimap_covariance_pool_reference(x.double(), w.double(), 1e-4))


def strided_maps():
    """Return maps of one shape in the layouts that the launchers read without a copy, and in one that they copy."""
    x = random(2, 37, 7, 7, offset=3)
    yield x.to(memory_format=torch.channels_last).flatten(2)
    yield x.flatten(2).mT.contiguous().mT
    yield torch.cat([x, x], 2).flatten(2)[:, :, :49]
    yield random(2, 74, 98, offset=3)[:, ::2, ::2]


def test_maps_in_any_layout():
    w, gradient = random(20, 37, seed=1), random(2, 37, 37, seed=2)
    for x in strided_maps():
        exact = x.double()
        assert_near(launch_covariance_pool(x, 1e-2), covariance_pool_reference(exact, 1e-2))
        assert_near(launch_bimap_covariance_pool(x, w, 1e-2), bimap_covariance_pool_reference(exact, w.double(), 1e-2))
        of_x = launch_covariance_pool_backward(gradient, x, 1e-2)
        assert_near(of_x, covariance_pool_backward_reference(gradient.double(), exact, 1e-2))


def test_a_nan_stays_in_its_sample():
    x = random(2, 20, 9)
    x[0, 3, 4] = torch.nan
    for pooled in (launch_covariance_pool(x, 1e-4), launch_bimap_covariance_pool(x, random(5, 20), 1e-4)):
        assert pooled[0].isnan().any()
        assert pooled[1].isfinite().all()


@pytest.mark.parametrize(
    ("shape", "dtype", "power"),
    [*product([(1, 1), (0, 7), (3, 1, 31, 31), (2, 1, 128, 128)], [torch.float32, *HALF], [1.0, 2.0, 3.5, 6.0]),
     ((300, 5), torch.float32, 6.0), ((300, 5), torch.bfloat16, 1.0),
     *product([(2, 32768), (2, 32769), (2, 3, 151, 157)], [torch.float32, torch.float16], [6.0])],  # kept, read twice
)  # fmt: skip
def test_gradient_norm_and_penalty_direction(shape, dtype, power):
    g = random(*shape, dtype=dtype)
    if shape[0] > 1:
        g[1] = 0
    assert_near(launch_gradient_norm(g, power), gradient_norm_reference(g.double(), power))
    results = launch_penalty_direction(g, 2.0, power)
    for got, expected in zip(results, penalty_direction_reference(g.double(), 2.0, power), strict=True):
        assert_near(got, expected)
        assert got.dtype == torch.float32


def test_a_direction_lies_as_its_gradient():
    g = random(3, 5, 6, 7)
    for laid in (g.to(memory_format=torch.channels_last), g.mT.contiguous().mT, g[:, ::2], g[:2, :, :, :4]):
        results = launch_penalty_direction(laid, 2.0, 3.0)
        expected = penalty_direction_reference(laid.double(), 2.0, 3.0)
        assert results[1].stride() == expected[1].stride()
        for got, wanted in zip(results, expected, strict=True):
            assert_near(got, wanted)
        assert_near(launch_gradient_norm(laid, 3.0), expected[2])


@pytest.mark.parametrize("power", [2.0, 3.5, 6.0])
def test_a_nan_stays_in_its_gradient(power):
    g = random(3, 40)
    g[1, 7] = torch.nan
    assert launch_gradient_norm(g, power).isnan().tolist() == [False, True, False]
    value, direction, powers = launch_penalty_direction(g, 2.0, power)
    assert value.isnan()
    assert direction.isnan().any(dim=1).tolist() == powers.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("side", "positions"), [(1, 9), (16, 40), (31, 20), (64, 36), (100, 300), (128, 144), (130, 40)]
)
def test_log_eig_gemm(side, positions):
    S = covariance_pool_reference(20 * random(1, side, positions, seed=side).relu(), 1e-4)
    logarithm, expected = launch_log_eig_gemm(S, 1e-4), log_eig_reference(S.double(), 1e-4)[0]
    assert torch.equal(logarithm, logarithm.mT)
    assert_near(
        logarithm, expected, max(1e-6, 1.5 * float((log_eig_products(S, 1e-4) - expected).norm() / expected.norm()))
    )


def test_log_eig_gemm_takes_one_matrix_after_another(monkeypatch):
    monkeypatch.setattr(sys.modules["fsrcache.kernels.log_eig_gemm"], "_PROGRAMS", 2)
    S = covariance_pool_reference(random(5, 12, 20), 1e-4)
    S[1], S[3, 2, 2] = 0, torch.nan
    logarithm = launch_log_eig_gemm(S, 1e-4)
    assert logarithm[3].isnan().all()
    right = [0, 1, 2, 4]
    assert_near(logarithm[right], log_eig_products(S[right].double(), 1e-4), 5e-6)
    assert launch_log_eig_gemm(S[:0], 1e-4).shape == (0, 12, 12)


@pytest.mark.parametrize("side", [1, 2, 31, 64, 65, 128, 131])
@pytest.mark.parametrize("cached", [torch.float16, torch.bfloat16, torch.int8, torch.float32])
def test_symmetric_gather(side, cached):
    length = side * (side + 1) // 2
    cache = (20 * random(7, length)).to(cached)
    mean, scale, rows = random(length, seed=1), random(length, seed=2), torch.tensor([6, 0, 3, 3])
    exact = [cache.double(), mean.double(), scale.double()]
    for given in product((True, False), repeat=2):
        moments = [vector if there else None for vector, there in zip((mean, scale), given, strict=True)]
        doubled = [vector if there else None for vector, there in zip(exact[1:], given, strict=True)]
        pictures = launch_symmetric_gather(cache, rows, *moments, torch.float32)
        assert torch.equal(pictures, pictures.mT)
        assert_near(pictures, symmetric_gather_reference(exact[0], rows, *doubled, torch.float64), 1e-6)
    pictures = launch_symmetric_gather(cache, rows, mean, scale, torch.float32)
    for dtype, error in ((torch.float16, 1e-3), (torch.bfloat16, 1e-2)):
        lower = launch_symmetric_gather(cache, rows.int(), mean, scale, dtype)
        assert lower.dtype == dtype
        assert_near(lower, pictures.double(), error)
    assert launch_symmetric_gather(cache, rows[:0], mean, scale, torch.float32).shape == (0, 1, side, side)


def test_a_row_that_is_not_there_is_nan():
    cache, mean, scale = random(2, 6), torch.zeros(6), torch.ones(6)
    pictures = launch_symmetric_gather(cache, torch.tensor([1, 2, -1, 0]), mean, scale, torch.float32)
    assert pictures.isnan().all(dim=-1).all(dim=-1)[:, 0].tolist() == [False, True, True, False]
