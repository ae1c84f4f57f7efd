"""Covariance pooling behind a linear map: the op ``bimap_covariance_pool``.

For a map ``X [C, N]`` with the mean over positions subtracted from its rows, ``Xc = X - mean(X)``,

    bimap_covariance_pool(X, W, r) = (W Xc) (W Xc)ᵀ / (N - 1) + r tr(Xc Xcᵀ / (N - 1)) I          [D, D]

which is ``W covariance_pool(X, r) Wᵀ`` where the rows of ``W [D, C]`` are orthonormal. Mapping first never forms the
``C x C`` covariance: less than half of the bytes for D = C/4, and more precise in low precision. The ridge is that of
the unmapped covariance. Precision is ``covariance_pool``'s; the gradient is a few products of PyTorch's.

Source: Acharya et al., "Covariance Pooling for Facial Expression Recognition", CVPR Workshops 2018; the BiMap layer of
Huang and Van Gool, "A Riemannian Network for SPD Matrix Learning", AAAI 2017.
"""

from typing import Any

import torch
from torch import Tensor

from fsrcache.errors import FsrcacheError
from fsrcache.kernels.arguments import FLOATS, described
from fsrcache.kernels.launch import on_device_of, tl, triton
from fsrcache.kernels.modes import accumulator, multiplier, needs_no_op, op_body, transformed, without_autocast
from fsrcache.kernels.pooling import (
    IN_CACHE,
    add_to_diagonal,
    as_batch,
    centred_map,
    centred_tile,
    columns_tile,
    degrees_of_freedom,
    row_statistics,
    statistics_tile,
    store_symmetric,
    strided,
    tile_side,
)
from fsrcache.kernels.products import LONGEST, add_product, split_tf32


def bimap_covariance_pool(x: Tensor, w: Tensor, ridge: float = 1e-4) -> Tensor:
    """Return the covariance of every sample's positions after a linear map; the ridge is that of the unmapped one.

    Choose the ridge as for ``covariance_pool``: where the rows of ``w`` are orthonormal, it limits the condition
    number to 1 + 1/r.

    Parameters
    ----------
    x
        Feature maps, fp16, bf16, fp32 or float64: ``[B, C, N]``, ``[B, C, H, W]`` or, for one sample, ``[C, N]``; at
        least one channel and one position.
    w
        Linear map ``[D, C]``, of any of these dtypes, on the device of ``x``.
    ridge
        Share of the unmapped covariance's trace that is added to the diagonal; 0 or more.

    Returns
    -------
    Tensor
        fp32 (float64 if both inputs are) ``[B, D, D]``, or ``[D, D]`` for one sample. Symmetric to rounding; the
        kernel writes both triangles with the same bits. Differentiable by ``x`` and ``w`` any number of times. A
        sample with NaN gives NaN and leaves the others alone.

    Raises
    ------
    FsrcacheError
        If a shape, dtype or device is not the one above, or the ridge is negative or not finite.
    """
    batch = as_batch("bimap_covariance_pool", x, ridge)
    channels = batch.shape[1]
    fits = isinstance(w, Tensor) and w.ndim == 2 and w.shape[1] == channels and w.dtype in FLOATS
    if not fits or w.device != x.device:
        device = f" on {w.device}" if isinstance(w, Tensor) else ""
        raise FsrcacheError(
            f"bimap_covariance_pool got a map of {described(w)}{device} for features of {described(x)} on {x.device}.",
            f"The map should be floating point [D, {channels}] on {x.device}.",
        )
    if transformed():
        pooled = bimap_covariance_pool_reference(batch, w, float(ridge))
    else:
        pool = _pool_some_at_a_time if needs_no_op(batch, w) else _bimap_covariance_pool
        pooled = pool(batch, w, float(ridge))
    return pooled[0] if x.ndim == 2 else pooled


@without_autocast
def bimap_covariance_pool_reference(x: Tensor, w: Tensor, ridge: float) -> Tensor:
    """Return ``bimap_covariance_pool`` by its definition."""
    dtype = multiplier(x, w)
    centred = centred_map(x, dtype)
    mapped = w.to(dtype) @ centred  # [B, D, N]
    pooled = (mapped @ mapped.mT).div_(degrees_of_freedom(x))
    trace = torch.linalg.vector_norm(centred, dim=(-2, -1)).square() / degrees_of_freedom(x)
    return add_to_diagonal(pooled, ridge * trace).to(accumulator(x, w))


