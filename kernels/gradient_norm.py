"""The norm of a sample's gradient to a power, and the penalty on it: ``gradient_norm`` and ``penalty_direction``.

For gradients ``g [B, ...]`` of a critic with respect to its input, every sample flattened,

    gradient_norm(g, p)_i       = (Σ g_i²)^(p/2)                                                             [B]
    penalty_direction(g, k, p)  = (k / B) Σ_i |g_i|^p,   v_i = (k p / B) |g_i|^(p-2) g_i,   |g_i|^p   [], [B, ...], [B]

The first is WGAN-div's penalty but for its mean and weight. The second returns the penalty, its gradient with respect
to g and what the first returns, and reads g once: the first step of the closed form of the penalty's gradient with
respect to the critic's weights. Sums and powers are fp32 for fp16, bf16 and fp32 (``|g|^6`` leaves half precision at
``|g|`` = 6.4), float64 for float64. Where a gradient is zero its direction is zero, whatever the power.

Source: Wu et al., "Wasserstein Divergence for GANs", ECCV 2018; arXiv 2004.02234, eq. 7.
"""

from typing import Any

import torch
from torch import Tensor

from fsrcache.errors import FsrcacheError
from fsrcache.kernels.arguments import FLOATS, described, is_number
from fsrcache.kernels.launch import on_device_of, tl, triton
from fsrcache.kernels.modes import accumulator, op_body, refuse_second_derivative, transformed, without_autocast

_MOST_MULTIPLIED = 8  # powers of the squared norm up to this one are products, not logarithms
_MOST_KEPT = 32768  # numbers of a sample that stay in registers, 32 a thread


def gradient_norm(g: Tensor, power: float) -> Tensor:
    """Return the Euclidean norm of every sample to a power.

    Parameters
    ----------
    g
        Gradients, fp16, bf16, fp32 or float64 ``[B, ...]``, at least one number a sample.
    power
        Exponent p, above 0; the paper's is 6.

    Returns
    -------
    Tensor
        fp32 ``[B]`` (float64 for float64). Differentiable once, by ``torch.func`` any number of times. A NaN stays in
        its sample.

    Raises
    ------
    FsrcacheError
        If the shape or dtype is not the one above, or the power is not a finite number above 0.
    """
    _check("gradient_norm", g, power)
    if transformed():
        return _transformed(g, power)
    powers: Tensor = _gradient_norm(g, float(power))
    return powers


def penalty_direction(g: Tensor, weight: float, power: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient penalty, its gradient with respect to g, and the norms' powers.

    Parameters
    ----------
    g
        Gradients, fp16, bf16, fp32 or float64 ``[B, ...]``, at least one number a sample.
    weight, power
        Weight k of the penalty, and exponent p above 0; the paper's are 2 and 6.

    Returns
    -------
    tuple of Tensor
        The penalty, fp32 ``[]``; v, fp32 with the shape of g, channels-last where g is and contiguous elsewhere; and
        ``gradient_norm(g, p)``, fp32 ``[B]``. All are float64 for float64. They are constants to ``backward``, but not
        to the transforms of ``torch.func`` and forward mode. The penalty of no samples is 0.

    Raises
    ------
    FsrcacheError
        If the shape or dtype is not the one above, or a number is not finite or the power not above 0.
    """
    _check("penalty_direction", g, power)
    if not is_number(weight):
        raise FsrcacheError(f"penalty_direction got the weight {weight}.", "It should be a finite number.")
    if transformed():
        powers, share = _transformed(g, power), weight / max(len(g), 1)
        return share * powers.sum(), _scaled(g, share * power * _transformed(g, power, less=2)), powers
    if g.device.type == "cpu" and not torch.compiler.is_compiling():  # an op's call costs 20 us, a small batch 60
        return penalty_direction_reference(g.detach(), weight, power)
    value, direction, powers = _penalty_direction(g.detach(), float(weight), float(power))
    return value, direction, powers


@without_autocast
def gradient_norm_reference(g: Tensor, power: float) -> Tensor:
    """Return ``gradient_norm`` by its definition."""
    return (_norms(g, power) ** power).to(accumulator(g))


@without_autocast
def penalty_direction_reference(g: Tensor, weight: float, power: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``penalty_direction`` by its definition."""
    norms, share = _norms(g, power), weight / max(len(g), 1)
    powers = (norms**power).to(accumulator(g))
    return share * powers.sum(), _scaled(g, share * power * _slope(norms, power)), powers


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
    powers,     # [B]
    shares,     # [B], of the penalty
    size, share, half,
    WHOLE: tl.constexpr, BLOCK: tl.constexpr, KEPT: tl.constexpr,
):  # fmt: skip
    """One program a sample, which stays in registers where it fits in a block."""
    sample = tl.program_id(0).to(tl.int64)
    g += sample * size
    direction += sample * size
    at = tl.arange(0, BLOCK)
    if KEPT:
        values = tl.load(g + at, mask=at < size, other=0).to(tl.float32)
        squares = tl.sum(values * values)
    else:
        squares = _sum_of_squares(g, size, BLOCK)
    power = _power(squares, half, WHOLE)
    tl.store(powers + sample, power)
    tl.store(shares + sample, share * power)
    slope = tl.where(squares == 0, 0, _power(squares, half - 1, WHOLE - 1 if WHOLE > 0 else WHOLE))
    factor = 2 * half * share * slope
    if KEPT:
        tl.store(direction + at, factor * values, mask=at < size)
    else:
        for start in range(0, size, BLOCK):  # from the cache
            values = tl.load(g + start + at, mask=start + at < size, other=0).to(tl.float32)
            tl.store(direction + start + at, factor * values, mask=start + at < size)


