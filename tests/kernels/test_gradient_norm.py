"""The penalty's norm and direction against their formulas in float64, and against autograd."""

import pytest
import torch
from torch.library import opcheck

from fsrcache.errors import FsrcacheError
from fsrcache.kernels import gradient_norm, penalty_direction


def gradients(shape, dtype=torch.float64):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("power", [1.0, 2.0, 2.5, 6.0, 20.0])
def test_they_are_norm_and_derivative(power):
    g = gradients((3, 1, 5, 7)).requires_grad_()
    norms = torch.stack([torch.linalg.vector_norm(sample) for sample in g])
    torch.testing.assert_close(gradient_norm(g, power), norms**power, rtol=1e-12, atol=0)
    penalty = 2 * (norms**power).mean()
    (expected,) = torch.autograd.grad(penalty, g)
    value, direction, powers = penalty_direction(g, 2.0, power)
    torch.testing.assert_close(value, penalty.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(direction, expected, rtol=1e-12, atol=1e-300)
    assert torch.equal(powers, gradient_norm(g.detach(), power))
    assert not any(result.requires_grad for result in (value, direction, powers))


def test_by_hand():
    g = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert gradient_norm(g, 6.0).tolist() == [15625.0, 0.0]
    value, direction, powers = penalty_direction(g, 2.0, 6.0)
    assert value.item() == 15625.0
    assert direction.tolist() == [[6 * 625 * 3.0, 6 * 625 * 4.0], [0.0, 0.0]]
    assert powers.tolist() == [15625.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype):
    g = (3 * gradients((4, 100))).to(dtype)  # a norm of 30, whose sixth power is 7e8
    powers = gradient_norm(g, 6.0)
    assert powers.dtype == torch.float32
    torch.testing.assert_close(powers.double(), gradient_norm(g.double(), 6.0), rtol=1e-5, atol=0)
    assert penalty_direction(g, 2.0, 6.0)[1].dtype == torch.float32


@pytest.mark.parametrize("scale", [1e-36, 1e-24, 1e24, 1e36])
def test_norms_whose_squares_are_beyond_fp32(scale):
    g = (gradients((3, 20)) * scale).float()
    for power in (0.5, 1.0):
        for got, expected in zip(
            (gradient_norm(g, power), *penalty_direction(g, 2.0, power)),
            (gradient_norm(g.double(), power), *penalty_direction(g.double(), 2.0, power)),
            strict=True,
        ):
            assert got.dtype == torch.float32
            torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-44)


def test_gradient():
    g = gradients((2, 3, 4)).requires_grad_()
    assert torch.autograd.gradcheck(lambda g: gradient_norm(g, 3.0), (g,))
    zero = torch.zeros(2, 3, requires_grad=True)
    torch.autograd.backward(gradient_norm(zero, 1.0).sum())
    assert zero.grad.tolist() == [[0.0] * 3] * 2


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # of torch.func itself
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 2.5, 4.0, 6.0])
def test_transforms_at_a_zero_gradient(power):
    g = gradients((2, 3))
    g[0] = 0
    by_func = torch.func.grad(lambda g: gradient_norm(g, power).sum())(g)
    (by_autograd,) = torch.autograd.grad(gradient_norm(g.requires_grad_(), power).sum(), g)
    torch.testing.assert_close(by_func, by_autograd)
    g = g.detach()
    assert torch.func.jvp(lambda g: gradient_norm(g, power), (g,), (torch.ones_like(g),))[1][0] == 0
    curvature = torch.func.hessian(lambda row: gradient_norm(row[None], power)[0])(g[0])
    assert torch.equal(curvature, 2 * torch.eye(3, dtype=torch.float64) if power == 2 else torch.zeros_like(curvature))
    value, direction, _ = torch.func.vmap(lambda g: penalty_direction(g, 2.0, power))(g[None])
    expected = penalty_direction(g, 2.0, power)
    torch.testing.assert_close((value[0], direction[0]), expected[:2])
    slope = torch.func.grad(lambda g: penalty_direction(g, 2.0, power)[0])(g)
    torch.testing.assert_close(slope, expected[1])


def test_none_and_nan():
    assert gradient_norm(torch.zeros(0, 4), 6.0).shape == (0,)
    value, direction, powers = penalty_direction(torch.zeros(0, 4), 2.0, 6.0)
    assert (value.item(), direction.shape, powers.shape) == (0.0, (0, 4), (0,))
    g = gradients((2, 4))
    g[0, 1] = torch.nan
    assert gradient_norm(g, 6.0).isnan().tolist() == [True, False]
    assert penalty_direction(g, 2.0, 6.0)[1].isnan().all(dim=1).tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_direction_lies_as_its_gradient(dtype):
    g = gradients((3, 5, 6, 7), dtype)
    last = g.to(memory_format=torch.channels_last)
    for laid in (last, g.mT, g[:, ::2]):
        results = penalty_direction(laid, 2.0, 3.0)
        assert results[1].is_contiguous(memory_format=torch.channels_last if laid is last else torch.contiguous_format)
        for got, expected in zip(results, penalty_direction(laid.contiguous(), 2.0, 3.0), strict=True):
            torch.testing.assert_close(got, expected)
        torch.testing.assert_close(gradient_norm(laid, 3.0), results[2])


def test_a_large_sample_in_fp32():
    g = gradients((2, 300_000), torch.float32)
    for got, expected in zip(penalty_direction(g, 2.0, 2.0), penalty_direction(g.double(), 2.0, 2.0), strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.slow
def test_they_are_proper_ops():
    g = gradients((3, 5), torch.float32).requires_grad_()
    opcheck(torch.ops.fsrcache.gradient_norm.default, (g, 6.0))
    opcheck(torch.ops.fsrcache.penalty_direction.default, (g.detach(), 2.0, 6.0))
    last = gradients((3, 5, 6, 7), torch.float32).to(memory_format=torch.channels_last)
    opcheck(torch.ops.fsrcache.penalty_direction.default, (last, 2.0, 6.0))
    opcheck(torch.ops.fsrcache.gradient_norm.default, (last.requires_grad_(), 6.0))
    compiled = torch.compile(
        lambda g: gradient_norm(g, 6.0).sum() + penalty_direction(g, 2.0, 6.0)[0], backend="aot_eager", fullgraph=True
    )
    torch.testing.assert_close(compiled(g), gradient_norm(g, 6.0).sum() + penalty_direction(g, 2.0, 6.0)[0])


@pytest.mark.parametrize("g", [torch.zeros(3), torch.zeros(2, 0), torch.zeros(2, 3, dtype=torch.int64), [[1.0]]])
@pytest.mark.parametrize("op", [lambda g: gradient_norm(g, 6.0), lambda g: penalty_direction(g, 2.0, 6.0)])
def test_other_gradients_are_refused(g, op):
    with pytest.raises(FsrcacheError, match=r"got gradients of (shape|type list)"):
        op(g)


@pytest.mark.parametrize("power", [0.0, -1.0, float("nan"), float("inf"), "6", True])
def test_other_powers_are_refused(power):
    with pytest.raises(FsrcacheError, match=f"got the power {power}"):
        gradient_norm(torch.zeros(2, 3), power)
