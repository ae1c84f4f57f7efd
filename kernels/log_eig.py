"""The logarithm of a symmetric matrix with its eigenvalues clipped from below, the op ``log_eig``.

    log_eig(S, floor) = V diag(log(max(λ, floor))) Vᵀ,   S = V diag(λ) Vᵀ                              [D, D]

ReEig (the clip) and LogEig (the logarithm) of SPDNet are one eigendecomposition. There is no upper clip: CovPoolFER's
at 1e4 prevents no overflow, since the logarithm of the largest fp32 number is 88.7, and would cost bright pictures
their gradient.

The gradient is Daleckii and Krein's, ``V (L ∘ (Vᵀ G V)) Vᵀ`` with the Loewner matrix of f = log ∘ max(., floor):
``L_ij = (f(λi) - f(λj)) / (λi - λj)``, on equal eigenvalues the limit ``f'(λi)``, which is 1/λ above the floor and 0 at
the floor and below: clipped directions get no gradient, as from ReEig followed by LogEig. Without cancellation, from
the clipped eigenvalues c, it is

    L_ij = (ci - cj) / (λi - λj) · 2 / (ci + cj) · atanh(q) / q,   q = (ci - cj) / (ci + cj),

whose first factor is exactly 1 for two eigenvalues above the floor and 0 for two that are not, so that no threshold
decides which eigenvalues are near.

The decomposition is fp32, float64 for float64. LAPACK's does not always converge in fp32, for instance for covariances
with rows of zeros, and then returns nothing for the whole batch: such matrices are decomposed again in float64, divided
by their largest number, and the others once more as they were.

Source: Huang and Van Gool, "A Riemannian Network for SPD Matrix Learning", AAAI 2017; Daleckii and Krein, 1965.
"""

import math
from typing import Any, NoReturn

import torch
from torch import Tensor

from fsrcache.errors import FsrcacheError
from fsrcache.kernels.arguments import FLOATS, described, is_number
from fsrcache.kernels.eigh import eigh
from fsrcache.kernels.modes import (
    accumulator,
    multiplier,
    needs_no_op,
    op_body,
    refuse_second_derivative,
    second_derivative,
    transformed,
    without_autocast,
)

_LinAlgError = torch.linalg.LinAlgError  # type: ignore[attr-defined]  # a stub's gap


def log_eig(S: Tensor, floor: float = 1e-4) -> Tensor:
    """Return the symmetric matrix logarithm, eigenvalues below the floor counted as the floor.

    **Choosing the floor.** It is absolute, in the units of the matrices, and directions below it get no gradient: for
    covariances with a ridge choose it below ridge times the usual trace, so that it acts on almost constant maps alone.
    Without a ridge, 1e-6 of the largest eigenvalue is what fp32 resolves, 1e-14 for float64.

    Parameters
    ----------
    S
        Symmetric matrices, fp16, bf16, fp32 or float64 ``[B, D, D]``; the symmetric part is read.
    floor
        Smallest eigenvalue, above 0.

    Returns
    -------
    Tensor
        fp32 ``[B, D, D]`` (float64 for float64), symmetric to rounding, differentiable once. A matrix with a value that
        is not finite gives NaN and leaves the others alone.

    Raises
    ------
    FsrcacheError
        If the shape or dtype is not the one above, the floor is not a positive number of the result's dtype, or a
        finite matrix has no eigendecomposition that converges.
    """
    check_matrices("log_eig", S, floor)
    if transformed():
        transformable: Tensor = _Logarithm.apply(S, float(floor))
        return transformable
    if needs_no_op(S):
        return log_eig_of_finite(S, float(floor))[0]
    logarithm: Tensor = _log_eig(S, float(floor))[0]
    return logarithm


