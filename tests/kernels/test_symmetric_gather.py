"""The gathered picture against numpy and against ``unvech``, its gradient against finite differences."""

import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.kernels import symmetric_gather
from fsrcache.spd import unvech


def cached(n, side, dtype=torch.float64):
    numbers = torch.randn(n, side * (side + 1) // 2, dtype=torch.float64, generator=torch.Generator().manual_seed(side))
    return (40 * numbers).round().clamp(-127, 127).to(dtype) if dtype == torch.int8 else numbers.to(dtype)


def moments(length, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]


@pytest.mark.parametrize("side", [1, 2, 31, 64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.float32])
def test_it_is_numpys_triangle(side, dtype):
    cache = cached(5, side, dtype)
    mean, scale = moments(cache.shape[1])
    rows = torch.tensor([4, 0, 4])
    pictures = symmetric_gather(cache, rows, mean, scale, torch.float32)
    vectors = cache.double().numpy()[rows] * scale.double().numpy() + mean.double().numpy()
    expected = np.zeros((3, 1, side, side))
    upper, right = np.triu_indices(side)
    expected[:, 0, upper, right] = expected[:, 0, right, upper] = np.where(upper == right, 1, 0.5**0.5) * vectors
    np.testing.assert_allclose(pictures.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(pictures, pictures.mT)


def test_it_is_unvech():
    cache = cached(3, 8, torch.float32)
    pictures = symmetric_gather(cache, torch.tensor([2, 1], dtype=torch.int32), None, None, torch.float32)
    torch.testing.assert_close(pictures[:, 0], unvech(cache[[2, 1]]))
    assert symmetric_gather(cache, torch.tensor([0]), None, None, torch.bfloat16).dtype == torch.bfloat16
    assert symmetric_gather(cache, torch.zeros(0, dtype=torch.int64), None, None, torch.float32).shape == (0, 1, 8, 8)


def test_no_mean_is_zeros_and_no_scale_ones():
    cache, rows = cached(5, 7, torch.int8), torch.tensor([4, 0, 4])
    mean, scale = moments(28)
    for given, meant in [((None, scale), (0 * mean, scale)), ((mean, None), (mean, 0 * scale + 1))]:
        got = symmetric_gather(cache, rows, *given, torch.float32)
        torch.testing.assert_close(got, symmetric_gather(cache, rows, *meant, torch.float32))


def test_gradients():
    cache, rows = cached(3, 3).requires_grad_(), torch.tensor([2, 0, 2])
    mean, scale = (vector.requires_grad_() for vector in moments(6, torch.float64))
    assert torch.autograd.gradcheck(lambda *inputs: symmetric_gather(inputs[0], rows, *inputs[1:], torch.float64),
                                    (cache, mean, scale))  # fmt: skip
    numbers = cache.detach()
    for pictures, leaves in (
        (lambda cache: symmetric_gather(cache, rows, None, None, torch.float64), (cache,)),
        (lambda mean: symmetric_gather(numbers, rows, mean, None, torch.float64), (mean,)),
        (lambda cache, scale: symmetric_gather(cache, rows, None, scale, torch.float64), (cache, scale)),
    ):
        assert torch.autograd.gradcheck(pictures, leaves)


def test_a_quantised_cache_has_gradients_by_its_moments():
    cache = cached(3, 3, torch.int8)
    mean, scale = (vector.requires_grad_() for vector in moments(6))
    torch.autograd.backward(symmetric_gather(cache, torch.tensor([1]), mean, scale, torch.float32).sum())
    doubled = torch.tensor([1, 2**0.5, 2**0.5, 1, 2**0.5, 1])  # off the diagonal 1/√2, twice
    torch.testing.assert_close(mean.grad, doubled)
    torch.testing.assert_close(scale.grad, doubled * cache[1])


@pytest.mark.slow
def test_it_is_a_proper_op():
    cache, rows = cached(4, 5, torch.float16), torch.tensor([3, 1])
    mean, scale = (vector.requires_grad_() for vector in moments(15))
    arguments = (cache, rows, mean, scale, torch.float32)
    torch.library.opcheck(torch.ops.fsrcache.symmetric_gather.default, arguments)
    leaf = cached(4, 5, torch.float32).requires_grad_()
    torch.library.opcheck(torch.ops.fsrcache.symmetric_gather.default, (leaf, rows, None, None, torch.float32))
    compiled = torch.compile(lambda *a: symmetric_gather(*a).sin(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*arguments), symmetric_gather(*arguments).sin())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({0: torch.zeros(2, 4)}, r"cache of shape \[2, 4\]"),
        ({0: torch.zeros(3)}, r"cache of shape \[3\]"),
        ({0: torch.zeros(2, 3, dtype=torch.int64)}, "torch.int64"),
        ({1: torch.tensor([2])}, "row 2 for a cache of 2"),
        ({1: torch.tensor([-1])}, "row -1"),
        ({1: torch.tensor([0.0])}, "rows of shape"),
        ({2: torch.zeros(4)}, r"mean of shape \[4\]"),
        ({3: torch.zeros(3, dtype=torch.float16)}, "scale of shape"),
        ({4: torch.int8}, "type torch.int8"),
    ],
)
def test_other_input_is_refused(changed, said):
    arguments = [torch.zeros(2, 3), torch.tensor([1]), torch.zeros(3), torch.ones(3), torch.float32]
    for place, value in changed.items():
        arguments[place] = value
    with pytest.raises(FsrcacheError, match=said):
        symmetric_gather(*arguments)
