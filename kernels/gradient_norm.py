"""The norm of a sample's gradient to a power, and the penalty on it: ``gradient_norm`` and ``penalty_direction``.

For gradients ``g [B, ...]`` of a critic by its input, flattened a sample,

    gradient_norm(g, p)_i       = (Σ g_i²)^(p/2)                                                             [B]
    penalty_direction(g, k, p)  = (k / B) Σ_i |g_i|^p   and   v_i = (k p / B) |g_i|^(p-2) g_i               [], [B, ...]

The first is WGAN-div's penalty but for its mean and weight, and can be differentiated once. The second gives the
penalty and its derivative by g in one launch: what the closed form of the penalty's gradient by the critic's weights
begins with. Sums and powers are fp32 for fp16, bf16 and fp32 (``|g|^6`` leaves half precision at ``|g|`` = 6.4),
float64 for float64. Where a gradient is zero its direction is zero, whatever the power.

Source: Wu et al., "Wasserstein Divergence for GANs", ECCV 2018; arXiv 2004.02234, eq. 7.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from fsrcache.errors import FsrcacheError

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MOST_MULTIPLIED = 8  # powers of the squared norm up to this one are products, not logarithms


def gradient_norm(g: Tensor, power: float) -> Tensor:
    """Return the Euclidean norm of every sample to a power.

    Parameters
    ----------
    g
        fp16, bf16, fp32 or float64 ``[B, ...]``.
    power
        p, above 0.

    Returns
    -------
    Tensor
        fp32 ``[B]`` (float64 for float64). A NaN stays in its sample.

    Raises
    ------
    FsrcacheError
        If the shape, the type or the power is another one.
    """
    _check("gradient_norm", g, power)
    powers: Tensor = _gradient_norm(g, float(power))
    return powers


def penalty_direction(g: Tensor, weight: float, power: float) -> tuple[Tensor, Tensor]:
    """Return the gradient penalty and its derivative by the gradients.

    Parameters
    ----------
    g
        fp16, bf16, fp32 or float64 ``[B, ...]``.
    weight, power
        k, and p above 0.

    Returns
    -------
    tuple of Tensor
        The penalty, fp32 ``[]``, and v, fp32 with the shape of g (float64 for float64); both constants to autograd. The
        penalty of no samples is 0.

    Raises
    ------
    FsrcacheError
        If the shape, the type or the power is another one.
    """
    _check("penalty_direction", g, power)
    value, direction = _penalty_direction(g.detach(), float(weight), float(power))
    return value, direction


def gradient_norm_reference(g: Tensor, power: float) -> Tensor:
    """Return what ``gradient_norm`` is by definition."""
    return _squares(g) ** (power / 2)


def penalty_direction_reference(g: Tensor, weight: float, power: float) -> tuple[Tensor, Tensor]:
    """Return what ``penalty_direction`` is by definition."""
    squares, count = _squares(g), max(len(g), 1)
    direction = _scaled(g, weight * power / count * _slope(squares, power))
    return weight / count * (squares ** (power / 2)).sum(), direction


@triton.jit
def _sum_of_squares(
    g,  # [size], the sample's
    size, BLOCK: tl.constexpr,
):  # fmt: skip
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, size, BLOCK):
        at = start + tl.arange(0, BLOCK)
        values = tl.load(g + at, mask=at < size, other=0).to(tl.float32)
        total += values * values
    return tl.sum(total)


@triton.jit
def _power(squares, half, WHOLE: tl.constexpr):
    """Return squares ** half; ``WHOLE`` is the exponent where it is a small whole number, else -1."""
    if WHOLE >= 0:
        result = squares * 0 + 1
        for _ in tl.static_range(WHOLE):
            result *= squares
    else:  # zero to any power is zero, a NaN a NaN
        positive = tl.where(squares > 0, squares, 1)
        result = tl.where(squares > 0, tl.exp2(half * tl.log2(positive)), squares)
    return result


@triton.jit
def gradient_norm_kernel(
    g,       # [B, size]
    powers,  # [B]
    size, half, WHOLE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program a sample."""
    sample = tl.program_id(0).to(tl.int64)
    squares = _sum_of_squares(g + sample * size, size, BLOCK)
    tl.store(powers + sample, _power(squares, half, WHOLE))


@triton.jit
def penalty_direction_kernel(
    g,          # [B, size]
    direction,  # [B, size]
    powers,     # [B], between the programs
    value,      # []
    ticket,     # [], 0
    count, size, weight, half,
    WHOLE: tl.constexpr, BLOCK: tl.constexpr, SAMPLES: tl.constexpr,
):  # fmt: skip
    """One program a sample; the last one to finish adds the samples up, always in the same order."""
    sample = tl.program_id(0).to(tl.int64)
    squares = _sum_of_squares(g + sample * size, size, BLOCK)
    tl.store(powers + sample, _power(squares, half, WHOLE))
    slope = tl.where(squares == 0, 0, _power(squares, half - 1, WHOLE - 1 if WHOLE > 0 else WHOLE))
    factor = 2 * half * weight / count * slope
    for start in range(0, size, BLOCK):  # from the cache
        at = start + tl.arange(0, BLOCK)
        values = tl.load(g + sample * size + at, mask=at < size, other=0).to(tl.float32)
        tl.store(direction + sample * size + at, factor * values, mask=at < size)
    tl.debug_barrier()
    if tl.atomic_add(ticket, 1, sem="acq_rel") == count - 1:
        total = tl.zeros([SAMPLES], tl.float32)
        for start in range(0, count, SAMPLES):
            at = start + tl.arange(0, SAMPLES)
            total += tl.load(powers + at, mask=at < count, other=0, cache_modifier=".cg")
        tl.store(value, weight / count * tl.sum(total))


