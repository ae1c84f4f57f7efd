"""The shared parts of covariance pooling, with and without a map: input, row statistics, tiles.

Feature maps are ``[B, C, N]``: B samples of C rows (channels) and N columns (positions).
"""

import torch
from torch import Tensor

from fsrcache.errors import FsrcacheError
from fsrcache.kernels.arguments import FLOATS, described, is_number
from fsrcache.kernels.launch import tl, triton

IN_CACHE = 16  # samples that a CPU pools at a time: what lies between the passes stays in its cache, a sixth faster


def as_batch(op: str, x: Tensor, ridge: float) -> Tensor:
    """Return feature maps [B, C, N], [B, C, H, W] or [C, N] as [B, C, N]; refuse others, and a ridge below 0."""
    if (
        not isinstance(x, Tensor)
        or x.ndim not in (2, 3, 4)
        or 0 in x.shape[min(x.ndim - 2, 1) :]
        or x.dtype not in FLOATS
    ):
        raise FsrcacheError(
            f"{op} got features of {described(x)}.",
            "They should be fp16, bf16, fp32 or float64, [B, C, N], [B, C, H, W] or [C, N], with at least one channel "
            "and one position.",
        )
    if not is_number(ridge) or ridge < 0:
        raise FsrcacheError(f"{op} got the ridge {ridge}.", "It should be a share of the trace, 0 or more.")
    return x[None] if x.ndim == 2 else x.flatten(2)


def degrees_of_freedom(x: Tensor) -> int:
    """Return the degrees of freedom, 1 where there is a single position, whose covariance is zero."""
    return max(x.shape[-1] - 1, 1)


def centred_map(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return [B, C, N] minus the mean of every row."""
    x = x.to(dtype)
    return x - x.mean(dim=-1, keepdim=True)


def add_to_diagonal(matrices: Tensor, values: Tensor) -> Tensor:
    """Add [B] to every element of the diagonals of [B, D, D], in place, and return the matrices."""
    matrices.diagonal(dim1=-2, dim2=-1).add_(values[:, None])
    return matrices


@triton.jit
def row_statistics(
    x,       # [C, N], the sample's
    means,   # [C], written
    scales,  # [C], written where SCALED
    C, N, row_stride, column_stride,
    SCALED: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write the means of the rows, and powers of two by which the centred rows' largest numbers are 512 to 1024."""
    for first in range(0, C, BLOCK_ROWS):
        rows = first + tl.arange(0, BLOCK_ROWS)
        sums = tl.zeros([BLOCK_ROWS, BLOCK_COLUMNS], tl.float32)
        if SCALED:
            most = tl.full([BLOCK_ROWS, BLOCK_COLUMNS], float("-inf"), tl.float32)
            least = tl.full([BLOCK_ROWS, BLOCK_COLUMNS], float("inf"), tl.float32)
        for start in range(0, N, BLOCK_COLUMNS):
            columns = start + tl.arange(0, BLOCK_COLUMNS)
            inside = (rows < C)[:, None] & (columns < N)[None, :]
            at = rows[:, None] * row_stride + columns[None, :] * column_stride
            values = tl.load(x + at, mask=inside, other=0).to(tl.float32)
            sums += values
            if SCALED:
                most = tl.where(inside, tl.maximum(most, values), most)
                least = tl.where(inside, tl.minimum(least, values), least)
        mean = tl.sum(sums, 1) / N
        tl.store(means + rows, mean, mask=rows < C)
        if SCALED:
            reach = tl.maximum(tl.max(most, 1) - mean, mean - tl.min(least, 1))
            exponent = (reach.to(tl.int32, bitcast=True) >> 23) & 255  # biased by 127
            scale = (tl.minimum(tl.maximum(263 - exponent, 1), 253) << 23).to(tl.float32, bitcast=True)
            tl.store(scales + rows, scale, mask=rows < C)
    tl.debug_barrier()  # they are read by other threads than wrote them


@triton.jit
def centred_tile(
    x,     # [C, N], the sample's
    mean,  # [BLOCK], of the rows
    rows, columns, C, N, row_stride, column_stride,
):  # fmt: skip
    """Return fp32 rows and columns of the centred sample, zeros outside of it."""
    inside = (rows < C)[:, None] & (columns < N)[None, :]
    at = rows[:, None] * row_stride + columns[None, :] * column_stride
    values = tl.load(x + at, mask=inside, other=0).to(tl.float32)
    return tl.where(inside, values - mean[:, None], 0)


@triton.jit
def store_symmetric(
    pooled,  # [D, D], the sample's
    tile, i, j, ridge, D, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the tile at (i, j), i <= j, with the ridge on the diagonal, and its mirror image."""
    down, across = i + tl.arange(0, BLOCK), j + tl.arange(0, BLOCK)
    if i == j:  # the same bits on both sides, in whatever order products were added up
        tile = tl.where(down[:, None] <= across[None, :], tile, tl.trans(tile))
        tile += tl.where(down[:, None] == across[None, :], ridge, 0)
    inside = (down < D)[:, None] & (across < D)[None, :]
    tl.store(pooled + down[:, None] * D + across[None, :], tile, mask=inside)
    if i != j:
        mirrored = (across < D)[:, None] & (down < D)[None, :]
        tl.store(pooled + across[:, None] * D + down[None, :], tl.trans(tile), mask=mirrored)


def tile_side(side: int, most: int) -> int:
    """Return the side of a tile; tensor cores multiply no less than 16."""
    return min(most, max(16, int(triton.next_power_of_2(side))))


def statistics_tile(N: int, most: int) -> dict[str, int]:
    """Return the tile of ``row_statistics``, ``most`` columns wide at most."""
    return {"BLOCK_ROWS": 64, "BLOCK_COLUMNS": min(most, triton.next_power_of_2(N))}


def columns_tile(N: int, most: int) -> dict[str, int]:
    """Return two widths that cover N columns together in few passes and with few columns too many."""
    widths = [width for width in (16, 32, 64, 128) if width <= most]
    return {"BLOCK_N": min(widths, key=lambda width: triton.cdiv(N, width + 16) * (width + 32)), "BLOCK_TAIL": 16}


def strided(x: Tensor) -> Tensor:
    """Return features [B, C, N] in a layout that the kernels read well, rows or channels lying together."""
    reach = (x.shape[1] - 1) * x.stride(1) + (x.shape[2] - 1) * x.stride(2)  # of a sample, kept in 32 bits
    return x if 1 in x.stride()[1:] and reach < 2**31 else x.contiguous()
