"""Covariance pooling, plain and behind a linear map: the ops ``covariance_pool`` and ``bimap_covariance_pool``.

For a map ``X [C, N]`` with the mean over positions taken off its rows, ``Xc = X - mean(X)``,

    covariance_pool(X, r)          = Xc Xcᵀ / (N - 1) + r tr(Xc Xcᵀ / (N - 1)) I          [C, C]
    bimap_covariance_pool(X, W, r) = (W Xc) (W Xc)ᵀ / (N - 1) + r tr(Xc Xcᵀ / (N - 1)) I  [D, D]

The second is ``W covariance_pool(X, r) Wᵀ`` where the rows of ``W [D, C]`` are orthonormal; mapping first never forms
the ``C x C`` covariance. Both centre before the product: the mean of a rectified map is large, and
``E[xxᵀ] - E[x] E[x]ᵀ`` would cancel. One position (``N`` 1) has covariance zero. Sums and results are fp32 for fp16,
bf16 and fp32 inputs, float64 for float64.

Source: Acharya et al., "Covariance Pooling for Facial Expression Recognition", CVPR Workshops 2018.
"""

from typing import Any

import torch
from torch import Tensor

from fsrcache.errors import FsrcacheError

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def covariance_pool(x: Tensor, ridge: float) -> Tensor:
    """Return the covariance of every sample's positions, with a ridge in proportion to its trace.

    Parameters
    ----------
    x
        fp16, bf16, fp32 or float64 ``[B, C, N]``, ``N`` at least 1.
    ridge
        What is added to the diagonal, as a share of the covariance's trace; 0 or more.

    Returns
    -------
    Tensor
        fp32 ``[B, C, C]`` (float64 for float64), symmetric. A sample with NaN gives NaN and leaves the others alone.

    Raises
    ------
    FsrcacheError
        If the shape, the type or the ridge is another one.
    """
    _check("covariance_pool", x, ridge)
    pooled: Tensor = _covariance_pool(x, float(ridge))
    return pooled


def bimap_covariance_pool(x: Tensor, w: Tensor, ridge: float) -> Tensor:
    """Return the covariance of every sample's positions after a linear map; the ridge is that of the unmapped one.

    Parameters
    ----------
    x
        fp16, bf16, fp32 or float64 ``[B, C, N]``, ``N`` at least 1.
    w
        ``[D, C]``, of any of these types, on the device of ``x``.
    ridge
        What is added to the diagonal, as a share of the unmapped covariance's trace; 0 or more.

    Returns
    -------
    Tensor
        fp32 ``[B, D, D]`` (float64 if both inputs are), symmetric.

    Raises
    ------
    FsrcacheError
        If a shape, a type, a device or the ridge is another one.
    """
    _check("bimap_covariance_pool", x, ridge)
    if w.ndim != 2 or w.shape[1] != x.shape[1] or w.dtype not in _DTYPES or w.device != x.device:
        raise FsrcacheError(
            f"bimap_covariance_pool got a map of shape {list(w.shape)}, {w.dtype}, {w.device} for features of shape "
            f"{list(x.shape)}, {x.device}.",
            f"The map is floating point [D, {x.shape[1]}] on {x.device}.",
        )
    pooled: Tensor = _bimap_covariance_pool(x, w, float(ridge))
    return pooled


def covariance_pool_reference(x: Tensor, ridge: float) -> Tensor:
    """Return what ``covariance_pool`` is by definition."""
    centred = _centred(x, _accumulator(x))
    pooled = centred @ centred.mT / _freedom(x)
    return _add_to_diagonal(pooled, ridge * _trace(centred))


def bimap_covariance_pool_reference(x: Tensor, w: Tensor, ridge: float) -> Tensor:
    """Return what ``bimap_covariance_pool`` is by definition."""
    dtype = _accumulator(x, w)
    centred = _centred(x, dtype)
    mapped = w.to(dtype) @ centred  # [B, D, N]
    pooled = mapped @ mapped.mT / _freedom(x)
    return _add_to_diagonal(pooled, ridge * _trace(centred))


