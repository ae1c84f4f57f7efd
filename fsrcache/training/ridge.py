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
    early
        Whether the maps read the early features beside the feature, where the store has them.
    extra
        Whether the maps are fitted to the store's extra splits too: views, and faces without labels.
    """

    penalties: tuple[Annotated[float, Between(1e-9, 1e6)], ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    early: bool = True
    extra: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < len(self.penalties) <= _MOST_PENALTIES:
            raise RequestError(
                f"RidgeConfig.penalties has {len(self.penalties):,} numbers.", f"Give 1 to {_MOST_PENALTIES}."
            )


RIDGE = RidgeConfig()


class RidgeMap(nn.Linear):
    """A linear map of features [n, P], with early features [n, Q] beside them, to features [n, P].

    Parameters
    ----------
    length, early
        P and Q; Q is 0 for a map of the feature alone.
    """

    def __init__(self, length: int, early: int = 0) -> None:
        super().__init__(length + early, length)
        self.early = early

    def forward(self, features: Tensor, early: Tensor | None = None) -> Tensor:
        """Return fp32 [n, P] of fp32 [n, P] and early features fp32 [n, Q]."""
        return super().forward(features if early is None else torch.cat([features, early], 1))


class Moments(nn.Module):
    """Sums over pairs of vectors ``x`` [P + Q] and ``y`` [P], from which every ridge map of ``y`` on ``x`` follows.

    Parameters
    ----------
    length, early
        P and Q, the numbers of a feature and of the early features behind it.

    Attributes
    ----------
    count, x, y, xx, xy
        Number of pairs, sums of the vectors and of the products ``x x'`` [P + Q, P + Q] and ``x y'`` [P + Q, P]:
        float64 buffers.
    """

    count: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor

    def __init__(self, length: int, early: int = 0) -> None:
        super().__init__()
        read = length + early
        for name, shape in (("count", ()), ("x", (read,)), ("y", (length,)), ("xx", (read, read)),
                            ("xy", (read, length))):  # fmt: skip
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add pairs, floating point [n, P + Q] and [n, P]."""
        x, y = x.double(), y.double()
        self.count += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx.addmm_(x.T, x)
        self.xy.addmm_(x.T, y)

    def solve(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Return the map ``x -> x W + b`` that minimises ``|x W + b - y|^2 + a |W|^2`` summed over the pairs.

        Early features, which have units of their own, are brought to the mean variance of the feature's elements for
        it: ``W`` is here what stands behind that factor.

        Parameters
        ----------
        penalty
            ``a`` as a share of the mean over the elements of the feature of their squared distances from their means,
            summed over the pairs.

        Returns
        -------
        tuple of Tensor
            The map of ``x`` as it is: weights [P + Q, P] and ``b`` [P], float64.

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
        length = len(self.y)
        spread = system.diagonal()[:length].mean()
        factors = torch.ones_like(mean_x)
        own = system.diagonal()[length:]
        factors[length:] = torch.where(own > 0, spread / own, 1.0).sqrt()
        system, right = system * factors * factors[:, None], right * factors[:, None]
        system.diagonal().add_(penalty * spread)
        factor, failed = torch.linalg.cholesky_ex(system)
        if failed:
            raise FsrcacheError(
                f"The equations of the ridge map have no solution with the penalty {penalty:g}.",
                "Set larger penalties.",
            )
        weight = torch.cholesky_solve(right, factor) * factors[:, None]
        return weight, mean_y - mean_x @ weight
