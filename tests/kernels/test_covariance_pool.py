"""Covariance pooling against numpy.cov in float64, its gradient against finite differences, bad input."""

import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.kernels import bimap_covariance_pool, covariance_pool

SHAPES = [(1, 1, 2), (2, 3, 5), (3, 65, 37), (2, 64, 144), (0, 4, 9)]


def features(shape, dtype=torch.float64):
    # rectified maps: a mean far from zero is what makes centring matter
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).relu().add(3).to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_numpys_covariance_with_a_ridge(shape):
    x = features(shape)
    pooled = covariance_pool(x, 1e-4)
    assert pooled.shape == (shape[0], shape[1], shape[1])
    for sample, matrix in zip(x.numpy(), pooled.numpy(), strict=True):
        expected = np.cov(sample).reshape(shape[1], shape[1])
        np.testing.assert_allclose(matrix, expected + 1e-4 * np.trace(expected) * np.eye(shape[1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_lower_precision_is_accumulated_in_fp32(dtype, error):
    x = features((3, 32, 144))
    exact = covariance_pool(x, 1e-4)
    pooled = covariance_pool(x.to(dtype), 1e-4)
    assert pooled.dtype == torch.float32
    of_rounded = covariance_pool(x.to(dtype).double(), 1e-4)
    assert (pooled - of_rounded).norm() < 1e-6 * of_rounded.norm()  # beyond the rounding of its input it loses nothing
    assert (pooled - exact).norm() < 4 * error * exact.norm()


def test_the_map_first_is_the_covariance_mapped():
    x = features((3, 24, 50))
    w = torch.linalg.qr(torch.randn(24, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0].mT
    expected = w @ covariance_pool(x, 1e-3) @ w.mT
    torch.testing.assert_close(bimap_covariance_pool(x, w, 1e-3), expected, rtol=0, atol=1e-12)


def test_one_position_has_no_covariance():
    assert covariance_pool(features((2, 4, 1)), 1e-4).abs().max() == 0


def test_a_nan_stays_in_its_sample():
    x = features((2, 4, 9))
    x[0, 1, 1] = torch.nan
    pooled = covariance_pool(x, 1e-4)
    assert pooled[0].isnan().any()
    assert pooled[1].isfinite().all()


def test_near_the_limits_of_fp32():
    """The trace is beyond the largest number, its share is not."""
    x, w = features((2, 64, 9), torch.float32), torch.eye(8, 64)
    for pool in (lambda x: covariance_pool(x, 1e-4), lambda x: bimap_covariance_pool(x, w, 1e-4)):
        unit = pool(x / x.abs().max())
        large, small = pool(x / x.abs().max() * 4e19), pool(x / x.abs().max() * 1e-17)
        torch.testing.assert_close(large.double() / 16e38, unit.double(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(small.double() / 1e-34, unit.double(), rtol=1e-5, atol=1e-6)


def test_gradients():
    x = features((2, 4, 7)).requires_grad_()
    w = features((3, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: covariance_pool(x, 1e-2), (x,))
    assert torch.autograd.gradcheck(lambda x, w: bimap_covariance_pool(x, w, 1e-2), (x, w))


@pytest.mark.slow
def test_they_are_proper_ops():
    x = features((2, 4, 7), torch.float32).requires_grad_()
    w = features((3, 4), torch.float32).requires_grad_()
    torch.library.opcheck(torch.ops.fsrcache.covariance_pool.default, (x, 1e-4))
    torch.library.opcheck(torch.ops.fsrcache.bimap_covariance_pool.default, (x, w, 1e-4))
    compiled = torch.compile(lambda x, w: bimap_covariance_pool(x, w, 1e-4).sin(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, w), bimap_covariance_pool(x, w, 1e-4).sin())


def test_the_map_first_is_differentiated_twice():
    x, w = features((2, 3, 5)).requires_grad_(), features((2, 3)).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x, w: bimap_covariance_pool(x, w, 1e-2), (x, w))


W = torch.linalg.qr(features((6, 4)) - 3)[0].mT
POOLS = {
    "covariance_pool": covariance_pool,
    "bimap_covariance_pool": lambda x, *ridge: bimap_covariance_pool(x, W, *ridge),
}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_pictures_and_single_samples(pool):
    x = features((3, 6, 4, 5)).requires_grad_()
    for maps in (x, x.to(memory_format=torch.channels_last)):
        expected = pool(x.flatten(2), 1e-2)
        pooled = pool(maps, 1e-2)
        torch.testing.assert_close(pooled, expected, rtol=1e-12, atol=1e-14)
        single = pool(maps[1].flatten(1), 1e-2)
        torch.testing.assert_close(single, expected[1], rtol=1e-12, atol=1e-14)
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (wanted,) = torch.autograd.grad(pool(x.flatten(2), 1e-2), x, upstream)
    (got,) = torch.autograd.grad(pool(x, 1e-2), x, upstream)
    assert torch.equal(got, wanted)
    torch.testing.assert_close(torch.autograd.grad(single, x, upstream[1])[0][1], wanted[1], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(torch.func.vmap(pool)(x.flatten(2)), pool(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_the_default_ridge_and_symmetry_to_rounding(pool):
    x = features((3, 6, 40))
    pooled = pool(x)
    assert torch.equal(pooled, pool(x, 1e-4))
    assert (pooled - pooled.mT).abs().max() <= 1e-15 * pooled.abs().max()
    assert torch.linalg.eigvalsh(pooled).min() > 0


@pytest.mark.parametrize("pool", POOLS.items(), ids=POOLS)
@pytest.mark.parametrize(
    "x",
    [torch.zeros(4), torch.zeros(1, 0, 4), torch.zeros(1, 4, 0), torch.zeros(1, 4, 4, dtype=torch.int64),
     torch.zeros(0, 4), torch.zeros(4, 0), torch.zeros(1, 4, 0, 3), torch.zeros(1, 1, 4, 3, 3), np.zeros((1, 4, 4)),
     None],
)  # fmt: skip
def test_other_features_are_refused(x, pool):
    with pytest.raises(FsrcacheError, match=f"^{pool[0]} got features of (shape|type)"):
        pool[1](x)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("ridge", [-1.0, float("nan"), float("inf"), "1e-4", True, torch.tensor(1e-4)])
def test_other_ridges_are_refused(pool, ridge):
    with pytest.raises(FsrcacheError, match="got the ridge"):
        pool(torch.zeros(1, 6, 4), ridge)


def test_other_maps_are_refused():
    with pytest.raises(
        FsrcacheError, match=r"map of shape \[2, 5\], torch.float32 on cpu for features of shape \[1, 4, 4\]"
    ):
        bimap_covariance_pool(torch.zeros(1, 4, 4), torch.zeros(2, 5))
    with pytest.raises(FsrcacheError, match="map of type list for"):
        bimap_covariance_pool(torch.zeros(1, 4, 4), [[1.0] * 4])
