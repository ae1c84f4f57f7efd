"""Remembers on the device the first step at which a number was not finite, without waiting for the device."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from fsrcache.errors import FsrcacheError


class FirstBad:
    """The first bad step of every term.

    Parameters
    ----------
    terms
        Their names.
    device
        Where they are computed.
    """

    def __init__(self, terms: Sequence[str], device: torch.device) -> None:
        self.steps = {name: torch.full((), -1, dtype=torch.int64, device=device) for name in terms}

    def see(self, step: int | Tensor, terms: Mapping[str, Tensor]) -> None:
        """Look at the terms of a step; its number may lie on the device."""
        for name, value in terms.items():
            first = self.steps[name]
            first.copy_(torch.where((first < 0) & ~torch.isfinite(value.detach()), step, first))

    def check(self) -> None:
        """Raise for the earliest bad step there was.

        Raises
        ------
        FsrcacheError
            With the term and the step.
        """
        steps = {name: int(first) for name, first in self.steps.items()}
        bad = {name: step for name, step in steps.items() if step >= 0}
        if bad:
            name = min(bad, key=lambda term: bad[term])
            raise _error(f"The {name} term was not finite at step {bad[name]}.")


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
    return FsrcacheError(what, "The last checkpoint is from before. Take a lower learning rate, or look at the store.")
