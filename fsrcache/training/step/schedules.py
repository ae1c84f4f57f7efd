"""Learning rates as functions of the step alone, so that a resumed run needs no state for them."""

import math
from bisect import bisect_right
from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer

_WARM_UP = 0.3  # share of the steps
_START, _END = 1 / 25, 1 / 250_000  # of the top


def one_cycle(step: int, *, steps: int, top: float) -> float:
    """Return the rate of one cycle with cosine flanks (Smith and Topin, 2018), ``step`` counted from 0."""
    rise = max(1.0, _WARM_UP * steps - 1)
    if step < rise:
        return _between(_START * top, top, step / rise)
    return _between(top, _END * top, (step - rise) / max(1.0, steps - 1 - rise))


def halved(step: int, *, milestones: Sequence[int], top: float) -> float:
    """Return the rate that is halved at every milestone."""
    return float(top * 0.5 ** bisect_right(milestones, step))


def halved_by_fifths(step: int, *, steps: int, top: float) -> float:
    """Return the rate that is halved after every fifth of the steps, the last aside; a part of a step counts whole."""
    return halved(step, milestones=[-(-steps * fifth // 5) for fifth in range(1, 5)], top=top)


def set_rate(optimiser: Optimizer, rate: float) -> None:
    """Give every group of an optimiser a learning rate, in the same tensor where it is one."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _between(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
