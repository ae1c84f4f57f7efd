"""vech is an isometry and its own inverse's inverse; rows stay orthonormal."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.spd import orthonormal, retract, tangent, unvech, vech, vech_length, vech_side


@pytest.mark.parametrize("side", [1, 2, 7, 64])
def test_vech_is_numpys_triangle_and_keeps_lengths(side):
    matrix = torch.randn(3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = matrix + matrix.mT
    vector = vech(matrix)
    rows, columns = np.triu_indices(side)
    expected = matrix.numpy()[:, rows, columns] * np.where(rows == columns, 1, np.sqrt(2))
    np.testing.assert_allclose(vector, expected, rtol=1e-15)
    torch.testing.assert_close(vector.norm(dim=1), matrix.flatten(1).norm(dim=1))
    torch.testing.assert_close(unvech(vector), matrix)
    assert vech_side(vech_length(side)) == side


def test_small_whole_numbers_of_numpy_do_not_overflow():
    assert vech_length(np.uint8(20)) == 210
    assert vech_side(np.uint8(36)) == 8


class Operations(TorchDispatchMode):
    """Counts by name what is done."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("shape", [(1, 1), (3, 7, 7), (2, 5, 64, 64)])
def test_the_gradient_of_vech_is_a_gather(shape):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(*shape, generator=generator, requires_grad=True)
    vector = vech(matrices)
    upstream = torch.randn(vector.shape, generator=generator)
    upstream[..., -1] = torch.inf
    with Operations() as done:
        (ours,) = torch.autograd.grad(vector, matrices, upstream)
    assert not [name for name in done.names if "index_put" in name or "scatter" in name or "index_add" in name]
    rows, columns = np.triu_indices(shape[-1])
    factors = torch.from_numpy(np.where(rows == columns, 1, np.sqrt(2)).astype(np.float32))
    (theirs,) = torch.autograd.grad(matrices[..., rows, columns] * factors, matrices, upstream)
    assert torch.equal(ours, theirs)


def test_vech_can_be_differentiated_twice():
    matrices = torch.randn(2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradgradcheck(vech, (matrices.requires_grad_(),))


def test_lengths_and_shapes_that_cannot_be_are_refused():
    for length in (0, 2, 2081):
        with pytest.raises(FsrcacheError, match=f"{length} numbers"):
            vech_side(length)
    with pytest.raises(FsrcacheError, match=r"\[2, 3\]"):
        vech(torch.zeros(2, 3))


def test_rows_stay_orthonormal_under_adam_for_many_steps():
    generator = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(orthonormal(8, 20, generator=generator))
    start, target = weight.detach().clone(), orthonormal(8, 20, generator=generator)
    optimiser = torch.optim.AdamW([weight], lr=0.01, weight_decay=0.0)
    for _ in range(300):
        gradient = weight.detach() - target
        weight.grad = tangent(weight.detach(), gradient)
        optimiser.step()
        with torch.no_grad():
            weight.copy_(retract(weight))
    assert (weight @ weight.mT - torch.eye(8)).abs().max() < 1e-6
    assert (weight - target).norm() < 0.1 * (start - target).norm()  # and it went somewhere


def test_a_tangent_keeps_orthonormality_to_first_order():
    generator = torch.Generator().manual_seed(0)
    weight = orthonormal(4, 9, generator=generator).double()
    direction = tangent(weight, torch.randn(4, 9, dtype=torch.float64, generator=generator))
    moved = weight @ direction.mT + direction @ weight.mT  # the derivative of W W^T along it
    assert moved.abs().max() < 1e-6


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_vech_in_forward_mode_and_under_vmap():
    matrices, direction = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    value, tangent = torch.func.jvp(vech, (matrices,), (direction,))
    assert torch.equal(value, vech(matrices))
    assert torch.equal(tangent, vech(direction))
    assert torch.equal(torch.func.vmap(vech)(matrices), vech(matrices))
    gradients = torch.func.vmap(torch.func.grad(lambda matrix: vech(matrix).square().sum()))(matrices)
    (expected,) = torch.autograd.grad(vech(matrices.requires_grad_()).square().sum(), matrices)
    torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: vech([[1.0]]), r"vech got \[\[1.0\]\]"),
        (lambda: vech(np.eye(2)), "vech got array"),
        (lambda: vech(torch.eye(2, dtype=torch.int64)), "vech got a tensor of torch.int64"),
        (lambda: unvech(torch.tensor(1.0)), "a vector of 0 numbers"),
        (lambda: unvech([1.0]), r"unvech got \[1.0\]"),
        (lambda: vech_side(-8), "length is -8"),
        (lambda: vech_side(10.0), "length is 10.0"),
        (lambda: vech_length("4"), "side is '4'"),
        (lambda: vech_length(-1), "side is -1"),
    ],
)
def test_what_is_no_such_argument_is_named(call, words):
    with pytest.raises(FsrcacheError, match=words):
        call()


@pytest.mark.parametrize(
    "call", [lambda: orthonormal(5, 3), lambda: retract(torch.ones(5, 3))], ids=["orthonormal", "retract"]
)
def test_more_rows_than_columns_are_refused(call):
    with pytest.raises(RequestError, match="A matrix of 5 rows and 3 columns has no orthonormal rows"):
        call()


def test_without_a_generator_it_is_drawn_by_the_global_one():
    torch.manual_seed(3)
    drawn = orthonormal(2, 4)
    assert torch.equal(drawn, orthonormal(2, 4, generator=torch.Generator().manual_seed(3)))
