"""Rows of a cache of symmetric matrices as pictures: the op ``symmetric_gather``.

A cache ``[n, P]`` holds the upper triangles of symmetric ``D x D`` matrices row by row (``numpy.triu_indices(D)``,
P = D(D + 1)/2), off-diagonals times √2, perhaps quantised a dimension:

    v = cache[row] * scale + mean                                                                        [P]
    picture[r, c] = picture[c, r] = v[index(r, c)] / √2 off the diagonal, v[index(r, r)] on it           [1, D, D]

One launch draws a batch from a cache on the device: no copy of the rows, no index arrays, every number read once.
Arithmetic is fp32 (float64 for a float64 cache), rounded once to the type asked for.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fsrcache.errors import FsrcacheError

_CACHES = (torch.float16, torch.bfloat16, torch.int8, torch.float32, torch.float64)
_PICTURES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def symmetric_gather(cache: Tensor, rows: Tensor, mean: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return rows of a cache as symmetric pictures.

    Parameters
    ----------
    cache
        fp16, bf16, int8, fp32 or float64 ``[n, P]``, P = D(D + 1)/2.
    rows
        int64 or int32 ``[B]``, 0 to n - 1, on the device of the cache.
    mean, scale
        fp32 ``[P]`` (or float64), on the device of the cache; zeros and ones if nothing is quantised.
    dtype
        Of the pictures: fp16, bf16, fp32 or float64.

    Returns
    -------
    Tensor
        ``[B, 1, D, D]``, symmetric. It can be differentiated once, by the mean, the scale and a floating-point cache.

    Raises
    ------
    FsrcacheError
        If a shape, a type or a device is another one, or, on a CPU, if a row is not in the cache. On a GPU such a row
        is not looked for, which would wait for the device: its picture is NaN and nothing is read out of bounds.
    """
    _check(cache, rows, mean, scale, dtype)
    pictures: Tensor = _symmetric_gather(cache, rows, mean, scale, dtype)
    return pictures


