"""The matrix logarithm of ridged covariances by products alone, in plain PyTorch: for CUDA graphs and for export.

A covariance with the ridge r = 1e-4 of its trace has eigenvalues within four decades, so that a fixed number of
products serves every one of them: nothing depends on values, and there is no decomposition. With A = S / |S|
(Frobenius), whose eigenvalues lie in [0.9e-4, 1],

    log S = 8 log A^(1/8) + log |S| I,

three square roots and the logarithm of what lies in [0.31, 1] by its Chebyshev series. A square root is the coupled
iteration

    Y <- Y p(Z Y),   Z <- p(Z Y) Z,   from Y = A, Z = I  to  Y = A^(1/2), Z = A^(-1/2),

with polynomials p(x²) of degree 2 for which x p(x²) is nearest to 1, in the maximum, over all x that the previous step
may leave: the best composition there is, computed below from the interval alone.

Source: the inverse scaling and squaring method (Higham, "Functions of Matrices", 2008, 11.5) with the coupled
Newton-Schulz iteration (6.7) and minimax polynomials (Amsel et al., "The Polar Express", arXiv 2505.16932).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.polynomial import Chebyshev
from numpy.polynomial.chebyshev import cheb2poly
from torch import Tensor

RIDGE = 1e-4  # the smallest eigenvalue of a ridged covariance, as a share of its trace
ROOTS = 3
DEGREE = 15  # of the Chebyshev series; 3e-9 on its interval
_SMALLEST = 0.9 * RIDGE  # the same as a share of the norm, which the ridge itself enlarges
_CONVERGED = 1e-7  # from 1


def log_eig_products(S: Tensor, floor: float) -> Tensor:
    """Return ``log_eig_gemm`` in 49 batched products of PyTorch's.

    Parameters
    ----------
    S, floor
        As for ``log_eig_gemm``; fp32 or float64 ``[B, D, D]``.

    Returns
    -------
    Tensor
        ``[B, D, D]`` of that type. Autograd differentiates the products.
    """
    identity = torch.eye(S.shape[-1], dtype=S.dtype, device=S.device)
    shifted = shift_to_floor(S / 2 + S.mT / 2, floor)
    largest = shifted.detach().abs().amax(dim=(-2, -1), keepdim=True)  # its square, and the norm, may be beyond fp32
    root = shifted / largest
    norm = torch.linalg.matrix_norm(root)[:, None, None]
    root = root / norm
    for polynomials in POLYNOMIALS:
        root = _square_root(root, polynomials, identity=identity)
    logarithm = 2**ROOTS * _chebyshev(root, identity) + (largest.log() + norm.log()) * identity
    symmetric: Tensor = (logarithm + logarithm.mT) / 2
    return symmetric


def shift_to_floor(S: Tensor, floor: float) -> Tensor:
    """Return matrices plus the multiple of the identity that lifts the ridge of a covariance to the floor."""
    identity = torch.eye(S.shape[-1], dtype=S.dtype, device=S.device)
    shift = (floor - RIDGE * S.diagonal(dim1=-2, dim2=-1).sum(-1)).clamp(min=0)
    return S + shift[:, None, None] * identity


def _square_root(A: Tensor, polynomials: Sequence[tuple[float, float, float]], *, identity: Tensor) -> Tensor:
    """Return the square root of matrices whose eigenvalues lie in the interval of the polynomials."""
    Y, Z = A, None
    for step, (a, b, c) in enumerate(polynomials):
        M = A if Z is None else Z @ Y
        P = b * M + c * (M @ M) + a * identity
        Y = Y @ P
        if step < len(polynomials) - 1:
            Z = P if Z is None else P @ Z
    return (Y + Y.mT) / 2


def _chebyshev(A: Tensor, identity: Tensor) -> Tensor:
    """Return the logarithm by its series in T = scaled A, four powers at a time (Paterson and Stockmeyer)."""
    low, high = INTERVAL
    T = (2 * A - (high + low) * identity) / (high - low)
    T2 = T @ T
    powers = [identity.expand_as(T), T, T2, T2 @ T]
    T4 = T2 @ T2
    total: Tensor | None = None
    for first in range(DEGREE - DEGREE % 4, -1, -4):
        part = sum((c * power for c, power in zip(SERIES[first:], powers, strict=False)), torch.zeros_like(T))
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


POLYNOMIALS = tuple(_root_polynomials(_SMALLEST ** (0.5**root)) for root in range(ROOTS))
INTERVAL = (_SMALLEST ** (0.5**ROOTS), 1.0)
SERIES = tuple(cheb2poly(Chebyshev.interpolate(np.log, DEGREE, domain=INTERVAL).coef).tolist())  # in powers of T
