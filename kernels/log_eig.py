"""The logarithm of a symmetric matrix with its eigenvalues clipped from below, the op ``log_eig``.

    log_eig(S, floor) = V diag(log(max(λ, floor))) Vᵀ,   S = V diag(λ) Vᵀ                              [D, D]

ReEig (the clip) and LogEig (the logarithm) of SPDNet are one eigen-decomposition. There is no upper clip: CovPoolFER's
at 1e4 keeps nothing from overflowing, since the logarithm of the largest fp32 number is 88.7, and would cost bright
pictures their gradient.

The gradient is Daleckii and Krein's, ``V (L ∘ (Vᵀ G V)) Vᵀ`` with the Loewner matrix of f = log ∘ max(., floor):
``L_ij = (f(λi) - f(λj)) / (λi - λj)``, on equal eigenvalues the limit ``f'(λi)``, which is 1/λ above the floor and 0 at
the floor and below: clipped directions get no gradient, as from ReEig followed by LogEig. It is computed without
cancellation from the clipped eigenvalues c as

    L_ij = (ci - cj) / (λi - λj) · 2 / (ci + cj) · atanh(q) / q,   q = (ci - cj) / (ci + cj),

whose first factor is exactly 1 for two eigenvalues above the floor and 0 for two that are not, so that no threshold
decides which eigenvalues are near. The decomposition is done in fp32, in float64 for float64.

Source: Huang and Van Gool, "A Riemannian Network for SPD Matrix Learning", AAAI 2017; Daleckii and Krein, 1965.
"""

from typing import Any

import torch
from torch import Tensor

from fsrcache.errors import FsrcacheError

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def log_eig(S: Tensor, floor: float) -> Tensor:
    """Return the symmetric matrix logarithm, eigenvalues below the floor counted as the floor.

    Parameters
    ----------
    S
        fp16, bf16, fp32 or float64 ``[B, D, D]``, symmetric; of another matrix the symmetric part is taken.
    floor
        The smallest eigenvalue, above 0.

    Returns
    -------
    Tensor
        fp32 ``[B, D, D]`` (float64 for float64), symmetric. A matrix with a value that is not finite gives NaN and
        leaves the others alone. It can be differentiated once.

    Raises
    ------
    FsrcacheError
        If the shape, the type or the floor is another one.
    """
    if S.ndim != 3 or S.shape[1] != S.shape[2] or S.shape[1] == 0 or S.dtype not in _DTYPES:
        raise FsrcacheError(
            f"log_eig got matrices of shape {list(S.shape)}, {S.dtype}.",
            "They are fp16, bf16, fp32 or float64 [B, D, D].",
        )
    if not floor > 0:
        raise FsrcacheError(f"log_eig got the floor {floor}.", "It is above 0: it is the smallest eigenvalue.")
    logarithm: Tensor = _log_eig(S, float(floor))[0]
    return logarithm


def log_eig_reference(S: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logarithm [B, D, D], the eigenvalues [B, D] and the eigenvectors [B, D, D] by definition."""
    S = S.to(_precision(S))
    finite = S.isfinite().all(dim=-1).all(dim=-1)[:, None, None]
    identity = torch.eye(S.shape[-1], dtype=S.dtype, device=S.device)
    eigenvalues, eigenvectors = torch.linalg.eigh(torch.where(finite, (S + S.mT) / 2, identity))
    logarithm = (eigenvectors * eigenvalues.clamp(min=floor).log()[:, None, :]) @ eigenvectors.mT
    return torch.where(finite, logarithm, torch.nan), eigenvalues, eigenvectors.contiguous()


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


@torch.library.custom_op("fsrcache::log_eig", mutates_args=())
def _log_eig(S: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    return log_eig_reference(S, floor)


@_log_eig.register_fake
def _(S: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001  the floor has no shape
    matrices = S.new_empty(S.shape, dtype=_precision(S))
    return matrices, matrices.new_empty(S.shape[:2]), torch.empty_like(matrices)


@torch.library.custom_op("fsrcache::log_eig_backward", mutates_args=())
def _log_eig_backward(gradient: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, floor: float) -> Tensor:
    # An op without a gradient of its own: a second differentiation is an error instead of a wrong number.
    inner = eigenvectors.mT @ ((gradient + gradient.mT) / 2) @ eigenvectors
    return eigenvectors @ (loewner_matrix(eigenvalues, floor) * inner) @ eigenvectors.mT


@_log_eig_backward.register_fake
def _(gradient: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, floor: float) -> Tensor:  # noqa: ARG001
    return torch.empty_like(gradient)


def _save(ctx: Any, inputs: tuple[Tensor, float], output: tuple[Tensor, Tensor, Tensor]) -> None:
    S, ctx.floor = inputs
    ctx.dtype = S.dtype
    ctx.save_for_backward(*output[1:])
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None]:
    return _log_eig_backward(gradient, *ctx.saved_tensors, ctx.floor).to(ctx.dtype), None


_log_eig.register_autograd(_backward, setup_context=_save)


def _precision(S: Tensor) -> torch.dtype:
    return torch.float64 if S.dtype == torch.float64 else torch.float32
