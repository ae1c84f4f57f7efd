"""Generators: the feature of a low-resolution face in, that of its full-resolution face out, both vech [B, P].

``RRDBGenerator`` is the paper's: residual-in-residual dense blocks on the symmetric matrix as a picture (Wang et al.,
"ESRGAN", ECCV Workshops 2018; arXiv 2004.02234, section III). ``MLPGenerator`` sees a vector: rows and columns of a
log-covariance have no neighbours, which a picture's convolutions take for granted.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import torch
from torch import Tensor, nn

from fsrcache.errors import FsrcacheError
from fsrcache.models.dense_block import DenseBlock
from fsrcache.models.weights import read_module, write_weights
from fsrcache.presets import MLPConfig, RRDBConfig, TrainConfig
from fsrcache.records import Between, Seed
from fsrcache.spd import unvech, vech, vech_side

KIND = "generator"
_SLOPE = 0.2  # of the leaky ReLU
_RESIDUAL = 0.2  # share of a block's result that is added to its input
_REMEDY = "It is damaged or of another version: train one with fsrcache train."


class GeneratorTraining(TypedDict):
    """How a generator was trained: what fixes its weights, and no more."""

    config: TrainConfig
    seed: Seed
    store: str
    device: str
    precision: Literal["fp32", "tf32", "bf16"]
    threads: Annotated[int, Between(0, 2**16)]
    plain: bool
    order: str
    steps: Annotated[int, Between(0, 10**8)]


class _Record(TypedDict):
    """What stands in a file beside the tensors."""

    config: RRDBConfig | MLPConfig
    length: Annotated[int, Between(1, 2**24)]
    training: GeneratorTraining


class RRDBGenerator(nn.Module):
    """Residual-in-residual dense blocks on ``1 x D x D`` pictures.

    Parameters
    ----------
    config
        Their number and widths.
    length
        P.
    plain
        Whether dense blocks concatenate, and channels lie apart on a CPU too.

    Raises
    ------
    FsrcacheError
        If the picture cannot be folded by ``unshuffle``.
    """

    def __init__(self, config: RRDBConfig, length: int, *, plain: bool = False) -> None:
        super().__init__()
        side = vech_side(length)
        if side % config.unshuffle:
            raise FsrcacheError(
                f"A {side} x {side} feature cannot be folded by {config.unshuffle}.", "Take a divisor of the side."
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
        """Return features of the form that comes in, vech [B, P] or pictures [B, 1, D, D]; they are symmetric."""
        pictures = unvech(features)[:, None] if features.ndim == 2 else features
        maps = self.first(self.fold(pictures))
        if not self.plain and maps.device.type == "cpu":  # as oneDNN's convolutions are fastest
            maps = maps.contiguous(memory_format=torch.channels_last)
        matrices = self.unfold(self.tail(maps + self.trunk(self.blocks(maps))))  # [B, 1, D, D]
        symmetric = (matrices + matrices.mT) / 2
        generated = vech(symmetric[:, 0]) if features.ndim == 2 else symmetric
        return features + generated if self.config.global_skip else generated


class MLPGenerator(nn.Module):
    """A residual on standardised vectors; at the beginning it returns its input.

    Parameters
    ----------
    config
        Its width and depth.
    length
        P.

    Attributes
    ----------
    mean, deviation
        fp32 [P], of the training features over all scales; 0 and 1 until ``standardise_by`` sets them.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: MLPConfig, length: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("deviation", torch.ones(length))
        self.members = nn.ModuleList(_member(config, length) for _ in range(config.members))

    def standardise_by(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the mean and the deviation, each [P]; a dimension that never varies gets the deviation 1."""
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 0, deviation, 1.0))

    def forward(self, features: Tensor) -> Tensor:
        """Return fp32 [B, P] of fp32 [B, P]."""
        standardised = (features - self.mean) / self.deviation
        if self.training and self.config.noise:
            standardised = standardised.add_(torch.randn_like(standardised), alpha=self.config.noise)
        if self.training:  # each on a share of the batch, so that they differ and a step costs what one member's does
            shares = standardised.tensor_split(len(self.members))
            residual = torch.cat([member(share) for member, share in zip(self.members, shares, strict=True)])
        else:
            residual = torch.stack([member(standardised) for member in self.members]).mean(0)
        return features + residual * self.deviation


def make_generator(config: RRDBConfig | MLPConfig, length: int, *, plain: bool = False) -> RRDBGenerator | MLPGenerator:
    """Return an untrained generator for features of length P, its weights drawn from torch's global random state.

    ``plain`` is the way in which it computes, slower and as defined; weights and files are the same.
    """
    if isinstance(config, RRDBConfig):
        return RRDBGenerator(config, length, plain=plain)
    return MLPGenerator(config, length)


def save_generator(
    path: Path, model: RRDBGenerator | MLPGenerator, *, length: int, training: Mapping[str, Any]
) -> None:
    """Write a generator as a file whose bytes depend on it alone; ``training`` is a ``GeneratorTraining`` as JSON."""
    record = {"config": asdict(model.config), "length": length, "training": training}
    write_weights(path, model.state_dict(), kind=KIND, record=record)


def load_generator(path: Path) -> tuple[RRDBGenerator | MLPGenerator, dict[str, Any]]:
    """Read a generator, in evaluation mode on the CPU, and how it was trained.

    Raises
    ------
    FsrcacheError
        If there is no file, or it is damaged, or it is none of ours.
    """
    model, _, written = read_module(
        path, _Record, lambda record: make_generator(record["config"], record["length"]),
        kind=KIND, layers=lambda record: _layers(record["config"]), remedy=_REMEDY,
    )  # fmt: skip
    return model, written["training"]


def _layers(config: RRDBConfig | MLPConfig) -> int:
    """Return how many layers with weights there are at least."""
    return config.members * (1 + config.blocks) if isinstance(config, MLPConfig) else 1 + config.blocks


def _member(config: MLPConfig, length: int) -> nn.Sequential:
    """Return what gives a residual [B, P] on standardised vectors [B, P]."""
    width = config.width
    return nn.Sequential(
        nn.Linear(length, width),
        *(_PreNormBlock(width, config.dropout) for _ in range(config.blocks)),
        nn.LayerNorm(width),
        _LowRank(width, length, config.rank) if config.rank else _zero(width, length),
    )


class _ResidualInResidual(nn.Module):
    """Three dense blocks with a skip around them."""

    def __init__(self, filters: int, growth: int, *, plain: bool) -> None:
        super().__init__()
        self.inner = nn.Sequential(*(DenseBlock(filters, growth, plain=plain) for _ in range(3)))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.add(maps, self.inner(maps), alpha=_RESIDUAL)


class _PreNormBlock(nn.Module):
    """Normalise, two linear layers, and add to what came in."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        residual: Tensor = self.inner(hidden)
        return hidden + residual


class _LowRank(nn.Module):
    """From a hidden vector, vech of ``U diag(a) U'``: ``U`` [D, R] and ``a`` [R], 0 at first, are linear in it."""

    def __init__(self, width: int, length: int, rank: int) -> None:
        super().__init__()
        self.shape = vech_side(length), rank
        self.columns = nn.Linear(width, vech_side(length) * rank)
        self.weights = _zero(width, rank)

    def forward(self, hidden: Tensor) -> Tensor:
        columns = self.columns(hidden).unflatten(1, self.shape)
        return vech((columns * self.weights(hidden)[:, None]) @ columns.mT)


def _zero(incoming: int, outgoing: int) -> nn.Linear:
    layer = nn.Linear(incoming, outgoing)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
