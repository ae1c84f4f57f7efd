"""Rows of a cache of symmetric matrices as pictures: the op ``symmetric_gather``.

A cache ``[n, P]`` holds the upper triangles of symmetric ``D x D`` matrices row by row (``numpy.triu_indices(D)``,
P = D(D + 1)/2), off-diagonals times √2, perhaps quantised per dimension:

    v = cache[row] * scale + mean                                                                        [P]
    picture[r, c] = picture[c, r] = v[index(r, c)] / √2 off the diagonal, v[index(r, r)] on it           [1, D, D]

One launch draws a batch from a cache on the device: no copy of the rows, no index arrays, every number read once.
Arithmetic is fp32 (float64 for a float64 cache), rounded once to the pictures' dtype.
"""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from fsrcache.errors import FsrcacheError
from fsrcache.kernels.arguments import FLOATS, described
from fsrcache.kernels.launch import on_device_of, tl, triton
from fsrcache.kernels.modes import accumulator, op_body, refuse_second_derivative, transformed


def symmetric_gather(
    cache: Tensor, rows: Tensor, mean: Tensor | None, scale: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Return rows of a cache as symmetric pictures.

    Parameters
    ----------
    cache
        Vectors, fp16, bf16, int8, fp32 or float64 ``[n, P]``, P = D(D + 1)/2.
    rows
        Row numbers, int64 or int32 ``[B]``, 0 to n - 1, on the device of the cache.
    mean, scale
        Moments of every dimension, fp32 or float64 ``[P]``, on the device of the cache; None for zeros and for ones.
    dtype
        Dtype of the pictures: fp16, bf16, fp32 or float64.

    Returns
    -------
    Tensor
        ``[B, 1, D, D]`` of that dtype, exactly symmetric. Differentiable once with respect to the mean, the scale and a
        floating-point cache, by ``torch.func`` any number of times.

    Raises
    ------
    FsrcacheError
        If a shape, dtype or device is not the one above, or, on a CPU, if a row is not in the cache. On a GPU such a
        row is not checked, which would wait for the device: its picture is NaN and nothing is read out of bounds.
    """
    _check(cache, rows, mean, scale, dtype)
    if transformed():
        return symmetric_gather_reference(cache, rows, mean, scale, dtype)
    pictures: Tensor = _symmetric_gather(cache, rows, mean, scale, dtype)
    return pictures


def symmetric_gather_reference(
    cache: Tensor, rows: Tensor, mean: Tensor | None, scale: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Return ``symmetric_gather`` by its definition."""
    index = _indices(_side(cache.shape[1]), cache.device)
    vectors = cache.index_select(0, rows).to(accumulator(cache))
    vectors = vectors if scale is None else vectors * scale
    vectors = vectors if mean is None else vectors + mean
    values = vectors[:, index]  # [B, D, D]
    on_diagonal = torch.ones_like(index).tril().triu() > 0
    return torch.where(on_diagonal, values, values * math.sqrt(0.5)).to(dtype)[:, None]


def _pictures(
    cache: Tensor, rows: Tensor, mean: Tensor | None, scale: Tensor | None, dtype: torch.dtype, index: Tensor
) -> Tensor:
    halves = torch.full((cache.shape[1],), math.sqrt(0.5), dtype=accumulator(cache), device=cache.device)
    halves.index_fill_(0, index.diagonal(), 1)
    vectors, factors = cache.index_select(0, rows).to(halves.dtype), halves if scale is None else scale * halves
    if mean is None:
        vectors *= factors
    else:
        torch.addcmul(mean * halves, vectors, factors, out=vectors)
    pictures = vectors.gather(1, index.flatten().expand(len(rows), -1))  # on a CPU faster than index_select
    return pictures.view(len(rows), 1, *index.shape).to(dtype)


@triton.jit
def symmetric_gather_kernel(
    cache,     # [n, P]
    rows,      # [B]
    mean,      # [P], where MEAN
    scale,     # [P], where SCALE
    pictures,  # [B, D, D]
    n, D, tiles, MEAN: tl.constexpr, SCALE: tl.constexpr, TILE: tl.constexpr,
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
    down, across = tl.arange(0, TILE)[:, None], tl.arange(0, TILE)[None, :]
    r = i * TILE + down
    start = j * TILE + r * D - r * (r + 1) // 2  # in the vector, of row r in this tile
    diagonal = (i - j) * TILE + down  # where row r crosses it, seen from this tile
    reach = tl.where(known, D - j * TILE, 0)  # nothing is read for an unknown row
    stored = (diagonal <= across) & (across < reach)
    value = tl.load(cache + row * (D * (D + 1) // 2) + start + across, mask=stored, other=0).to(tl.float32)
    if SCALE:
        value *= tl.load(scale + start + across, mask=stored, other=0)
    if MEAN:
        value += tl.load(mean + start + across, mask=stored, other=0)
    value = tl.where(diagonal == across, value, value * 0.7071067811865476)
    value = tl.where(known, value, float("nan"))
    turned = tl.trans(value)
    if i == j:
        value = tl.where(down <= across, value, turned)
    pictures += sample * D * D
    tl.store(pictures + r * D + (j * TILE + across), value, mask=(r < D) & (across < D - j * TILE))
    if i != j:  # the tile above it is full across
        below = j * TILE + down
        tl.store(pictures + below * D + (i * TILE + across), turned, mask=below < D)


def symmetric_gather_settings(side: int) -> dict[str, Any]:
    """Return the kernel's compile-time arguments for matrices of a side, except ``MEAN`` and ``SCALE``.

    D 128 on sm_90: 48 registers and 5 programs an SM, 64 and 4 with mean and scale; nothing is read twice but what
    programs share of mean and scale, from L1. fp16 to fp32 moves 82 kB a picture: 21 MB and 5 us for B 256, 336 MB and
    78 us for B 4096 at 4.3 TB/s.
    """
    return {"TILE": min(64, triton.next_power_of_2(side)), "enable_fp_fusion": True, "num_warps": 8}


def launch_symmetric_gather(
    cache: Tensor, rows: Tensor, mean: Tensor | None, scale: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Compute ``symmetric_gather`` by its kernel; float64 is left to the reference."""
    if torch.float64 in (cache.dtype, dtype):
        return symmetric_gather_reference(cache, rows, mean, scale, dtype)
    side = _side(cache.shape[1])
    pictures = torch.empty(len(rows), 1, side, side, dtype=dtype, device=cache.device)
    settings = symmetric_gather_settings(side)
    tiles = triton.cdiv(side, settings["TILE"])
    mean, scale = (None if vector is None else vector.float().contiguous() for vector in (mean, scale))
    if len(rows):
        with on_device_of(cache):
            symmetric_gather_kernel[(len(rows), tiles * (tiles + 1) // 2)](
                cache.contiguous(), rows.contiguous(), mean, scale, pictures, len(cache), side, tiles,
                MEAN=mean is not None, SCALE=scale is not None, **settings,
            )  # fmt: skip
    return pictures


@torch.library.custom_op("fsrcache::symmetric_gather", mutates_args=())
@op_body
def _symmetric_gather(
    cache: Tensor, rows: Tensor, mean: Tensor | None, scale: Tensor | None, dtype: torch.dtype
) -> Tensor:
    _refuse_other_rows(cache, rows)
    side = _side(cache.shape[1])
    index = _cached_indices(side) if cache.device.type == "cpu" else _indices(side, cache.device)
    return _pictures(cache, rows, mean, scale, dtype, index)


_symmetric_gather.register_kernel("cuda")(op_body(launch_symmetric_gather))


@_symmetric_gather.register_fake
def _(cache: Tensor, rows: Tensor, mean: Tensor | None, scale: Tensor | None, dtype: torch.dtype) -> Tensor:  # noqa: ARG001
    side = _side(int(cache.shape[1]))
    return cache.new_empty((rows.shape[0], 1, side, side), dtype=dtype)


@torch.library.custom_op("fsrcache::symmetric_gather_backward", mutates_args=())
@op_body
def _symmetric_gather_backward(
    gradient: Tensor, cache: Tensor, rows: Tensor, scale: Tensor | None, by_cache: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dtype, side = accumulator(cache), gradient.shape[-1]
    upper, right = torch.triu_indices(side, side, device=cache.device)
    both = gradient[:, 0].to(dtype)
    both = (both + both.mT).flatten(1).gather(1, (upper * side + right).expand(len(rows), -1))  # [B, P]
    factors = torch.full((len(upper),), math.sqrt(0.5), dtype=dtype, device=cache.device)
    of_vectors = both * torch.where(upper == right, 0.5, factors)
    of_cache = of_vectors.new_zeros(len(cache) if by_cache else 0, cache.shape[1])
    if by_cache:
        of_cache.index_add_(0, rows, of_vectors if scale is None else of_vectors * scale.to(dtype))
    if scale is None:
        return of_cache, of_vectors.sum(0), of_vectors.new_empty(0)
    return of_cache, of_vectors.sum(0), (of_vectors * cache.index_select(0, rows).to(dtype)).sum(0)


@_symmetric_gather_backward.register_fake
def _(
    gradient: Tensor, cache: Tensor, rows: Tensor, scale: Tensor | None, by_cache: bool  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    dtype, length = accumulator(cache), cache.shape[1]
    of_cache = cache.new_empty((cache.shape[0] if by_cache else 0, length), dtype=dtype)
    of_scale = cache.new_empty(0 if scale is None else length, dtype=dtype)
    return of_cache, cache.new_empty(length, dtype=dtype), of_scale


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001  nothing of the output is kept
    cache, rows, mean, scale, _ = inputs
    ctx.mean_dtype = None if mean is None else mean.dtype
    ctx.save_for_backward(cache, rows, scale)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None, Tensor | None, None]:
    cache, rows, scale = ctx.saved_tensors
    by_cache = ctx.needs_input_grad[0]
    of_cache, of_mean, of_scale = _symmetric_gather_backward(gradient, cache, rows, scale, by_cache)
    return (
        of_cache.to(cache.dtype) if by_cache else None,
        None,
        None if ctx.mean_dtype is None else of_mean.to(ctx.mean_dtype),
        None if scale is None else of_scale.to(scale.dtype),
        None,
    )


_symmetric_gather.register_autograd(_backward, setup_context=_save)
refuse_second_derivative(_symmetric_gather_backward, "symmetric_gather")


def _side(length: int) -> int:
    return (math.isqrt(8 * length + 1) - 1) // 2


def _indices(side: int, device: torch.device) -> Tensor:
    """Return the index in its vector of every number of a picture, [D, D]."""
    i = torch.arange(side, dtype=torch.int32, device=device)
    starts = i * (2 * side - 1 - i) // 2  # where r = i would begin if its c began with 0
    return torch.minimum(starts[:, None] + i, i[:, None] + starts).long()


@lru_cache(maxsize=8)
def _cached_indices(side: int) -> Tensor:
    """Return ``_indices`` on a CPU, a tenth of a small batch's time; for the op alone, whose tensors are real."""
    with torch.inference_mode(mode=False):
        return _indices(side, torch.device("cpu"))


def _refuse_other_rows(cache: Tensor, rows: Tensor) -> None:
    if len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < len(cache)):
        wrong = rows[(rows < 0) | (rows >= len(cache))][0]
        raise FsrcacheError(
            f"symmetric_gather got the row {int(wrong)} for a cache of {len(cache)} rows.",
            f"Rows go from 0 to {len(cache) - 1}." if len(cache) else "The cache is empty.",
        )


def _check(cache: Tensor, rows: Tensor, mean: Tensor | None, scale: Tensor | None, dtype: torch.dtype) -> None:
    length = cache.shape[-1] if isinstance(cache, Tensor) and cache.ndim == 2 else 0
    side = _side(length)
    if not length or side * (side + 1) // 2 != length or cache.dtype not in (*FLOATS, torch.int8):
        raise FsrcacheError(
            f"symmetric_gather got a cache of {described(cache)}.",
            "It should be fp16, bf16, int8, fp32 or float64 [n, D(D + 1)/2].",
        )
    if not isinstance(rows, Tensor) or rows.ndim != 1 or rows.dtype not in (torch.int64, torch.int32):
        raise FsrcacheError(
            f"symmetric_gather got rows of {described(rows)}.", f"They should be int64 or int32 [B] on {cache.device}."
        )
    for name, vector in (("mean", mean), ("scale", scale)):
        if vector is None:
            continue
        fits = isinstance(vector, Tensor) and vector.shape == (length,)
        if not fits or vector.dtype not in (torch.float32, torch.float64):
            raise FsrcacheError(
                f"symmetric_gather got a {name} of {described(vector)}.", f"It should be fp32 [{length}], or None."
            )
    for name, tensor in (("rows", rows), ("mean", mean), ("scale", scale)):
        if tensor is not None and tensor.device != cache.device:
            raise FsrcacheError(
                f"symmetric_gather got its {name} on {tensor.device}.", f"The cache is on {cache.device}."
            )
    if dtype not in FLOATS:
        raise FsrcacheError(
            f"symmetric_gather got the dtype {dtype} for its pictures.", "It should be fp16, bf16, fp32 or float64."
        )
