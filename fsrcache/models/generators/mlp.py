"""A residual on the standardised feature vector: rows and columns of a log-covariance have no neighbours.

It reads the early features beside the feature, where there are any: what of the face the coarse feature has lost. On
triangles of symmetric matrices the residual is vech of ``U diag(a) U'`` for a rank R > 0. On plain vectors it is
``V a``, with ``V`` [P, R] learnt for all samples. Rank 0 is a linear layer.
"""

import torch
from torch import Tensor, nn

from fsrcache.errors import FsrcacheError
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.form import GeneratorForm
from fsrcache.presets import MLPConfig
from fsrcache.spd import vech

_LEAST = 2.0**-14  # the least normal number of half precision, in which features are kept and models exported


class MLPGenerator(nn.Module):
    """A residual on standardised vectors; at the beginning it returns its input.

    Parameters
    ----------
    config
        Width, depth and output of the network.
    form
        Length P of the features, their side D where they are triangles of symmetric matrices, and length Q of the early
        features.

    Attributes
    ----------
    early
        Q, the number of early values that it reads.
    mean, deviation
        fp32 [P + Q], of the training features over all scales, and of the early ones; 0 and 1 until ``standardise_by``
        sets them.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: MLPConfig, form: FeatureForm) -> None:
        super().__init__()
        self.config, self.early = config, form.early if config.early else 0
        self.register_buffer("mean", torch.zeros(form.length + self.early))
        self.register_buffer("deviation", torch.ones(form.length + self.early))
        self.members = nn.ModuleList(_member(config, form) for _ in range(config.members))

    def standardise_by(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the mean and the deviation, each [P + Q]; a dimension that hardly varies gets the deviation 1.

        Values of early features that are not read may follow.
        """
        read = len(self.mean)
        self.mean.copy_(mean[:read])
        self.deviation.copy_(torch.where(deviation > _LEAST, deviation, 1.0)[:read])

    def keep(self, number: int) -> None:
        """Drop all members but one."""
        self.members = self.members[number : number + 1]

    def forward(self, features: Tensor, early: Tensor | None = None) -> Tensor:
        """Return fp32 [B, P] of fp32 [B, P] and early features fp32 [B, Q].

        Raises
        ------
        FsrcacheError
            If there are more or fewer early features than it reads.
        """
        read = features if early is None else torch.cat([features, early], 1)
        if read.shape[1] != len(self.mean):
            raise FsrcacheError(
                f"The generator reads {self.early:,} early features beside {len(self.mean) - self.early:,} values of a "
                f"feature; there are {0 if early is None else early.shape[1]:,} beside {features.shape[1]:,}.",
                "Give it what the extractor that it was trained for returns: features and early.",
            )
        standardised = (read - self.mean) / self.deviation
        if self.training and self.config.noise:
            standardised = standardised.add_(torch.randn_like(standardised), alpha=self.config.noise)
        if self.training:  # each on a share of the batch, so that they differ and a step costs what one member's does
            shares = standardised.tensor_split(len(self.members))
            residual = torch.cat([member(share) for member, share in zip(self.members, shares, strict=True)])
        else:
            residual = torch.stack([member(standardised) for member in self.members]).mean(0)
        return features + residual * self.deviation[: features.shape[1]]


def _member(config: MLPConfig, form: FeatureForm) -> nn.Sequential:
    """Return a network from standardised vectors [B, P + Q] to residuals [B, P]."""
    width = config.width
    return nn.Sequential(
        nn.Linear(form.length + (form.early if config.early else 0), width),
        *(_PreNormBlock(width, config.dropout) for _ in range(config.blocks)),
        nn.LayerNorm(width),
        _output(config, form),
    )


def _output(config: MLPConfig, form: FeatureForm) -> nn.Module:
    """Return the last layer, from hidden vectors to residuals, which are 0 at first."""
    if not config.rank:
        return _zero(config.width, form.length)
    if form.side is None:
        return nn.Sequential(_zero(config.width, config.rank), nn.Linear(config.rank, form.length, bias=False))
    return _LowRank(config.width, form.side, config.rank)


class _PreNormBlock(nn.Module):
    """A norm, two linear layers, and a skip around them."""

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

    def __init__(self, width: int, side: int, rank: int) -> None:
        super().__init__()
        self.shape = side, rank
        self.columns = nn.Linear(width, side * rank)
        self.weights = _zero(width, rank)

    def forward(self, hidden: Tensor) -> Tensor:
        columns = self.columns(hidden).unflatten(1, self.shape)
        return vech((columns * self.weights(hidden)[:, None]) @ columns.mT)


def _zero(incoming: int, outgoing: int) -> nn.Linear:
    layer = nn.Linear(incoming, outgoing)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


FORM = GeneratorForm(
    config=MLPConfig,
    make=lambda config, form, plain: MLPGenerator(config, form),  # noqa: ARG005  there is one way to compute it
    layers=lambda config: config.members * (1 + config.blocks),
    vectors=True,
    standardise=MLPGenerator.standardise_by,
)
