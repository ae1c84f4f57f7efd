"""Covariance pooling: the op ``covariance_pool``.

For a map ``X [C, N]`` with the mean over positions subtracted from its rows, ``Xc = X - mean(X)``,

    covariance_pool(X, r) = Xc Xcᵀ / (N - 1) + r tr(Xc Xcᵀ / (N - 1)) I          [C, C]

It centres before the product: the mean of a rectified map is large, and ``E[xxᵀ] - E[x] E[x]ᵀ`` would cancel. One
position (``N`` 1) has covariance zero. Sums and results are fp32 for fp16, bf16 and fp32 inputs, float64 for float64;
the kernels' products are three TF32 ones each, which together keep fp32's precision (``products.py``).

Source: Acharya et al., "Covariance Pooling for Facial Expression Recognition", CVPR Workshops 2018.
"""

from typing import Any

import torch
from torch import Tensor

from fsrcache.kernels.launch import on_device_of, tl, triton
from fsrcache.kernels.modes import (
    accumulator,
    multiplier,
    op_body,
    refuse_second_derivative,
    transformed,
    without_autocast,
)
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
from fsrcache.kernels.products import LONGEST, add_half_product, add_product, split_half, split_tf32


def covariance_pool(x: Tensor, ridge: float = 1e-4) -> Tensor:
    """Return the covariance of every sample's positions, with a ridge in proportion to its trace.

    **Choosing the ridge.** It limits the condition number to 1 + 1/r: with 1e-4 the logarithms of the eigenvalues span
    9.2 at most. Below 1e-6 the smallest eigenvalues of an fp32 covariance are rounding; a large ridge hides the weak
    directions. Where there are fewer positions than channels, the ridge alone makes the matrix positive definite.

    Parameters
    ----------
    x
        Feature maps, fp16, bf16, fp32 or float64: ``[B, C, N]``, ``[B, C, H, W]`` or, for one sample, ``[C, N]``; at
        least one channel and one position.
    ridge
        Share of the covariance's trace that is added to its diagonal; 0 or more.

    Returns
    -------
    Tensor
        fp32 (float64 for float64) ``[B, C, C]``, or ``[C, C]`` for one sample. Symmetric to rounding; the kernels
        write both triangles with the same bits. Differentiable once, by ``torch.func`` any number of times. A sample
        with NaN gives NaN and leaves the others alone.

    Raises
    ------
    FsrcacheError
        If the features' shape or dtype is not listed above, or the ridge is negative or not finite.
    """
    batch = as_batch("covariance_pool", x, ridge)
    pooled: Tensor = (covariance_pool_reference if transformed() else _covariance_pool)(batch, float(ridge))
    return pooled[0] if x.ndim == 2 else pooled


@without_autocast
def covariance_pool_reference(x: Tensor, ridge: float) -> Tensor:
    """Return ``covariance_pool`` by its definition."""
    centred = centred_map(x, multiplier(x))
    pooled = (centred @ centred.mT).div_(degrees_of_freedom(x))
    return add_to_diagonal(pooled, ridge * pooled.diagonal(dim1=-2, dim2=-1).sum(-1)).to(accumulator(x))


def covariance_pool_backward_reference(gradient: Tensor, x: Tensor, ridge: float) -> Tensor:
    """Return the gradient with respect to x [B, C, N], from that with respect to the covariance [B, C, C]."""
    gradient, freedom = (gradient + gradient.mT).to(multiplier(gradient)), degrees_of_freedom(x)
    weight = add_to_diagonal(gradient, ridge * gradient.diagonal(dim1=-2, dim2=-1).sum(-1)) / freedom
    return (weight @ centred_map(x, gradient.dtype)).to(x.dtype)


@triton.jit
def _scaled_tile(x, mean, scale, rows, columns, C, N, row_stride, column_stride):
    """Return rows and columns of the centred and scaled sample, split in two."""
    return split_half(centred_tile(x, mean, rows, columns, C, N, row_stride, column_stride) * scale[:, None])


@triton.jit
def _unscaled(tile, scales, down, across, C, freedom):
    """Return the covariances of rows that were scaled; what is divided by is a power of two but for the freedom."""
    of_rows = 1 / tl.load(scales + down, mask=down < C, other=1)
    of_columns = 1 / tl.load(scales + across, mask=across < C, other=1)
    return tile * (of_rows / freedom)[:, None] * of_columns[None, :]