def gradient_norm_settings(size: int, power: float) -> dict[str, Any]:
    """Return the compile-time arguments of both kernels, for samples of a size, but for ``KEPT``.

    Size 16384 on sm_90: 16 warps of 60 registers and 2 programs an SM, so that 256 samples are one wave of 132 SMs.
    g is read and its direction written once: 34 MB and 8 us for B 256 in fp32 at 4.3 TB/s, then a sum of B numbers.
    """
    half, kept = power / 2, size <= _MOST_KEPT
    block = triton.next_power_of_2(size) if kept else 8192
    return {
        "WHOLE": int(half) if half == int(half) and half <= _MOST_MULTIPLIED else -1,
        "BLOCK": block,
        "enable_fp_fusion": True,
        "num_warps": min(max(block // 1024, 1), 32),  # 32 numbers a thread, eight 16-byte loads of fp32
    }


def launch_gradient_norm(g: Tensor, power: float) -> Tensor:
    """Compute ``gradient_norm`` by its kernel; float64 is left to the reference."""
    if g.dtype == torch.float64:
        return gradient_norm_reference(g, power)
    g = g.contiguous(memory_format=_layout(g))
    powers = torch.empty(len(g), dtype=torch.float32, device=g.device)
    if len(g):
        size = g[0].numel()
        with on_device_of(g):
            gradient_norm_kernel[(len(g),)](g, powers, size, power / 2, **gradient_norm_settings(size, power))
    return powers


def launch_penalty_direction(g: Tensor, weight: float, power: float) -> tuple[Tensor, Tensor, Tensor]:
    """Compute ``penalty_direction`` by its kernel; float64 is left to the reference."""
    if g.dtype == torch.float64:
        return penalty_direction_reference(g, weight, power)
    g = g.contiguous(memory_format=_layout(g))
    direction = torch.empty_like(g, dtype=torch.float32)
    powers, shares = (torch.empty(len(g), dtype=torch.float32, device=g.device) for _ in range(2))
    if len(g):
        size = g[0].numel()
        with on_device_of(g):
            penalty_direction_kernel[(len(g),)](
                g, direction, powers, shares, size, weight / len(g), power / 2, KEPT=size <= _MOST_KEPT,
                **gradient_norm_settings(size, power),
            )  # fmt: skip
    return shares.sum(), direction, powers


@torch.library.custom_op("fsrcache::gradient_norm", mutates_args=())
@op_body
def _gradient_norm(g: Tensor, power: float) -> Tensor:
    return gradient_norm_reference(g, power)


@torch.library.custom_op("fsrcache::penalty_direction", mutates_args=())
@op_body
def _penalty_direction(g: Tensor, weight: float, power: float) -> tuple[Tensor, Tensor, Tensor]:
    return penalty_direction_reference(g, weight, power)


_gradient_norm.register_kernel("cuda")(op_body(launch_gradient_norm))
_penalty_direction.register_kernel("cuda")(op_body(launch_penalty_direction))


@_gradient_norm.register_fake
def _(g: Tensor, power: float) -> Tensor:  # noqa: ARG001  the power has no shape
    return g.new_empty(g.shape[0], dtype=accumulator(g))


@_penalty_direction.register_fake
def _(g: Tensor, weight: float, power: float) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ARG001  they have no shape
    dtype = accumulator(g)
    direction = torch.empty_like(g, dtype=dtype, memory_format=_layout(g))
    return g.new_empty((), dtype=dtype), direction, g.new_empty(g.shape[0], dtype=dtype)


@torch.library.custom_op("fsrcache::gradient_norm_backward", mutates_args=())
@op_body
def _gradient_norm_backward(gradient: Tensor, g: Tensor, power: float) -> Tensor:
    return _scaled(g, gradient * power * _slope(_norms(g, power), power)).to(g.dtype)


@_gradient_norm_backward.register_fake
def _(gradient: Tensor, g: Tensor, power: float) -> Tensor:  # noqa: ARG001  they have no other shape
    return torch.empty_like(g, memory_format=_layout(g))


def _save(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:  # noqa: ARG001  nothing of it is kept
    g, ctx.power = inputs
    ctx.save_for_backward(g)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return _gradient_norm_backward(gradient, *ctx.saved_tensors, ctx.power), None


_gradient_norm.register_autograd(_backward, setup_context=_save)
refuse_second_derivative(_gradient_norm_backward, "gradient_norm")


@without_autocast
def _transformed(g: Tensor, power: float, *, less: int = 0) -> Tensor:
    """Return ``|g|^(p - less)`` [B] for the transforms of ``torch.func``, with right derivatives where g is zero.

    Those of ``vector_norm`` are not right there. A power that is no whole one of the squares is constant there.
    """
    squares = g.to(_accumulator(g, power)).square().flatten(1).sum(1)
    half = (power - less) / 2
    if half >= 0 and half == int(half):
        return (squares**half).to(accumulator(g))
    positive = torch.where(squares > 0, squares, 1)
    return torch.where(squares > 0, positive**half, 0 * squares).to(accumulator(g))  # of a NaN a NaN


def _accumulator(g: Tensor, power: float) -> torch.dtype:
    """Return the dtype of norms: float64 where a square may leave fp32's range and its power not."""
    return accumulator(g) if power >= 2 else torch.float64


def _norms(g: Tensor, power: float) -> Tensor:
    """Return the norm of every sample [B]."""
    norms: Tensor = torch.linalg.vector_norm(g, dim=list(range(1, g.ndim)), dtype=_accumulator(g, power))
    return norms


def _slope(norms: Tensor, power: float) -> Tensor:
    """Return |g|^(p - 2), finite where g is zero."""
    slope: Tensor = norms ** (power - 2)
    return slope if power >= 2 else torch.where(norms == 0, 0, slope)


def _scaled(g: Tensor, factors: Tensor) -> Tensor:
    """Return every sample of g times its factor [B], in one pass."""
    return (g * factors.view(-1, *[1] * (g.ndim - 1))).to(accumulator(g)).contiguous(memory_format=_layout(g))


def _layout(g: Tensor) -> torch.memory_format:
    """Return the memory format of a direction: that of g, if it is one row of numbers a sample."""
    last = g.ndim == 4 and not g.is_contiguous() and g.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _check(op: str, g: Tensor, power: float) -> None:
    if not isinstance(g, Tensor) or g.ndim < 2 or 0 in g.shape[1:] or g.dtype not in FLOATS:
        raise FsrcacheError(
            f"{op} got gradients of {described(g)}.",
            "They should be fp16, bf16, fp32 or float64 [B, ...] with at least one number a sample.",
        )
    if not is_number(power) or power <= 0:
        raise FsrcacheError(f"{op} got the power {power}.", "It should be a number above 0; the paper's is 6.")
