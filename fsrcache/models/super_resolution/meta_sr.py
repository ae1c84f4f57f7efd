"""Meta-SR: a residual dense network whose last filters are predicted for any scale (Hu et al., CVPR 2019)."""

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from fsrcache.models.super_resolution.presets import MetaSRConfig


class MetaSR(nn.Module):
    """A residual dense backbone, and a 3x3 filter a pixel of the result, predicted from scale and position.

    Parameters
    ----------
    config
        Number and widths of the blocks.
    channels
        C, channels of the pictures.

    Attributes
    ----------
    mean
        fp32 ``[C]``: the training pictures' mean, which is subtracted and added again.
    """

    mean: Tensor

    def __init__(self, config: MetaSRConfig, channels: int) -> None:
        super().__init__()
        features = config.features
        self.register_buffer("mean", torch.zeros(channels))
        self.first = nn.Conv2d(channels, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)
        self.blocks = nn.ModuleList(_ResidualDense(config) for _ in range(config.blocks))
        self.fusion = nn.Sequential(
            nn.Conv2d(config.blocks * features, features, 1), nn.Conv2d(features, features, 3, padding=1)
        )
        self.filters = nn.Sequential(
            nn.Linear(3, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 9 * features * channels)
        )

    def forward(self, small: Tensor, scale: Fraction, side: int) -> Tensor:
        """Return pictures enlarged by a scale, their first ``side`` rows and columns.

        Parameters
        ----------
        small
            fp32 ``[B, C, s, s]``, 0..255.
        scale, side
            The scale, and the side S of the result, at most ``scale * s``.

        Returns
        -------
        Tensor
            fp32 ``[B, C, S, S]``, 0..255 but for overshoots.
        """
        mean = self.mean[:, None, None]
        maps = self._backbone((small - mean) / 255)
        below, offsets = positions(side, scale)
        filters = self._filters(torch.tensor(offsets, device=maps.device), 1 / float(scale))
        rows = torch.tensor(below, device=maps.device)
        pixels = (rows[:, None] * maps.shape[3] + rows).flatten()  # [S S], of the small picture
        seen = unfold(maps, 3, padding=1).permute(2, 0, 1).index_select(0, pixels)  # [S S, B, 9 F]
        enlarged = torch.bmm(seen, filters).permute(1, 2, 0).reshape(*small.shape[:2], side, side)
        return enlarged.float() * 255 + mean

    def _backbone(self, pictures: Tensor) -> Tensor:
        first = self.first(pictures)
        maps, every = self.second(first), list[Tensor]()
        for block in self.blocks:
            maps = block(maps)
            every.append(maps)
        fused: Tensor = self.fusion(torch.cat(every, 1)) + first
        return fused

    def _filters(self, offsets: Tensor, reciprocal: float) -> Tensor:
        """Return the filters [S S, 9 F, C] of all pixels."""
        grid = torch.cartesian_prod(offsets, offsets)  # [S S, 2]
        inputs = torch.cat([torch.full_like(grid[:, :1], reciprocal), grid], 1)
        with torch.autocast(inputs.device.type, enabled=False):  # bf16 cannot tell neighbouring positions apart
            filters: Tensor = self.filters(inputs)
        return filters.reshape(len(grid), -1, len(self.mean))


class _ResidualDense(nn.Module):
    """Convolutions that each see all maps before them, fused by a 1x1 convolution, and a skip around them."""

    def __init__(self, config: MetaSRConfig) -> None:
        super().__init__()
        features, growth = config.features, config.growth
        self.layers = nn.ModuleList(
            nn.Conv2d(features + layer * growth, growth, 3, padding=1) for layer in range(config.layers)
        )
        self.fusion = nn.Conv2d(features + config.layers * growth, features, 1)

    def forward(self, maps: Tensor) -> Tensor:
        known = maps
        for layer in self.layers:
            known = torch.cat([known, layer(known).relu()], 1)
        fused: Tensor = self.fusion(known)
        return maps + fused


def positions(side: int, scale: Fraction) -> tuple[list[int], list[float]]:
    """Return, for every row i of the result, floor(i / scale) and i / scale - floor(i / scale).

    They are computed in whole numbers: in floating point 33 / 1.1 is below 30.
    """
    parts = [divmod(row * scale.denominator, scale.numerator) for row in range(side)]
    return [below for below, _ in parts], [rest / scale.numerator for _, rest in parts]