@torch.library.custom_op("fsrcache::covariance_pool", mutates_args=())
def _covariance_pool(x: Tensor, ridge: float) -> Tensor:
    return covariance_pool_reference(x, ridge)


@torch.library.custom_op("fsrcache::bimap_covariance_pool", mutates_args=())
def _bimap_covariance_pool(x: Tensor, w: Tensor, ridge: float) -> Tensor:
    return bimap_covariance_pool_reference(x, w, ridge)


@_covariance_pool.register_fake
def _(x: Tensor, ridge: float) -> Tensor:  # noqa: ARG001  the ridge has no shape
    return x.new_empty(x.shape[0], x.shape[1], x.shape[1], dtype=_accumulator(x))


@_bimap_covariance_pool.register_fake
def _(x: Tensor, w: Tensor, ridge: float) -> Tensor:  # noqa: ARG001  the ridge has no shape
    return x.new_empty(x.shape[0], w.shape[0], w.shape[0], dtype=_accumulator(x, w))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001  nothing of the output is kept
    *tensors, ctx.ridge = inputs
    ctx.save_for_backward(*tensors)


def _covariance_pool_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (x,) = ctx.saved_tensors
    gradient, freedom = gradient + gradient.mT, _freedom(x)
    weight = _add_to_diagonal(gradient, ctx.ridge * gradient.diagonal(dim1=-2, dim2=-1).sum(-1)) / freedom
    return (weight @ _centred(x, gradient.dtype)).to(x.dtype), None


def _bimap_covariance_pool_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    x, w = ctx.saved_tensors
    gradient, freedom = gradient + gradient.mT, _freedom(x)
    centred, mapping = _centred(x, gradient.dtype), w.to(gradient.dtype)
    of_mapped = (gradient / freedom) @ (mapping @ centred)  # [B, D, N]
    of_trace = ctx.ridge * gradient.diagonal(dim1=-2, dim2=-1).sum(-1) / freedom  # [B]
    of_x = mapping.mT @ of_mapped + of_trace[:, None, None] * centred
    of_w = torch.einsum("bdn,bcn->dc", of_mapped, centred)
    return of_x.to(x.dtype), of_w.to(w.dtype), None


_covariance_pool.register_autograd(_covariance_pool_backward, setup_context=_save)
_bimap_covariance_pool.register_autograd(_bimap_covariance_pool_backward, setup_context=_save)


def _accumulator(*tensors: Tensor) -> torch.dtype:
    """Return float64 if all tensors are, else fp32."""
    return torch.float64 if all(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32


def _freedom(x: Tensor) -> int:
    """Return the degrees of freedom, 1 where there is a single position, whose covariance is zero."""
    return max(x.shape[-1] - 1, 1)


def _centred(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return [B, C, N] with the mean of every row taken off."""
    x = x.to(dtype)
    return x - x.mean(dim=-1, keepdim=True)


def _trace(centred: Tensor) -> Tensor:
    """Return the trace [B] of the covariance of a centred [B, C, N]."""
    return centred.square().sum(dim=(-2, -1)) / _freedom(centred)


def _add_to_diagonal(matrices: Tensor, values: Tensor) -> Tensor:
    """Return [B, D, D] with [B] added to every element of the diagonals."""
    return matrices + values[:, None, None] * torch.eye(
        matrices.shape[-1], dtype=matrices.dtype, device=matrices.device
    )


def _check(op: str, x: Tensor, ridge: float) -> None:
    if x.ndim != 3 or x.shape[1] == 0 or x.shape[2] == 0 or x.dtype not in _DTYPES:
        raise FsrcacheError(
            f"{op} got features of shape {list(x.shape)}, {x.dtype}.",
            "They are fp16, bf16, fp32 or float64 [B, C, N] with at least one channel and one position.",
        )
    if not ridge >= 0:
        raise FsrcacheError(f"{op} got the ridge {ridge}.", "It is a share of the trace, 0 or more.")
