"""Ridge regression of features on features in closed form: sums over pairs in float64, and what solves them."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.records import Between, check_fields

_MOST_PENALTIES = 20  # each has a map in memory


@dataclass(frozen=True, kw_only=True)
class RidgeConfig:
    """The ridge maps of coarse features to those of full resolution.

    Attributes
    ----------
    penalties
        Penalties that are tried, as shares of the features' mean variance. The frozen head's accuracy on the held-out
        tenth of the training split chooses, and of equals the larger one.
    """

    penalties: tuple[Annotated[float, Between(1e-9, 1e6)], ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < len(self.penalties) <= _MOST_PENALTIES:
            raise RequestError(
                f"RidgeConfig.penalties has {len(self.penalties):,} numbers.", f"Give 1 to {_MOST_PENALTIES}."
            )


RIDGE = RidgeConfig()


class Moments(nn.Module):
    """Sums over pairs ``(x, y)`` of vectors, from which every ridge map of ``y`` on ``x`` follows.

    Parameters
    ----------
    length
        ``P``, the length of a vector.

    Attributes
    ----------
    count, x, y, xx, xy
        Number of pairs, sums of the vectors [P] and of the products ``x x'`` and ``x y'`` [P, P]: float64 buffers.
    """

    count: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor

    def __init__(self, length: int) -> None:
        super().__init__()
        for name, shape in (("count", ()), ("x", (length,)), ("y", (length,)), ("xx", (length,) * 2),
                            ("xy", (length,) * 2)):  # fmt: skip
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add pairs, floating point [n, P] each."""
        x, y = x.double(), y.double()
        self.count += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx.addmm_(x.T, x)
        self.xy.addmm_(x.T, y)

    def solve(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Return the map ``x -> x W + b`` that minimises ``|x W + b - y|^2 + a |W|^2`` summed over the pairs.

        Parameters
        ----------
        penalty
            ``a`` as a share of the mean over the elements of ``x`` of their squared distances from their means, summed
            over the pairs.

        Returns
        -------
        tuple of Tensor
            ``W`` [P, P] and ``b`` [P], float64.

        Raises
        ------
        FsrcacheError
            If there are no pairs, or the equations have no solution in float64.
        """
        if not self.count:
            raise FsrcacheError("There are no pairs to fit a ridge map to.", "Give data with a training split.")
        mean_x, mean_y = self.x / self.count, self.y / self.count
        system = self.xx - self.count * torch.outer(mean_x, mean_x)
        right = self.xy - self.count * torch.outer(mean_x, mean_y)
        system.diagonal().add_(penalty * system.diagonal().mean())
        factor, failed = torch.linalg.cholesky_ex(system)
        if failed:
            raise FsrcacheError(
                f"The equations of the ridge map have no solution with the penalty {penalty:g}.",
                "Set larger penalties.",
            )
        weight = torch.cholesky_solve(right, factor)
        return weight, mean_y - mean_x @ weight