@triton.jit
def _mapped(
    x,      # [C, N], the sample's
    w,      # [D, C]
    means,  # [C]
    first, start, C, D, N, row_stride, column_stride,
    BLOCK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_TAIL: tl.constexpr, LONG_C: tl.constexpr,
):  # fmt: skip
    """Return W Xc from a row and a column on, ``BLOCK_N`` and ``BLOCK_TAIL`` wide, and that Xc's sum of squares."""
    rows, columns = first + tl.arange(0, BLOCK), start + tl.arange(0, BLOCK_N)
    tail_columns = start + BLOCK_N + tl.arange(0, BLOCK_TAIL)
    mapped = tl.zeros([BLOCK, BLOCK_N], tl.float32)
    tail = tl.zeros([BLOCK, BLOCK_TAIL], tl.float32)
    squares = tl.zeros([BLOCK_K, BLOCK_N], tl.float32)
    tail_squares = tl.zeros([BLOCK_K, BLOCK_TAIL], tl.float32)
    for k in range(0, C, BLOCK_K):
        inner = k + tl.arange(0, BLOCK_K)
        inside = (rows < D)[:, None] & (inner < C)[None, :]
        weights = tl.load(w + rows[:, None] * C + inner[None, :], mask=inside, other=0).to(tl.float32)
        big, small = split_tf32(weights)
        mean = tl.load(means + inner, mask=inner < C, other=0)
        centred = centred_tile(x, mean, inner, columns, C, N, row_stride, column_stride)
        squares += centred * centred
        right_big, right_small = split_tf32(centred)
        mapped = add_product(big, small, right_big, right_small, mapped, LONG_C)
        centred = centred_tile(x, mean, inner, tail_columns, C, N, row_stride, column_stride)
        tail_squares += centred * centred
        right_big, right_small = split_tf32(centred)
        tail = add_product(big, small, right_big, right_small, tail, LONG_C)
    return mapped, tail, tl.sum(squares) + tl.sum(tail_squares)


@triton.jit
def _add_square(left, right, tile, LONG_N: tl.constexpr):
    """Return ``tile + left @ rightᵀ``."""
    big, small = split_tf32(left)
    right_big, right_small = split_tf32(right)
    return add_product(big, small, tl.trans(right_big), tl.trans(right_small), tile, LONG_N)


@triton.jit
def bimap_covariance_pool_kernel(
    x,       # [B, C, N]
    w,       # [D, C]
    means,   # [B, C], between the passes
    pooled,  # [B, D, D]
    C, D, N, sample_stride, row_stride, column_stride, freedom, ridge,
    BLOCK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_TAIL: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, TILES: tl.constexpr,
    LONG_C: tl.constexpr, LONG_N: tl.constexpr,
):  # fmt: skip
    """One program a sample: ``BLOCK_N + BLOCK_TAIL`` positions are mapped at a time, and their products added up."""
    sample = tl.program_id(0).to(tl.int64)
    x, means, pooled = x + sample * sample_stride, means + sample * C, pooled + sample * D * D
    row_statistics(x, means, None, C, N, row_stride, column_stride, False, BLOCK_ROWS, BLOCK_COLUMNS)
    trace = 0.0
    for i in tl.static_range(TILES):
        for j in tl.static_range(i, TILES):
            tile = tl.zeros([BLOCK, BLOCK], tl.float32)
            for start in range(0, N, BLOCK_N + BLOCK_TAIL):
                left, left_tail, squares = _mapped(
                    x, w, means, i * BLOCK, start, C, D, N, row_stride, column_stride,
                    BLOCK, BLOCK_K, BLOCK_N, BLOCK_TAIL, LONG_C,
                )  # fmt: skip
                if i == j:
                    tile = _add_square(left, left, tile, LONG_N)
                    tile = _add_square(left_tail, left_tail, tile, LONG_N)
                else:
                    right, right_tail, _ = _mapped(
                        x, w, means, j * BLOCK, start, C, D, N, row_stride, column_stride,
                        BLOCK, BLOCK_K, BLOCK_N, BLOCK_TAIL, LONG_C,
                    )  # fmt: skip
                    tile = _add_square(left, right, tile, LONG_N)
                    tile = _add_square(left_tail, right_tail, tile, LONG_N)
                if j == 0:
                    trace += squares
            store_symmetric(pooled, tile / freedom, i * BLOCK, j * BLOCK, ridge * trace / freedom, D, BLOCK)