@triton.jit
def covariance_pool_kernel(
    x,       # [B, C, N]
    means,   # [2, B, C], and scales, between the passes
    pooled,  # [B, C, C]
    C, N, sample_stride, row_stride, column_stride, freedom, ridge,
    BLOCK: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
    LONG: tl.constexpr,
):  # fmt: skip
    """One program a sample: means, the tiles on and above the diagonal, then the trace and with it the ridge."""
    sample = tl.program_id(0).to(tl.int64)
    x, means, pooled = x + sample * sample_stride, means + sample * C, pooled + sample * C * C
    scales = means + tl.num_programs(0).to(tl.int64) * C
    row_statistics(x, means, scales, C, N, row_stride, column_stride, True, BLOCK_ROWS, BLOCK_COLUMNS)
    for i in range(0, C, BLOCK):
        down = i + tl.arange(0, BLOCK)
        mean, scale = tl.load(means + down, mask=down < C, other=0), tl.load(scales + down, mask=down < C, other=1)
        tile = tl.zeros([BLOCK, BLOCK], tl.float32)
        for start in range(0, N, BLOCK_N):
            columns = start + tl.arange(0, BLOCK_N)
            big, small = _scaled_tile(x, mean, scale, down, columns, C, N, row_stride, column_stride)
            tile = add_half_product(big, small, tl.trans(big), tl.trans(small), tile, LONG)
        store_symmetric(pooled, _unscaled(tile, scales, down, down, C, freedom), i, i, 0.0, C, BLOCK)
        for j in range(i + BLOCK, C, BLOCK):
            across = j + tl.arange(0, BLOCK)
            mean_across = tl.load(means + across, mask=across < C, other=0)
            scale_across = tl.load(scales + across, mask=across < C, other=1)
            tile = tl.zeros([BLOCK, BLOCK], tl.float32)
            for start in range(0, N, BLOCK_N):
                columns = start + tl.arange(0, BLOCK_N)
                big, small = _scaled_tile(x, mean, scale, down, columns, C, N, row_stride, column_stride)
                right_big, right_small = _scaled_tile(
                    x, mean_across, scale_across, across, columns, C, N, row_stride, column_stride
                )
                tile = add_half_product(big, small, tl.trans(right_big), tl.trans(right_small), tile, LONG)
            store_symmetric(pooled, _unscaled(tile, scales, down, across, C, freedom), i, j, 0.0, C, BLOCK)
    tl.debug_barrier()  # the diagonal is read by other threads than wrote it
    trace = tl.zeros([BLOCK], tl.float32)
    for i in range(0, C, BLOCK):
        at = i + tl.arange(0, BLOCK)
        trace += tl.load(pooled + at * (C + 1), mask=at < C, other=0)
    ridge *= tl.sum(trace)
    for i in range(0, C, BLOCK):
        at = i + tl.arange(0, BLOCK)
        diagonal = tl.load(pooled + at * (C + 1), mask=at < C, other=0)
        tl.store(pooled + at * (C + 1), diagonal + ridge, mask=at < C)


@triton.jit
def covariance_pool_backward_kernel(
    x,         # [B, C, N]
    gradient,  # [B, C, C]
    means,     # [B, C], between the passes
    of_x,      # [B, C, N]
    C, N, sample_stride, row_stride, column_stride, freedom, ridge,
    BLOCK: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_TAIL: tl.constexpr,
    BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr, LONG: tl.constexpr,
):  # fmt: skip
    """One program a sample: ((G + Gᵀ) + r tr(G + Gᵀ) I) Xc / (N - 1), ``BLOCK_N + BLOCK_TAIL`` columns at a time."""
    sample = tl.program_id(0).to(tl.int64)
    x, means, of_x = x + sample * sample_stride, means + sample * C, of_x + sample * C * N
    gradient += sample * C * C
    diagonal = tl.zeros([BLOCK], tl.float32)
    for i in range(0, C, BLOCK):
        at = i + tl.arange(0, BLOCK)
        diagonal += tl.load(gradient + at * (C + 1), mask=at < C, other=0)
    ridge *= 2 * tl.sum(diagonal)
    row_statistics(x, means, None, C, N, row_stride, column_stride, False, BLOCK_ROWS, BLOCK_COLUMNS)
    for start in range(0, N, BLOCK_N + BLOCK_TAIL):
        columns = start + tl.arange(0, BLOCK_N)
        tail_columns = start + BLOCK_N + tl.arange(0, BLOCK_TAIL)
        for i in range(0, C, BLOCK):
            rows = i + tl.arange(0, BLOCK)
            tile = tl.zeros([BLOCK, BLOCK_N], tl.float32)
            tail = tl.zeros([BLOCK, BLOCK_TAIL], tl.float32)
            for k in range(0, C, BLOCK_K):
                inner = k + tl.arange(0, BLOCK_K)
                inside = (rows < C)[:, None] & (inner < C)[None, :]
                both = tl.load(gradient + rows[:, None] * C + inner[None, :], mask=inside, other=0)
                both += tl.load(gradient + inner[None, :] * C + rows[:, None], mask=inside, other=0)
                big, small = split_tf32(both)
                mean = tl.load(means + inner, mask=inner < C, other=0)
                centred = centred_tile(x, mean, inner, columns, C, N, row_stride, column_stride)
                right_big, right_small = split_tf32(centred)
                tile = add_product(big, small, right_big, right_small, tile, LONG)
                centred = centred_tile(x, mean, inner, tail_columns, C, N, row_stride, column_stride)
                right_big, right_small = split_tf32(centred)
                tail = add_product(big, small, right_big, right_small, tail, LONG)
            mean = tl.load(means + rows, mask=rows < C, other=0)
            tile += ridge * centred_tile(x, mean, rows, columns, C, N, row_stride, column_stride)
            inside = (rows < C)[:, None] & (columns < N)[None, :]
            tl.store(of_x + rows[:, None] * N + columns[None, :], tile / freedom, mask=inside)
            tail += ridge * centred_tile(x, mean, rows, tail_columns, C, N, row_stride, column_stride)
            inside = (rows < C)[:, None] & (tail_columns < N)[None, :]
            tl.store(of_x + rows[:, None] * N + tail_columns[None, :], tail / freedom, mask=inside)


