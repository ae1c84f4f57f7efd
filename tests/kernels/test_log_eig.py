"""The matrix logarithm against scipy and spd_learn, its gradient also where eigenvalues repeat or are clipped."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import logm
from spd_learn.functional import clamp_eigvals, matrix_log
from torch._subclasses.fake_tensor import FakeTensorMode

from fsrcache.errors import FsrcacheError
from fsrcache.kernels import covariance_pool, log_eig, log_eig_gemm
from fsrcache.kernels.log_eig_products import log_eig_products


def spd(eigenvalues, seed=0):
    """Return a float64 [1, D, D] with given eigenvalues."""
    side = len(eigenvalues)
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(side, side, dtype=torch.float64, generator=generator))[0]
    return (q * torch.tensor(eigenvalues, dtype=torch.float64) @ q.mT)[None]


def test_it_is_scipys_logarithm():
    matrix = spd([0.01, 0.5, 1.0, 7.0, 300.0])
    rounding = 2.2e-16 * 300 / 0.01  # of a matrix of norm 300, where the logarithm's slope is 1 / 0.01
    np.testing.assert_allclose(log_eig(matrix, 1e-4)[0], logm(matrix[0].numpy()), rtol=0, atol=rounding)


@pytest.mark.parametrize("eigenvalues", [[0.01, 0.5, 2.0, 30.0], [1e-6, 1e-5, 0.3, 4.0], [-1.0, 0.0, 0.3, 4.0]])
def test_spd_learn_has_the_same_values_and_gradients(eigenvalues):
    ours = spd(eigenvalues).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    weights = torch.randn(1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    weights = weights + weights.mT
    mine = log_eig(ours, 1e-4)
    reference = matrix_log.apply(clamp_eigvals.apply(theirs, torch.tensor(1e-4, dtype=torch.float64)))
    torch.testing.assert_close(mine, reference, rtol=0, atol=1e-9)
    torch.autograd.backward((mine * weights).sum())
    torch.autograd.backward((reference * weights).sum())
    # one over a clipped eigenvalue is 1e4: two decompositions in a row lose that much more than one
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    "eigenvalues",
    [[0.3, 1.0, 2.0, 5.0], [2.0, 2.0, 2.0, 2.0], [0.5, 1.0, 1.0, 3.0], [0.001, 0.01, 1.0, 3.0]],
    ids=["distinct", "all equal", "two equal", "two below the floor"],
)
def test_gradient(eigenvalues):
    matrix = spd(eigenvalues).requires_grad_()
    assert torch.autograd.gradcheck(lambda S: log_eig((S + S.mT) / 2, 0.1), (matrix,), eps=1e-6, atol=1e-5)


def test_nearly_equal_eigenvalues_lose_nothing():
    equal, near = (spd(values).requires_grad_() for values in ([2.0, 2.0, 2.0], [2.0, 2.0 + 1e-13, 2.0 + 3e-9]))
    torch.autograd.backward(log_eig(torch.cat([equal, near]), 1e-4).sum())
    torch.testing.assert_close(near.grad, equal.grad, rtol=0, atol=1e-8)
    torch.testing.assert_close(equal.grad, torch.full((1, 3, 3), 0.5).double())  # all is f'(2) = 1 / 2


def test_a_bad_matrix_leaves_the_others_alone():
    matrices = torch.cat([spd([1.0, 2.0, 3.0]), spd([1.0, 2.0, 3.0])])
    matrices[0, 1, 1] = torch.inf
    logarithm = log_eig(matrices, 1e-4)
    assert logarithm[0].isnan().all()
    torch.testing.assert_close(logarithm[1:], log_eig(spd([1.0, 2.0, 3.0]), 1e-4))


def sparse(side, seed):
    """Return covariances [6, D, D] of few positions, most of whose rows are zeros; in fp32 LAPACK may give up."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(6, side, 9, generator=generator).relu()
    maps[:, torch.rand(side, generator=generator) < 0.8] = 0
    return covariance_pool(maps, 0.0)


@pytest.mark.parametrize(("side", "seed"), [(64, 3), (128, 0), (128, 1), (256, 0)])
def test_a_finite_matrix_has_a_finite_logarithm(side, seed):
    S = sparse(side, seed)
    expected = log_eig(S.double(), 1e-4)
    logarithm = log_eig(S, 1e-4)
    assert logarithm.dtype == torch.float32
    assert (logarithm - expected).norm() < 1e-3 * expected.norm()


@pytest.fixture
def stubborn(monkeypatch):
    """Have ``eigh`` fail as it does, of a whole batch in which a matrix begins with 7, in fp32."""
    decompose = torch.linalg.eigh

    def eigh(S):
        if S.dtype == torch.float32 and (S[..., 0, 0] == 7).any():
            raise torch.linalg.LinAlgError("linalg.eigh: (Batch element 0): The algorithm failed to converge")
        return decompose(S)

    monkeypatch.setattr(torch.linalg, "eigh", eigh)


