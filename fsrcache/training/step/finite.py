"""Remembers on the device the first step at which a number was not finite, without waiting for the device."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fsrcache.errors import FsrcacheError

_NEVER = 2**63 - 1  # later than any step


class FiniteCheck:
    """The first step of every term at which it was not finite.

    Parameters
    ----------
    terms
        Names of the terms.
    device
        Device of the terms.
    """

    def __init__(self, terms: Sequence[str], device: torch.device) -> None:
        self.rows = {name: row for row, name in enumerate(terms)}
        self.steps = torch.full((len(terms),), _NEVER, dtype=torch.int64, device=device)
        self.never, self.zero = self.steps[0].clone(), torch.zeros((), device=device)

    def add(self, step: int | Tensor, terms: Mapping[str, Tensor]) -> None:
        """Check the terms of a step, all at once; how many came before it may lie on the device, and never shrinks."""
        values = [self.zero] * len(self.rows)
        for name, value in terms.items():
            values[self.rows[name]] = value.detach()
        finite = torch.stack(values) * 0 == 0  # an infinite number gives NaN
        self.steps.clamp_(max=torch.where(finite, self.never, step))

    def check(self) -> None:
        """Raise for the earliest step with a term that was not finite.

        Raises
        ------
        FsrcacheError
            With the term and the step, the first being 1.
        """
        steps = dict(zip(self.rows, self.steps.tolist(), strict=True))
        name = min(steps, key=lambda term: steps[term])
        if steps[name] < _NEVER:
            raise _error(f"The {name} term was not finite at step {steps[name] + 1}.")


def check_weights(step: int, modules: Mapping[str, nn.Module]) -> None:
    """Raise if a step left a weight that is not finite, which no term has shown yet.

    Raises
    ------
    FsrcacheError
        With the network and the step.
    """
    for name, module in modules.items():
        if not all(bool(weight.isfinite().all()) for weight in module.parameters()):
            raise _error(f"The {name}'s weights were not finite after step {step}.")


def _error(what: str) -> FsrcacheError:
    return FsrcacheError(
        what, "A checkpoint, if there is one, is from before. Use a lower learning rate, or check the store."
    )
