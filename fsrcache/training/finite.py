"""Remembers on the device the first step at which a loss term was not finite, without waiting for the device."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

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

    def see(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Look at the terms of a step."""
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
            raise FsrcacheError(
                f"The {name} term was not finite at step {bad[name]}.",
                "The last checkpoint is from before. Take a lower learning rate, or look at the store.",
            )
