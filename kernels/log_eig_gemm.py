"""The matrix logarithm by products alone: ``log_eig_gemm``, for the frozen extractor.

A covariance with the ridge r = 1e-4 of its trace has eigenvalues within four decades, so that a fixed number of
products serves every one of them: nothing depends on values, and the whole can be captured in a graph and exported.
With A = S / |S| (Frobenius), whose eigenvalues lie in [0.9e-4, 1],

    log S = 8 log A^(1/8) + log |S| I,

three square roots and the logarithm of what lies in [0.31, 1] by its Chebyshev series. A square root is the coupled
iteration

    Y <- Y p(Z Y),   Z <- p(Z Y) Z,   from Y = A, Z = I  to  Y = A^(1/2), Z = A^(-1/2),

with polynomials p(x²) of degree 2 for which x p(x²) is nearest to 1, in the maximum, over all x that the step before
may have left: the best composition there is, and computed below from the interval alone.

Clipping is not done, since nobody knows the eigenvalues. In its place a multiple of the identity is added,
s = max(0, floor - 1e-4 tr S), which brings the smallest eigenvalue of a ridged covariance to the floor: of zero the
result is log(floor) I as from ``log_eig``, and where ``log_eig`` would clip the two differ by log 2 at most in any
eigenvalue. Where 1e-4 tr S is the floor or more, s is 0. Eigenvalues of less than 1e-4 of the trace, which no ridged
covariance has, come out wrong, and an indefinite matrix may come out as NaN: ``log_eig`` is for those. On a CPU it is
the slower of the two.

Source: the inverse scaling and squaring method (Higham, "Functions of Matrices", 2008, 11.5) with the coupled
Newton-Schulz iteration (6.7) and minimax polynomials (Amsel et al., "The Polar Express", arXiv 2505.16932).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.polynomial import Chebyshev
from numpy.polynomial.chebyshev import cheb2poly
from torch import Tensor

from fsrcache.errors import FsrcacheError

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_RIDGE = 1e-4  # the smallest eigenvalue of a ridged covariance, as a share of its trace
_SMALLEST = 0.9 * _RIDGE  # the same as a share of the norm, which the ridge itself enlarges
_ROOTS = 3
_CONVERGED = 1e-7  # from 1
_DEGREE = 15  # of the Chebyshev series; 3e-9 on its interval


def log_eig_gemm(S: Tensor, floor: float) -> Tensor:
    """Return the symmetric matrix logarithm of ridged covariances, without a decomposition.

    Parameters
    ----------
    S
        fp16, bf16, fp32 or float64 ``[B, D, D]``, symmetric, no eigenvalue less than 1e-4 of the trace; or zero. Of a
        matrix that is not symmetric the symmetric part is taken.
    floor
        The smallest eigenvalue, above 0; see above for what stands in for clipping.

    Returns
    -------
    Tensor
        fp32 ``[B, D, D]`` (float64 for float64), symmetric; relative error about 1e-8 in float64, in fp32 1e-5
        or less than ``log_eig``'s. Autograd differentiates
        the products. A matrix with a value that is not finite gives NaN and leaves the others alone.

    Raises
    ------
    FsrcacheError
        If the shape, the type or the floor is another one.
    """
    if S.ndim != 3 or S.shape[1] != S.shape[2] or S.shape[1] == 0 or S.dtype not in _DTYPES:
        raise FsrcacheError(
            f"log_eig_gemm got matrices of shape {list(S.shape)}, {S.dtype}.",
            "They are fp16, bf16, fp32 or float64 [B, D, D].",
        )
    if not floor > 0:
        raise FsrcacheError(f"log_eig_gemm got the floor {floor}.", "It is above 0: it is the smallest eigenvalue.")
    S = S.to(torch.float64 if S.dtype == torch.float64 else torch.float32)
    identity = torch.eye(S.shape[-1], dtype=S.dtype, device=S.device)
    shift = (floor - _RIDGE * S.diagonal(dim1=-2, dim2=-1).sum(-1)).clamp(min=0)
    shifted = (S + S.mT) / 2 + shift[:, None, None] * identity
    norm = torch.linalg.matrix_norm(shifted)[:, None, None]
    root = shifted / norm
    for polynomials in _POLYNOMIALS:
        root = _square_root(root, polynomials)
    logarithm = 2**_ROOTS * _chebyshev(root, identity) + norm.log() * identity
    symmetric: Tensor = (logarithm + logarithm.mT) / 2
    return symmetric


def _square_root(A: Tensor, polynomials: Sequence[tuple[float, float, float]]) -> Tensor:
    """Return the square root of matrices whose eigenvalues lie where the polynomials were made for."""
    Y, Z = A, None
    for place, (a, b, c) in enumerate(polynomials):
        M = A if Z is None else Z @ Y
        P = b * M + c * (M @ M)
        P.diagonal(dim1=-2, dim2=-1).add_(a)
        Y = Y @ P
        if place < len(polynomials) - 1:
            Z = P if Z is None else P @ Z
    return (Y + Y.mT) / 2


def _chebyshev(A: Tensor, identity: Tensor) -> Tensor:
    """Return the logarithm by its series in T = scaled A, four powers at a time (Paterson and Stockmeyer)."""
    low, high = _INTERVAL
    T = (2 * A - (high + low) * identity) / (high - low)
    T2 = T @ T
    powers = [identity.expand_as(T), T, T2, T2 @ T]
    T4 = T2 @ T2
    total: Tensor | None = None
    for first in range(_DEGREE - _DEGREE % 4, -1, -4):
        part = sum((c * power for c, power in zip(_SERIES[first:], powers, strict=False)), torch.zeros_like(T))
        total = part if total is None else total @ T4 + part
    assert total is not None
    return total


def _minimax(low: float, high: float) -> tuple[tuple[float, float, float], float]:
    """Return a, b, c for which x (a + b x² + c x⁴) is nearest to 1 on [low, high], and its greatest distance from 1.

    Remez's exchange: the error alternates at both ends and the two turning points between them.
    """
    inner = [(3 * low + high) / 4, (low + 3 * high) / 4]
    a = b = c = error = 0.0
    for _ in range(30):
        points = np.array([low, *inner, high])
        signs = np.array([1.0, -1.0, 1.0, -1.0])
        a, b, c, error = np.linalg.solve(np.stack([points, points**3, points**5, signs], 1), np.ones(4)).tolist()
        inner = np.sqrt(np.sort(np.roots([5 * c, 3 * b, a]).real)).tolist()
    return (a, b, c), abs(error)


def _root_polynomials(low: float) -> tuple[tuple[float, float, float], ...]:
    """Return the polynomials of a square root for eigenvalues in [low, 1]; x is the root of an eigenvalue."""
    polynomials = []
    left, right = low**0.5, 1.0
    while right - left > _CONVERGED:
        if right - left < 1e-2:  # Taylor's, whose error is (5/2) e³; the exchange's system is singular here
            polynomials.append((1.875, -1.25, 0.375))
            left, right = 1 - 2.5 * (right - left) ** 3, 1.0
        else:
            polynomial, error = _minimax(left, right)
            polynomials.append(polynomial)
            left, right = 1 - error, 1 + error
    return tuple(polynomials)


_POLYNOMIALS = tuple(_root_polynomials(_SMALLEST ** (0.5**root)) for root in range(_ROOTS))
_INTERVAL = (_SMALLEST ** (0.5**_ROOTS), 1.0)
_SERIES = cheb2poly(Chebyshev.interpolate(np.log, _DEGREE, domain=_INTERVAL).coef).tolist()  # in powers of T
