"""RCAN, a residual channel-attention network for one scale (Zhang et al., ECCV 2018)."""

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fsrcache.models.super_resolution.presets import RCANConfig


class RCAN(nn.Module):
    """Residual groups of channel-attention blocks, and an upsampler of pixel shuffles.

    Parameters
    ----------
    config
        Number and widths of the blocks.
    channels
        C, channels of the pictures.
    scale
        Factor of the enlargement, 3 or a power of 2.

    Attributes
    ----------
    mean
        fp32 ``[C]``: the training pictures' mean, which is subtracted and added again.
    """

    mean: Tensor

    def __init__(self, config: RCANConfig, channels: int, *, scale: int) -> None:
        super().__init__()
        features = config.features
        self.scale = scale
        self.register_buffer("mean", torch.zeros(channels))
        self.first = _convolution(channels, features)
        self.body = _Skip(*(_group(config) for _ in range(config.groups)), _convolution(features, features))
        self.upsampler = nn.Sequential()
        for factor in [3] if scale == 3 else [2] * (scale.bit_length() - 1):
            self.upsampler.extend([_convolution(features, factor**2 * features), nn.PixelShuffle(factor)])
        self.last = _convolution(features, channels)

    def forward(self, small: Tensor, scale: Fraction, side: int) -> Tensor:
        """Return pictures enlarged by the network's scale, their first ``side`` rows and columns.

        Parameters
        ----------
        small
            fp32 ``[B, C, s, s]``, 0..255.
        scale, side
            The scale, and the side S of the result, at most ``scale * s``; at another scale than the network's the
            enlarged picture is resized to S.

        Returns
        -------
        Tensor
            fp32 ``[B, C, S, S]``, 0..255 but for overshoots.
        """
        mean = self.mean[:, None, None]
        maps = self.first((small - mean) / 255)
        enlarged: Tensor = self.last(self.upsampler(self.body(maps))).float() * 255 + mean
        if scale != self.scale:  # a side that it does not divide, in the size form
            return interpolate(enlarged, (side, side), mode="bicubic", antialias=True)
        return enlarged[..., :side, :side]


class _Skip(nn.Module):
    """Layers with a skip around them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*layers)

    def forward(self, maps: Tensor) -> Tensor:
        residual: Tensor = self.inner(maps)
        return maps + residual


class _ChannelAttention(nn.Module):
    """Every channel times a weight from the averages of all channels."""

    def __init__(self, features: int, reduction: int) -> None:
        super().__init__()
        narrow = max(1, features // reduction)
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(features, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, features, 1),
            nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        weighted: Tensor = maps * self.weights(maps)  # [B, F, 1, 1]
        return weighted


def _group(config: RCANConfig) -> nn.Module:
    features = config.features
    blocks = (
        _Skip(
            _convolution(features, features), nn.ReLU(), _convolution(features, features),
            _ChannelAttention(features, config.reduction),
        )
        for _ in range(config.blocks)
    )  # fmt: skip
    return _Skip(*blocks, _convolution(features, features))


def _convolution(incoming: int, outgoing: int) -> nn.Conv2d:
    return nn.Conv2d(incoming, outgoing, 3, padding=1)