def bimap_covariance_pool_settings(C: int, D: int, N: int) -> dict[str, Any]:
    """Return the compile-time arguments of ``bimap_covariance_pool_kernel``; larger tiles would spill registers."""
    block = tile_side(D, 128)
    tiles = {"BLOCK": block, "BLOCK_K": 16, **columns_tile(N, 32), **statistics_tile(N, 32)}
    long = {"LONG_C": C > LONGEST, "LONG_N": N > LONGEST}
    # four programs a multiprocessor in place of three, at the price of a few spilled bytes: 1.15 times as fast
    fewer = {"maxnreg": 128} if block == 64 and not any(long.values()) else {}
    return {
        **tiles,
        **long,
        **fewer,
        "TILES": triton.cdiv(D, block),
        "enable_fp_fusion": True,
        "num_warps": 8 if block > 64 else 4,
        "num_stages": 3 if block > 32 else 2,
    }


def launch_bimap_covariance_pool(x: Tensor, w: Tensor, ridge: float) -> Tensor:
    """Compute ``bimap_covariance_pool`` by its kernel; float64 is left to the reference."""
    if torch.float64 in (x.dtype, w.dtype):
        return bimap_covariance_pool_reference(x, w, ridge)
    x, w, (B, C, N), D = strided(x), w.contiguous(), x.shape, len(w)
    means = torch.empty(B, C, dtype=torch.float32, device=x.device)
    pooled = torch.empty(B, D, D, dtype=torch.float32, device=x.device)
    if B and D:
        with on_device_of(x):
            bimap_covariance_pool_kernel[(B,)](
                x, w, means, pooled, C, D, N, *x.stride(), degrees_of_freedom(x), ridge,
                **bimap_covariance_pool_settings(C, D, N),
            )  # fmt: skip
    return pooled


@without_autocast
def _pool_some_at_a_time(x: Tensor, w: Tensor, ridge: float) -> Tensor:
    """Return ``bimap_covariance_pool``, of as many samples at a time as a processor's cache holds."""
    pooled = x.new_empty(len(x), len(w), len(w), dtype=multiplier(x, w))
    mapping, freedom = w.to(pooled.dtype), degrees_of_freedom(x)
    for some, target in zip(x.split(IN_CACHE), pooled.split(IN_CACHE), strict=True):
        scaled = centred_map(some, pooled.dtype).mul_(freedom**-0.5)
        mapped = mapping @ scaled
        torch.bmm(mapped, mapped.mT, out=target)
        add_to_diagonal(target, (ridge**0.5 * torch.linalg.vector_norm(scaled, dim=-1)).square().sum(-1))
    return pooled.to(accumulator(x, w))


@torch.library.custom_op("fsrcache::bimap_covariance_pool", mutates_args=())
@op_body
def _bimap_covariance_pool(x: Tensor, w: Tensor, ridge: float) -> Tensor:
    return _pool_some_at_a_time(x, w, ridge)


_bimap_covariance_pool.register_kernel("cuda")(op_body(launch_bimap_covariance_pool))


@_bimap_covariance_pool.register_fake
def _(x: Tensor, w: Tensor, ridge: float) -> Tensor:  # noqa: ARG001  the ridge has no shape
    return x.new_empty(x.shape[0], w.shape[0], w.shape[0], dtype=accumulator(x, w))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001  nothing of the output is kept
    *tensors, ctx.ridge = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    x, w = ctx.saved_tensors
    return *_derivatives(gradient, x, w, ctx.ridge), None


@without_autocast
def _derivatives(gradient: Tensor, x: Tensor, w: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to x and w, from that with respect to the result [B, D, D]."""
    gradient, freedom = (gradient + gradient.mT).to(multiplier(gradient)), degrees_of_freedom(x)
    centred, mapping = centred_map(x, gradient.dtype), w.to(gradient.dtype)
    of_mapped = (gradient / freedom) @ (mapping @ centred)  # [B, D, N]
    of_trace = ridge * gradient.diagonal(dim1=-2, dim2=-1).sum(-1) / freedom  # [B]
    of_x = mapping.mT @ of_mapped + of_trace[:, None, None] * centred
    B, C, N = x.shape
    of_w = of_mapped.transpose(0, 1).reshape(len(w), B * N) @ centred.transpose(1, 2).reshape(B * N, C)
    return of_x.to(x.dtype), of_w.to(w.dtype)


_bimap_covariance_pool.register_autograd(_differentiate, setup_context=_save)