def covariance_pool_settings(C: int, N: int) -> dict[str, Any]:
    """Return the compile-time arguments of ``covariance_pool_kernel``."""
    block = tile_side(C, 64 if N > LONGEST else 128)  # with the parts of long sums, more would spill
    tiles = {"BLOCK": block, "BLOCK_N": 16, **statistics_tile(N, 64), "LONG": N > LONGEST}
    return {**tiles, "enable_fp_fusion": True, "num_warps": 8 if block > 64 else 4, "num_stages": 3}


def covariance_pool_backward_settings(C: int, N: int) -> dict[str, Any]:
    """Return the compile-time arguments of ``covariance_pool_backward_kernel``."""
    most = 64 if C % 16 or N % 16 else 128  # where loads are not whole vectors, more columns would spill
    # 32 spills a few bytes, and is 1.14 times as fast as 16
    tiles = {"BLOCK": tile_side(C, 128), "BLOCK_K": 32, **columns_tile(N, most), **statistics_tile(N, 32)}
    return {**tiles, "LONG": C > LONGEST, "enable_fp_fusion": True, "num_warps": 8, "num_stages": 2}


def launch_covariance_pool(x: Tensor, ridge: float) -> Tensor:
    """Compute ``covariance_pool`` by its kernel; float64 is left to the reference."""
    if x.dtype == torch.float64:
        return covariance_pool_reference(x, ridge)
    x, (B, C, N) = strided(x), x.shape
    means = torch.empty(2, B, C, dtype=torch.float32, device=x.device)
    pooled = torch.empty(B, C, C, dtype=torch.float32, device=x.device)
    if B:
        with on_device_of(x):
            covariance_pool_kernel[(B,)](
                x, means, pooled, C, N, *x.stride(), degrees_of_freedom(x), ridge, **covariance_pool_settings(C, N)
            )
    return pooled


def launch_covariance_pool_backward(gradient: Tensor, x: Tensor, ridge: float) -> Tensor:
    """Compute the gradient of ``covariance_pool`` by its kernel; float64 is left to the reference."""
    if x.dtype == torch.float64:
        return covariance_pool_backward_reference(gradient, x, ridge)
    x, (B, C, N) = strided(x), x.shape
    means = torch.empty(B, C, dtype=torch.float32, device=x.device)
    of_x = torch.empty(B, C, N, dtype=x.dtype, device=x.device)
    if B:
        with on_device_of(x):
            covariance_pool_backward_kernel[(B,)](
                x, gradient.float().contiguous(), means, of_x, C, N, *x.stride(), degrees_of_freedom(x), ridge,
                **covariance_pool_backward_settings(C, N),
            )  # fmt: skip
    return of_x


@torch.library.custom_op("fsrcache::covariance_pool", mutates_args=())
@op_body
def _covariance_pool(x: Tensor, ridge: float) -> Tensor:
    pooled = x.new_empty(len(x), x.shape[1], x.shape[1], dtype=multiplier(x))
    for some, target in zip(x.split(IN_CACHE), pooled.split(IN_CACHE), strict=True):
        scaled = centred_map(some, pooled.dtype).mul_(degrees_of_freedom(x) ** -0.5)
        torch.bmm(scaled, scaled.mT, out=target)
        add_to_diagonal(target, (ridge * target.diagonal(dim1=-2, dim2=-1)).sum(-1))
    return pooled.to(accumulator(x))


@torch.library.custom_op("fsrcache::covariance_pool_backward", mutates_args=())
@op_body
def _covariance_pool_backward(gradient: Tensor, x: Tensor, ridge: float) -> Tensor:
    return covariance_pool_backward_reference(gradient, x, ridge)


_covariance_pool.register_kernel("cuda")(op_body(launch_covariance_pool))
_covariance_pool_backward.register_kernel("cuda")(op_body(launch_covariance_pool_backward))


@_covariance_pool.register_fake
def _(x: Tensor, ridge: float) -> Tensor:  # noqa: ARG001  the ridge has no shape
    return x.new_empty(x.shape[0], x.shape[1], x.shape[1], dtype=accumulator(x))


@_covariance_pool_backward.register_fake
def _(gradient: Tensor, x: Tensor, ridge: float) -> Tensor:  # noqa: ARG001  only x has the shape
    return x.new_empty(x.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001  nothing of the output is kept
    *tensors, ctx.ridge = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return _covariance_pool_backward(gradient, *ctx.saved_tensors, ctx.ridge), None


_covariance_pool.register_autograd(_differentiate, setup_context=_save)
refuse_second_derivative(_covariance_pool_backward, "covariance_pool")