@pytest.mark.usefixtures("stubborn")
def test_what_does_not_converge_is_decomposed_in_float64_and_leaves_the_others():
    S = covariance_pool(torch.randn(5, 6, 20, generator=torch.Generator().manual_seed(0)), 1e-3)
    expected = log_eig(S, 1e-4)
    S[1, 0, 0] = S[4, 0, 0] = 7
    leaf = S.clone().requires_grad_()
    logarithm = log_eig(leaf, 1e-4)
    assert torch.equal(logarithm[[0, 2, 3]], expected[[0, 2, 3]])
    exact = S.double().requires_grad_()
    torch.testing.assert_close(logarithm[[1, 4]].double(), log_eig(exact, 1e-4)[[1, 4]], rtol=1e-6, atol=1e-6)
    upstream = torch.randn(5, 6, 6, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward(logarithm, upstream)
    torch.autograd.backward(log_eig(exact, 1e-4), upstream.double())
    torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(torch.func.vmap(lambda S: log_eig(S, 1e-4))(S[None]), logarithm.detach()[None])


def test_what_does_not_converge_in_float64_either_is_named(monkeypatch):
    decompose = torch.linalg.eigh

    def eigh(S):
        if ((S[..., 0, 0] == 1) & (S[..., 1, 1] < 0.1)).any():
            raise torch.linalg.LinAlgError("failed to converge")
        return decompose(S)

    S = torch.eye(3).repeat(4, 1, 1)
    S[2] = torch.diag(torch.tensor([1.0, 0.01, 0.01]))
    monkeypatch.setattr(torch.linalg, "eigh", eigh)
    with pytest.raises(FsrcacheError, match="matrix 2 of 4"):
        log_eig(S, 1e-4)


def test_nan_eigenvalues_of_a_finite_matrix_are_found_again(monkeypatch):
    """Some libraries for a GPU say nothing and give NaN."""
    decompose = torch.linalg.eigh

    def eigh(S):
        eigenvalues, eigenvectors = decompose(S)
        if S.dtype == torch.float32:
            eigenvalues[1] = torch.nan
        return eigenvalues, eigenvectors

    S = covariance_pool(torch.randn(3, 6, 20, generator=torch.Generator().manual_seed(0)), 1e-3)
    expected = log_eig(S, 1e-4)
    monkeypatch.setattr(torch.linalg, "eigh", eigh)
    S[2, 1, 1] = torch.nan
    logarithm = log_eig(S, 1e-4)
    torch.testing.assert_close(logarithm[:2], expected[:2])
    assert logarithm[2].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("place", ["smallest", "small", "large", "largest"])
def test_near_the_limits_of_the_type(dtype, place):
    tiny, most = torch.finfo(dtype).tiny, torch.finfo(dtype).max
    scale = {"smallest": tiny, "small": tiny * 1e5, "large": most / 1e3, "largest": most}[place]
    unit = spd([0.05, 0.3, 0.5, 0.9, 1.0])[0]
    unit /= unit.abs().max()  # so that the largest eigenvalue is beyond the largest number
    S = (unit.to(dtype) * scale)[None].repeat(2, 1, 1)
    floor = max(tiny, scale / 1e4)
    leaf = S.clone().requires_grad_()
    for logarithm, lowest in ((log_eig(leaf, floor), floor), (log_eig_gemm(S, tiny), None),
                              (log_eig_products(S, tiny), None)):  # fmt: skip
        exact = log_eig(unit[None], max(1e-4, floor / scale))[0] + math.log(scale) * torch.eye(5).double()
        if place != "smallest" or lowest is not None:  # a ridge at the smallest number shifts
            torch.testing.assert_close(logarithm[0].double(), exact, rtol=1e-4, atol=1e-4)
        assert logarithm.isfinite().all()
    torch.autograd.backward(log_eig(leaf, floor).sum())
    assert leaf.grad.isfinite().all()


def test_zero_is_the_floors_logarithm():
    expected = np.log(1e-4) * torch.eye(3)
    torch.testing.assert_close(log_eig(torch.zeros(1, 3, 3), 1e-4)[0], expected)
    assert log_eig(torch.zeros(0, 3, 3), 1e-4).shape == (0, 3, 3)


def test_half_precision_comes_out_in_fp32():
    matrix = spd([0.1, 0.5, 2.0])
    assert log_eig(matrix.half(), 1e-4).dtype == torch.float32
    assert (log_eig(matrix.half(), 1e-4) - log_eig(matrix, 1e-4)).abs().max() < 2e-2


@pytest.mark.slow
def test_it_is_a_proper_op():
    matrix = spd([0.5, 1.0, 2.0]).float().requires_grad_()
    torch.library.opcheck(torch.ops.fsrcache.log_eig.default, (matrix, 1e-4))
    compiled = torch.compile(lambda S: log_eig(S, 1e-4) * 2, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(matrix), log_eig(matrix, 1e-4) * 2)


def test_a_program_knows_the_strides_of_its_gradient():
    matrix = spd([0.5, 1.0, 2.0]).float()
    _, *parts = torch.ops.fsrcache.log_eig(matrix, 1e-4)
    tensors = [torch.ones_like(matrix).mT.contiguous().mT, matrix, *parts]  # the first as of a transposed logarithm
    with FakeTensorMode() as mode:
        fake = torch.ops.fsrcache.log_eig_backward(*map(mode.from_tensor, tensors), 1e-4)
    assert fake.stride() == torch.ops.fsrcache.log_eig_backward(*tensors, 1e-4).stride()


@pytest.mark.parametrize(
    "matrix", [torch.zeros(3, 3), torch.zeros(1, 2, 3), torch.zeros(1, 3, 3, dtype=torch.int64), None]
)
def test_other_matrices_are_refused(matrix):
    with pytest.raises(FsrcacheError, match=r"log_eig got matrices of (shape|type NoneType)"):
        log_eig(matrix, 1e-4)


@pytest.mark.parametrize("floor", [0.0, -1.0, float("nan"), float("inf"), 1e-40, "1e-4"])
def test_a_floor_that_is_no_positive_number_is_refused(floor):
    with pytest.raises(FsrcacheError, match=f"log_eig got the floor {floor}"):
        log_eig(torch.eye(3)[None], floor)
