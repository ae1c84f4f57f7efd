"""Residual-in-residual dense blocks on the symmetric matrix as a picture: the paper's generator.

Source: Wang et al., "ESRGAN", ECCV Workshops 2018; arXiv 2004.02234, section III.
"""

import torch
from torch import Tensor, nn

from fsrcache.errors import RequestError
from fsrcache.models.dense_block import DenseBlock
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.form import GeneratorForm
from fsrcache.presets import RRDBConfig
from fsrcache.spd import unvech, vech

_SLOPE = 0.2  # of the leaky ReLU
_RESIDUAL = 0.2  # share of a block's result that is added to its input


class RRDBGenerator(nn.Module):
    """Residual-in-residual dense blocks on ``1 x D x D`` pictures.

    Parameters
    ----------
    config
        Number and widths of the blocks.
    side
        D.
    plain
        Whether dense blocks concatenate, and channels lie apart on a CPU too.

    Raises
    ------
    RequestError
        If the picture cannot be folded by ``unshuffle``.
    """

    def __init__(self, config: RRDBConfig, side: int, *, plain: bool = False) -> None:
        super().__init__()
        if side % config.unshuffle:
            raise RequestError(
                f"A {side} x {side} feature cannot be folded by {config.unshuffle}.",
                "Set generator.unshuffle to a divisor of the side.",
            )
        self.config, self.plain = config, plain
        folded, filters = config.unshuffle**2, config.filters
        self.fold = nn.PixelUnshuffle(config.unshuffle)
        self.first = nn.Conv2d(folded, filters, 3, padding=1)
        self.blocks = nn.Sequential(
            *(_ResidualInResidual(filters, config.growth, plain=plain) for _ in range(config.blocks))
        )
        self.trunk = nn.Conv2d(filters, filters, 3, padding=1)
        before, after = (config.tail_kernel - 1) // 2, config.tail_kernel // 2
        self.tail = nn.Sequential(
            nn.ZeroPad2d((before, after, before, after)),
            nn.Conv2d(filters, filters, config.tail_kernel),
            nn.LeakyReLU(_SLOPE),
            nn.ZeroPad2d((before, after, before, after)),
            nn.Conv2d(filters, folded, config.tail_kernel),
        )
        self.unfold = nn.PixelShuffle(config.unshuffle)
        last = self.tail[-1]
        if config.global_skip and isinstance(last, nn.Conv2d):
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the form of the input, vech [B, P] or pictures [B, 1, D, D]; they are symmetric."""
        pictures = unvech(features)[:, None] if features.ndim == 2 else features
        maps = self.first(self.fold(pictures))
        if not self.plain and maps.device.type == "cpu":  # as oneDNN's convolutions are fastest
            maps = maps.contiguous(memory_format=torch.channels_last)
        matrices = self.unfold(self.tail(maps + self.trunk(self.blocks(maps))))  # [B, 1, D, D]
        symmetric = (matrices + matrices.mT) / 2
        generated = vech(symmetric[:, 0]) if features.ndim == 2 else symmetric
        return features + generated if self.config.global_skip else generated


class _ResidualInResidual(nn.Module):
    """Three dense blocks with a skip around them."""

    def __init__(self, filters: int, growth: int, *, plain: bool) -> None:
        super().__init__()
        self.inner = nn.Sequential(*(DenseBlock(filters, growth, plain=plain) for _ in range(3)))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.add(maps, self.inner(maps), alpha=_RESIDUAL)


def _make(config: RRDBConfig, form: FeatureForm, plain: bool) -> RRDBGenerator:
    assert form.side is not None
    return RRDBGenerator(config, form.side, plain=plain)


FORM = GeneratorForm(
    config=RRDBConfig, make=_make, layers=lambda config: 1 + config.blocks, vectors=False, pictures=True
)