def symmetric_gather_reference(cache: Tensor, rows: Tensor, mean: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what ``symmetric_gather`` is by definition."""
    accumulator, side = _accumulator(cache), _side(cache.shape[1])
    upper, right = torch.triu_indices(side, side, device=cache.device)
    halves = _halves(upper == right, accumulator)
    vectors = cache.index_select(0, rows).to(accumulator) * (scale * halves) + mean * halves
    place = upper.new_empty(side, side)  # of every number of the picture in the vector
    place[upper, right] = place[right, upper] = torch.arange(len(upper), device=cache.device)
    return vectors.index_select(1, place.flatten()).view(len(rows), 1, side, side).to(dtype)


@triton.jit
def symmetric_gather_kernel(
    cache,     # [n, P]
    rows,      # [B]
    mean,      # [P]
    scale,     # [P]
    pictures,  # [B, D, D]
    n, D, tiles, TILE: tl.constexpr,
):  # fmt: skip
    """One program a sample and pair of tiles (i, j), i <= j: it writes the tile and, transposed, its mirror image."""
    sample, pair = tl.program_id(0).to(tl.int64), tl.program_id(1)
    i = 0
    while pair >= tiles - i:
        pair -= tiles - i
        i += 1
    j = i + pair
    row = tl.load(rows + sample).to(tl.int64)
    known = (row >= 0) & (row < n)
    r = (i * TILE + tl.arange(0, TILE))[:, None]
    c = (j * TILE + tl.arange(0, TILE))[None, :]
    upper, right = tl.minimum(r, c), tl.maximum(r, c)  # a tile on the diagonal reads its lower half from its upper one
    at = upper * D - upper * (upper - 1) // 2 + right - upper
    inside, reach = (r < D) & (c < D), tl.where(known, D, 0)  # of a row that is not there nothing is read
    value = tl.load(cache + row * (D * (D + 1) // 2) + at, mask=(r < reach) & (c < reach), other=0).to(tl.float32)
    value = value * tl.load(scale + at, mask=inside, other=0) + tl.load(mean + at, mask=inside, other=0)
    value = tl.where(r == c, value, value * 0.7071067811865476)
    value = tl.where(known, value, float("nan"))
    pictures += sample * D * D
    tl.store(pictures + r * D + c, value, mask=inside)
    if i != j:
        down = (j * TILE + tl.arange(0, TILE))[:, None]
        across = (i * TILE + tl.arange(0, TILE))[None, :]
        tl.store(pictures + down * D + across, tl.trans(value), mask=(down < D) & (across < D))


def symmetric_gather_settings(side: int) -> dict[str, Any]:
    """Return the kernel's compile-time arguments for matrices of a side."""
    return {"TILE": min(64, triton.next_power_of_2(side)), "enable_fp_fusion": True, "num_warps": 4}


def launch_symmetric_gather(cache: Tensor, rows: Tensor, mean: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Compute ``symmetric_gather`` by its kernel; float64 is left to the reference."""
    if torch.float64 in (cache.dtype, dtype):
        return symmetric_gather_reference(cache, rows, mean, scale, dtype)
    side = _side(cache.shape[1])
    pictures = torch.empty(len(rows), 1, side, side, dtype=dtype, device=cache.device)
    settings = symmetric_gather_settings(side)
    tiles = triton.cdiv(side, settings["TILE"])
    if len(rows):
        symmetric_gather_kernel[(len(rows), tiles * (tiles + 1) // 2)](
            cache.contiguous(), rows.contiguous(), mean.float().contiguous(), scale.float().contiguous(), pictures,
            len(cache), side, tiles, **settings,
        )  # fmt: skip
    return pictures


@torch.library.custom_op("fsrcache::symmetric_gather", mutates_args=())
def _symmetric_gather(cache: Tensor, rows: Tensor, mean: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    _refuse_other_rows(cache, rows)
    return symmetric_gather_reference(cache, rows, mean, scale, dtype)


_symmetric_gather.register_kernel("cuda")(launch_symmetric_gather)


@_symmetric_gather.register_fake
def _(cache: Tensor, rows: Tensor, mean: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:  # noqa: ARG001
    side = _side(int(cache.shape[1]))
    return cache.new_empty((rows.shape[0], 1, side, side), dtype=dtype)


@torch.library.custom_op("fsrcache::symmetric_gather_backward", mutates_args=())
def _symmetric_gather_backward(
    gradient: Tensor, cache: Tensor, rows: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    # An op without a gradient of its own: a second differentiation is an error instead of a wrong number.
    accumulator, side = _accumulator(cache), gradient.shape[-1]
    upper, right = torch.triu_indices(side, side, device=cache.device)
    both = gradient[:, 0].to(accumulator)
    of_vectors = (both[:, upper, right] + both[:, right, upper]) * _halves(upper == right, accumulator)
    of_vectors[:, upper == right] /= 2  # [B, P]
    of_scale = (of_vectors * cache[rows].to(accumulator)).sum(0)
    of_cache = torch.zeros(cache.shape if cache.is_floating_point() else (0, cache.shape[1]),
                           dtype=accumulator, device=cache.device)  # fmt: skip
    if cache.is_floating_point():
        of_cache.index_add_(0, rows, of_vectors * scale.to(accumulator))
    return of_cache, of_vectors.sum(0), of_scale


@_symmetric_gather_backward.register_fake
def _(gradient: Tensor, cache: Tensor, rows: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001
    accumulator = _accumulator(cache)
    count = cache.shape[0] if cache.is_floating_point() else 0
    vector = cache.new_empty(cache.shape[1], dtype=accumulator)
    return cache.new_empty((count, cache.shape[1]), dtype=accumulator), vector, torch.empty_like(vector)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001  nothing of the output is kept
    cache, rows, mean, scale, _ = inputs
    ctx.mean_dtype = mean.dtype
    ctx.save_for_backward(cache, rows, scale)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor, Tensor, None]:
    cache, rows, scale = ctx.saved_tensors
    of_cache, of_mean, of_scale = _symmetric_gather_backward(gradient, cache, rows, scale)
    needed = ctx.needs_input_grad[0]
    return (
        of_cache.to(cache.dtype) if needed else None,
        None,
        of_mean.to(ctx.mean_dtype),
        of_scale.to(scale.dtype),
        None,
    )


_symmetric_gather.register_autograd(_backward, setup_context=_save)


def _accumulator(cache: Tensor) -> torch.dtype:
    return torch.float64 if cache.dtype == torch.float64 else torch.float32


def _side(length: int) -> int:
    return (math.isqrt(8 * length + 1) - 1) // 2


def _halves(diagonal: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 where a number is on the diagonal and the square root of 1/2 elsewhere, [P]."""
    one = torch.ones((), dtype=dtype, device=diagonal.device)
    return torch.where(diagonal, one, math.sqrt(0.5) * one)


def _refuse_other_rows(cache: Tensor, rows: Tensor) -> None:
    if len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < len(cache)):
        wrong = rows[(rows < 0) | (rows >= len(cache))][0]
        raise FsrcacheError(
            f"symmetric_gather got the row {int(wrong)} for a cache of {len(cache)} rows.",
            f"Rows are 0 to {len(cache) - 1}." if len(cache) else "The cache is empty.",
        )


def _check(cache: Tensor, rows: Tensor, mean: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
    length = cache.shape[-1] if cache.ndim else 0
    side = _side(length)
    if cache.ndim != 2 or not length or side * (side + 1) // 2 != length or cache.dtype not in _CACHES:
        raise FsrcacheError(
            f"symmetric_gather got a cache of shape {list(cache.shape)}, {cache.dtype}.",
            "It is fp16, bf16, int8, fp32 or float64 [n, D(D + 1)/2].",
        )
    if rows.ndim != 1 or rows.dtype not in (torch.int64, torch.int32) or rows.device != cache.device:
        raise FsrcacheError(
            f"symmetric_gather got rows of shape {list(rows.shape)}, {rows.dtype}, {rows.device}.",
            f"They are int64 or int32 [B] on {cache.device}.",
        )
    for name, vector in (("mean", mean), ("scale", scale)):
        if vector.shape != (length,) or vector.dtype not in (torch.float32, torch.float64):
            raise FsrcacheError(
                f"symmetric_gather got a {name} of shape {list(vector.shape)}, {vector.dtype}.",
                f"It is fp32 [{length}].",
            )
        if vector.device != cache.device:
            raise FsrcacheError(
                f"symmetric_gather got a {name} on {vector.device}.", f"The cache is on {cache.device}."
            )
    if dtype not in _PICTURES:
        raise FsrcacheError(
            f"symmetric_gather got the type {dtype} for its pictures.", "It is fp16, bf16, fp32 or float64."
        )
