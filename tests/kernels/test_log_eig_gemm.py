"""The logarithm by products against the one by a decomposition; the op, which on a CPU is the latter."""

import math

import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.kernels import covariance_pool, log_eig, log_eig_gemm
from fsrcache.kernels.log_eig_products import log_eig_products


def covariances(side, positions, brightness=1.0):
    generator = torch.Generator().manual_seed(side)
    maps = torch.randn(3, side, positions, dtype=torch.float64, generator=generator).relu()
    return covariance_pool(brightness * maps, 1e-4)


@pytest.mark.parametrize("side", [1, 2, 31, 64, 128])
@pytest.mark.parametrize("positions", [5, 36, 2000])
def test_it_is_the_logarithm_of_a_ridged_covariance(side, positions):
    S = covariances(side, positions, brightness=20.0)
    expected = log_eig(S, 1e-4)
    assert (log_eig_products(S, 1e-4) - expected).norm() < 2e-8 * expected.norm()
    single = log_eig_products(S.float(), 1e-4)
    assert single.dtype == torch.float32
    of_rounded = log_eig(S.float().double(), 1e-4)  # rounding four decades to fp32 costs more than the products do
    decomposed = (
        log_eig(S.float(), 1e-4).double() - of_rounded
    ).norm()  # few positions: most eigenvalues are the ridge
    assert (single.double() - of_rounded).norm() < max(1e-5 * expected.norm(), decomposed)
    assert torch.equal(single, single.mT)


def test_four_decades_are_resolved():
    eigenvalues = torch.logspace(-4, 0, 40, dtype=torch.float64)
    q = torch.linalg.qr(torch.randn(40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    S = (q * eigenvalues @ q.mT)[None] / eigenvalues.sum()  # the least is 1e-4 / 4.7 of the trace
    S = S + 1e-4 * torch.eye(40).double()
    assert (log_eig_products(S, 1e-9) - log_eig(S, 1e-9)).norm() < 2e-8 * log_eig(S, 1e-9).norm()


def test_a_constant_picture():
    for dtype, error in ((torch.float32, 1e-5), (torch.float64, 2e-7)):
        logarithm = log_eig_products(torch.zeros(2, 16, 16, dtype=dtype), 1e-4)
        assert (logarithm - math.log(1e-4) * torch.eye(16)).abs().max() < error


@pytest.mark.parametrize("brightness", [1e-4, 1e-3, 1e-2, 0.1, 1.0])
def test_where_clipping_would_bite_it_is_near(brightness):
    S = covariances(16, 40, brightness)
    clipped, shifted = log_eig(S, 1e-4), log_eig_products(S, 1e-4)
    trace = S.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert (1e-4 * trace < 1e-4).all() == (brightness < 1)
    distance = torch.linalg.matrix_norm(clipped - shifted, ord=2)  # the two commute: the largest of any eigenvalue
    assert (distance <= math.log(2) + 1e-6).all()
    exact = (1e-4 - 1e-4 * trace).clamp(min=0)[:, None, None] * torch.eye(16).double()
    assert (shifted - log_eig(S + exact, 1e-9)).norm() < 2e-8 * shifted.norm()


def test_a_bad_matrix_leaves_the_others_alone():
    S = covariances(8, 20).float()
    expected = log_eig_products(S, 1e-4)
    S[0, 1, 1] = torch.nan
    logarithm = log_eig_products(S, 1e-4)
    assert logarithm[0].isnan().all()
    assert torch.equal(logarithm[1:], expected[1:])
    assert log_eig_products(S[:0], 1e-4).shape == (0, 8, 8)


def test_gradient():
    S = covariances(4, 20, brightness=20.0)
    assert torch.autograd.gradcheck(lambda S: log_eig_products((S + S.mT) / 2, 1e-4), (S.requires_grad_(),), atol=1e-4)


def test_it_can_be_captured_and_exported():
    S = covariances(8, 20).float()

    class Logarithm(torch.nn.Module):
        def forward(self, S):
            return log_eig_products(S, 1e-4)

    exported = torch.export.export(Logarithm(), (S,))
    assert not [node for node in exported.graph.nodes if "eigh" in str(node.target) or "linalg_inv" in str(node.target)]
    torch.testing.assert_close(exported.module()(S), log_eig_products(S, 1e-4))
    compiled = torch.compile(Logarithm(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(S), log_eig_products(S, 1e-4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("brightness", [0.0, 1e-3, 0.1, 20.0])
def test_the_op_is_the_logarithm_by_products(dtype, brightness):
    S = covariances(16, 40, brightness).to(dtype)
    logarithm, expected = log_eig_gemm(S, 1e-4), log_eig_products(S.double(), 1e-4)
    assert logarithm.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (logarithm - expected).norm() < (2e-7 if dtype == torch.float64 else 1e-5) * expected.norm()


def test_the_op_has_their_gradient():
    S = covariances(4, 20, brightness=0.02).requires_grad_()  # where the shift depends on the trace
    upstream = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = [torch.autograd.grad(of(S, 1e-4), S, upstream)[0] for of in (log_eig_gemm, log_eig_products)]
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
    (by_op,) = torch.autograd.grad(torch.ops.fsrcache.log_eig_gemm(S, 1e-4), S, upstream)  # as a GPU does it
    torch.testing.assert_close(by_op, gradients[1])


@pytest.mark.slow
def test_it_is_a_proper_op():
    S = covariances(5, 20).float().requires_grad_()
    torch.library.opcheck(torch.ops.fsrcache.log_eig_gemm.default, (S, 1e-4))
    compiled = torch.compile(lambda S: log_eig_gemm(S, 1e-4).sin(), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(S), log_eig_gemm(S, 1e-4).sin())


@pytest.mark.parametrize("matrix", [torch.zeros(3, 3), torch.zeros(1, 2, 3), torch.zeros(1, 3, 3, dtype=torch.int64)])
def test_other_matrices_are_refused(matrix):
    with pytest.raises(FsrcacheError, match="log_eig_gemm got matrices of shape"):
        log_eig_gemm(matrix, 1e-4)


def test_a_floor_of_zero_is_refused():
    with pytest.raises(FsrcacheError, match=r"floor 0\.0"):
        log_eig_gemm(torch.eye(3)[None], 0.0)
