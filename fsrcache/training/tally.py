"""Means of named numbers over some steps, added up on the device and read all at once."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Tally:
    """Sums and counts of numbers by name.

    Parameters
    ----------
    names
        Of all the numbers there may be.
    device
        Where they are computed.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self.rows = {name: row for row, name in enumerate(names)}
        self.sums = torch.zeros(len(names), 2, device=device)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count numbers, each [], without waiting for the device."""
        for name, value in values.items():
            value = value.detach().float()
            self.sums[self.rows[name]] += torch.stack([value, torch.ones_like(value)])

    def take(self) -> dict[str, float]:
        """Return the mean of every number that was counted, and begin anew."""
        sums = self.sums.tolist()
        self.sums.zero_()
        return {name: sums[row][0] / sums[row][1] for name, row in self.rows.items() if sums[row][1]}