@without_autocast
def log_eig_reference(S: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logarithm [B, D, D], the eigenvalues [B, D] and the eigenvectors [B, D, D] by definition."""
    half = S.to(accumulator(S)) / 2  # whose sum does not overflow
    finite = half.isfinite().all(dim=-1).all(dim=-1)[:, None, None]
    identity = torch.eye(S.shape[-1], dtype=half.dtype, device=S.device)
    eigenvalues, eigenvectors = eigh(torch.where(finite, half + half.mT, identity))
    logarithms, vectors = eigenvalues.clamp(min=floor).log(), eigenvectors.to(multiplier(S))
    logarithm = ((vectors * logarithms[:, None, :]) @ vectors.mT).to(half.dtype)
    return torch.where(finite, logarithm, torch.nan), eigenvalues, eigenvectors


@without_autocast
def log_eig_of_finite(S: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the results of ``log_eig_reference``, with a finite logarithm for every finite matrix.

    A matrix whose decomposition does not converge, or whose eigenvalues are beyond fp32, is decomposed in float64. The
    others are what they are in a batch of that size without it. On a GPU, whose libraries may silently return NaN, this
    waits for one sum; the decomposition waits for the device itself, and is never captured.
    """
    try:
        results = log_eig_reference(S, floor)
        if math.isfinite(results[0].sum().item()):
            return results
        failing = torch.zeros(len(S), dtype=torch.bool, device=S.device)
    except _LinAlgError:  # of the whole batch
        failing = torch.tensor([not _converges(matrix, floor) for matrix in S.split(1)], device=S.device)
        identity = torch.eye(S.shape[-1], dtype=S.dtype, device=S.device)
        results = log_eig_reference(torch.where(failing[:, None, None], identity, S), floor)
    finite = [matrices.isfinite().all(dim=-1).all(dim=-1) for matrices in (S, results[0])]
    failing |= finite[0] & ~finite[1]
    for index in failing.nonzero()[:, 0].tolist():
        for result, again in zip(results, _in_float64(S[index], floor), strict=True):
            result[index] = again
        if not results[0][index].isfinite().all():
            raise FsrcacheError(
                f"log_eig: the eigendecomposition of matrix {index} of {len(S)} does not converge, even in float64.",
                "Add a ridge to it.",
            )
    return results


def _converges(S: Tensor, floor: float) -> bool:
    try:
        log_eig_reference(S, floor)
    except _LinAlgError:
        return False
    return True


def _in_float64(S: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return a matrix's logarithm [D, D], eigenvalues [D] and eigenvectors; NaN if they do not converge."""
    limits, half = torch.finfo(accumulator(S)), S.double() / 2
    symmetric = half + half.mT
    largest = symmetric.abs().max()
    try:
        eigenvalues, eigenvectors = torch.linalg.eigh(symmetric / largest)
    except _LinAlgError:
        return symmetric * torch.nan, symmetric[0] * torch.nan, symmetric * torch.nan
    logarithms = (eigenvalues.clamp(min=limits.tiny).log() + largest.log()).clamp(min=math.log(floor))
    logarithm = (eigenvectors * logarithms) @ eigenvectors.mT
    return logarithm, (eigenvalues * largest).clamp(-limits.max, limits.max), eigenvectors


def loewner_matrix(eigenvalues: Tensor, floor: float) -> Tensor:
    """Return the divided differences [B, D, D] of log ∘ max(., floor) over every pair of the eigenvalues [B, D]."""
    free = (eigenvalues > floor).to(eigenvalues.dtype)
    clipped = eigenvalues.clamp(min=floor)
    total = clipped[:, :, None] + clipped[:, None, :]
    rise = clipped[:, :, None] - clipped[:, None, :]
    run = eigenvalues[:, :, None] - eigenvalues[:, None, :]
    one_free = free[:, :, None] != free[:, None, :]  # there the run is never zero
    slope = torch.where(one_free, rise / torch.where(one_free, run, 1), free[:, :, None])
    q = rise / total
    near = q.abs() < 0.5  # beyond, the difference of two logarithms is the more precise
    series = torch.where(q == 0, 1, torch.atanh(torch.where(near, q, 0)) / torch.where(q == 0, 1, q)) * 2 / total
    logarithms = clipped.log()
    direct = (logarithms[:, :, None] - logarithms[:, None, :]) / torch.where(near, 1, rise)
    return slope * torch.where(near, series, direct)


def slope(direction: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, floor: float) -> Tensor:
    """Return the logarithm's derivative in a direction [B, D, D]; the map is its own adjoint."""
    half, vectors = direction / 2, eigenvectors.to(multiplier(eigenvectors))
    inner = vectors.mT @ (half + half.mT).to(vectors.dtype) @ vectors
    return (vectors @ (loewner_matrix(eigenvalues, floor) * inner) @ vectors.mT).to(eigenvectors.dtype)


@torch.library.custom_op("fsrcache::log_eig", mutates_args=())
@op_body
def _log_eig(S: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    return log_eig_of_finite(S, floor)


@_log_eig.register_fake
def _(S: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001  the floor has no shape
    matrices = S.new_empty(S.shape, dtype=accumulator(S))
    return matrices, matrices.new_empty(S.shape[:2]), torch.empty_like(matrices)


@torch.library.custom_op("fsrcache::log_eig_backward", mutates_args=())
@op_body
def _log_eig_backward(gradient: Tensor, S: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, floor: float) -> Tensor:
    # S is an input for autograd alone, which would take the gradient for a constant of S without it
    return slope(gradient, eigenvalues, eigenvectors, floor).to(S.dtype)


@_log_eig_backward.register_fake
def _(gradient: Tensor, S: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, floor: float) -> Tensor:  # noqa: ARG001
    return S.new_empty(S.shape)


def _save(ctx: Any, inputs: tuple[Tensor, float], output: tuple[Tensor, Tensor, Tensor]) -> None:
    S, ctx.floor = inputs
    ctx.save_for_backward(S, *output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None]:
    return _log_eig_backward(gradient, *ctx.saved_tensors, ctx.floor), None


_log_eig.register_autograd(_backward, setup_context=_save)
refuse_second_derivative(_log_eig_backward, "log_eig")


class _Logarithm(torch.autograd.Function):
    """``log_eig`` for the transforms of ``torch.func`` and forward mode."""

    @staticmethod
    def forward(S: Tensor, floor: float) -> Tensor:
        return log_eig_of_finite(S, floor)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:  # noqa: ARG004
        S, ctx.floor = inputs
        ctx.save_for_backward(S)
        ctx.save_for_forward(S)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (S,) = ctx.saved_tensors
        return _Slope.apply(gradient, S, ctx.floor).to(S.dtype), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Any:
        return _Slope.apply(tangent, *ctx.saved_tensors, ctx.floor)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], S: Tensor, floor: float) -> tuple[Tensor, int]:  # noqa: ARG004
        return _each(_Logarithm, [S.movedim(in_dims[0], 0)], floor), 0


class _Slope(torch.autograd.Function):
    """The logarithm's derivative in a direction, whose own derivative is an error."""

    @staticmethod
    def forward(direction: Tensor, S: Tensor, floor: float) -> Tensor:
        return slope(direction, *log_eig_of_finite(S, floor)[1:], floor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> NoReturn:  # noqa: ARG004
        raise second_derivative("log_eig")

    jvp = backward

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None, None], direction: Tensor, S: Tensor, floor: float
    ) -> tuple[Tensor, int]:
        batches = [
            part.expand(info.batch_size, *part.shape) if axis is None else part.movedim(axis, 0)
            for part, axis in zip((direction, S), in_dims, strict=False)
        ]
        return _each(_Slope, batches, floor), 0


def _each(function: type[torch.autograd.Function], tensors: list[Tensor], floor: float) -> Tensor:
    """Apply a function to every batch of [n, B, D, D], as one batch."""
    flat = function.apply(*(tensor.flatten(0, 1) for tensor in tensors), floor)
    several: Tensor = flat.unflatten(0, tensors[0].shape[:2])
    return several


def check_matrices(op: str, S: Tensor, floor: float) -> None:
    """Refuse matrices that are not square floating point, and a floor that their accumulator cannot hold."""
    square = isinstance(S, Tensor) and S.ndim == 3 and S.shape[1] == S.shape[2] != 0
    if not square or S.dtype not in FLOATS:
        raise FsrcacheError(
            f"{op} got matrices of {described(S)}.", "They should be fp16, bf16, fp32 or float64 [B, D, D]."
        )
    limits = torch.finfo(accumulator(S))
    if not is_number(floor) or not limits.tiny <= floor <= limits.max:
        raise FsrcacheError(
            f"{op} got the floor {floor}.",
            f"The smallest eigenvalue should be from {limits.tiny:.1e} to {limits.max:.1e} for {S.dtype}.",
        )
