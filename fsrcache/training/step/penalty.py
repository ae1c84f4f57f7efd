"""The gradient penalty of WGAN-div (Wu et al., ECCV 2018; arXiv 2004.02234, eq. 7)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    *,
    hr: Tensor,
    sr: Tensor,
    mix: Tensor,
    weight: float,
    power: float,
    norm: Literal["full", "column"] = "full",
) -> Tensor:
    """Return k E[|grad D(x)|^p] at x = F_hr + a (F_sr - F_hr).

    Parameters
    ----------
    critic
        [B, 1, D, D] -> [B].
    hr, sr
        fp32 [B, 1, D, D].
    mix
        fp32 [B], a of every sample.
    weight, power
        Factor k and exponent p.
    norm
        ``full`` is the norm of a sample's whole gradient. ``column`` is what the authors' code did, the norm over one
        axis alone, averaged over the other: about D^3 times weaker for p = 6.

    Returns
    -------
    Tensor
        fp32 (float64 for float64), to be differentiated by the critic's parameters.
    """
    between = (hr + mix[:, None, None, None] * (sr - hr)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    squares = (
        gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        .square()
        .sum(dim=(1, 2, 3) if norm == "full" else (1, 2))
    )
    return weight * (squares ** (power / 2)).mean()
