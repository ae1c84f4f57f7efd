"""Means of named numbers over some steps, added up on the device and read all at once."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Meters(nn.Module):
    """Sums and counts of numbers by name; a module, so that a checkpoint keeps them between two status lines.

    Parameters
    ----------
    names
        Names of all numbers that may be added.
    device
        Device of the numbers.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        super().__init__()
        self.rows = {name: row for row, name in enumerate(names)}
        self.sums: Tensor
        self.register_buffer("sums", torch.zeros(2, len(names), device=device))  # of the numbers, and their counts
        self.zero, self.one = torch.zeros((), device=device), torch.ones((), device=device)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add numbers, each [], all at once and without waiting for the device."""
        added, counts = ([self.zero] * len(self.rows) for _ in range(2))
        for name, value in values.items():
            added[self.rows[name]], counts[self.rows[name]] = value.detach().float(), self.one
        self.sums += torch.stack([*added, *counts]).view(2, -1)

    def means(self) -> dict[str, float]:
        """Return the mean of every number that was added since the last call."""
        sums, counts = self.sums.tolist()
        self.sums.zero_()
        return {name: sums[row] / counts[row] for name, row in self.rows.items() if counts[row]}