def gradient_norm_settings(power: float) -> dict[str, Any]:
    """Return the compile-time arguments of both kernels but for ``SAMPLES``."""
    half = power / 2
    return {
        "WHOLE": int(half) if half == int(half) and half <= _MOST_MULTIPLIED else -1,
        "BLOCK": 4096,  # 16 numbers a thread, four 16-byte loads of fp32
        "enable_fp_fusion": True,
        "num_warps": 8,
    }


def launch_gradient_norm(g: Tensor, power: float) -> Tensor:
    """Compute ``gradient_norm`` by its kernel; float64 is left to the reference."""
    if g.dtype == torch.float64:
        return gradient_norm_reference(g, power)
    g = g.contiguous()
    powers = torch.empty(len(g), dtype=torch.float32, device=g.device)
    if len(g):
        settings = gradient_norm_settings(power)
        gradient_norm_kernel[(len(g),)](g, powers, g[0].numel(), power / 2, **settings)
    return powers


def launch_penalty_direction(g: Tensor, weight: float, power: float) -> tuple[Tensor, Tensor]:
    """Compute ``penalty_direction`` by its kernel; float64 is left to the reference."""
    if g.dtype == torch.float64:
        return penalty_direction_reference(g, weight, power)
    g = g.contiguous()
    direction = torch.empty(g.shape, dtype=torch.float32, device=g.device)
    if not len(g):
        return direction.new_zeros(()), direction
    value, powers = direction.new_empty(()), direction.new_empty(len(g))
    ticket = torch.zeros((), dtype=torch.int32, device=g.device)
    penalty_direction_kernel[(len(g),)](
        g, direction, powers, value, ticket, len(g), g[0].numel(), weight, power / 2, SAMPLES=256,
        **gradient_norm_settings(power),
    )  # fmt: skip
    return value, direction


@torch.library.custom_op("fsrcache::gradient_norm", mutates_args=())
def _gradient_norm(g: Tensor, power: float) -> Tensor:
    return gradient_norm_reference(g, power)


@torch.library.custom_op("fsrcache::penalty_direction", mutates_args=())
def _penalty_direction(g: Tensor, weight: float, power: float) -> tuple[Tensor, Tensor]:
    return penalty_direction_reference(g, weight, power)


_gradient_norm.register_kernel("cuda")(launch_gradient_norm)
_penalty_direction.register_kernel("cuda")(launch_penalty_direction)


@_gradient_norm.register_fake
def _(g: Tensor, power: float) -> Tensor:  # noqa: ARG001  the power has no shape
    return g.new_empty(g.shape[0], dtype=_accumulator(g))


@_penalty_direction.register_fake
def _(g: Tensor, weight: float, power: float) -> tuple[Tensor, Tensor]:  # noqa: ARG001  they have no shape
    return g.new_empty((), dtype=_accumulator(g)), g.new_empty(g.shape, dtype=_accumulator(g))


@torch.library.custom_op("fsrcache::gradient_norm_backward", mutates_args=())
def _gradient_norm_backward(gradient: Tensor, g: Tensor, power: float) -> Tensor:
    # An op without a gradient of its own: a second differentiation is an error instead of a wrong number.
    return _scaled(g, gradient * power * _slope(_squares(g), power)).to(g.dtype)


@_gradient_norm_backward.register_fake
def _(gradient: Tensor, g: Tensor, power: float) -> Tensor:  # noqa: ARG001  they have no other shape
    return g.new_empty(g.shape)


def _save(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:  # noqa: ARG001  nothing of it is kept
    g, ctx.power = inputs
    ctx.save_for_backward(g)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return _gradient_norm_backward(gradient, *ctx.saved_tensors, ctx.power), None


_gradient_norm.register_autograd(_backward, setup_context=_save)


def _squares(g: Tensor) -> Tensor:
    """Return the sum of squares of every sample, [B]."""
    norms: Tensor = torch.linalg.vector_norm(g.flatten(1), dim=1, dtype=_accumulator(g))
    return norms.square()


def _slope(squares: Tensor, power: float) -> Tensor:
    """Return |g|^(p - 2), 0 where g is zero."""
    return torch.where(squares == 0, 0, squares ** (power / 2 - 1))


def _scaled(g: Tensor, factors: Tensor) -> Tensor:
    """Return every sample of g times its factor [B], contiguous."""
    return (g.flatten(1).to(factors.dtype) * factors[:, None]).reshape(g.shape).contiguous()


def _accumulator(g: Tensor) -> torch.dtype:
    return torch.float64 if g.dtype == torch.float64 else torch.float32


def _check(op: str, g: Tensor, power: float) -> None:
    if g.ndim < 2 or 0 in g.shape[1:] or g.dtype not in _DTYPES:
        raise FsrcacheError(
            f"{op} got gradients of shape {list(g.shape)}, {g.dtype}.",
            "They are fp16, bf16, fp32 or float64 [B, ...] with at least one number a sample.",
        )
    if not power > 0:
        raise FsrcacheError(f"{op} got the power {power}.", "It is above 0; the paper's is 6.")
