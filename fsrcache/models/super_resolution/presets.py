"""The settings of image super-resolvers: the published sizes, and small ones that two cores train within an hour."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal

from fsrcache.records import Between, check_fields

_Width = Annotated[int, Between(1, 4096)]
_Layers = Annotated[int, Between(1, 100)]


@dataclass(frozen=True, kw_only=True)
class RCANConfig:
    """The shape of an RCAN, by default the published one.

    Attributes
    ----------
    form
        Its name in records.
    groups, blocks
        Residual groups, and channel-attention blocks in each.
    features
        Channels between convolutions.
    reduction
        Factor by which channel attention narrows the channels.
    """

    form: Literal["rcan"] = "rcan"
    groups: _Layers = 10
    blocks: _Layers = 20
    features: _Width = 64
    reduction: _Width = 16

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class MetaSRConfig:
    """The shape of a Meta-SR with its residual dense backbone, by default the published one.

    Attributes
    ----------
    form
        Its name in records.
    blocks, layers
        Residual dense blocks, and 3x3 convolutions in each.
    growth
        Channels that each of these convolutions adds.
    features
        Channels between blocks.
    hidden
        Width of the hidden layer that predicts the filters.
    """

    form: Literal["meta-sr"] = "meta-sr"
    blocks: _Layers = 16
    layers: _Layers = 8
    growth: _Width = 64
    features: _Width = 64
    hidden: _Width = 256

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class SuperResolutionConfig:
    """The training of an image super-resolver: L1, Adam, the rate halved after every fifth of the steps.

    Attributes
    ----------
    network
        The network.
    steps, batch
        Steps, and pictures a step.
    patch
        Side of the small patches in pixels; of a smaller picture all is seen.
    learning_rate
        Learning rate of the first fifth.
    """

    network: RCANConfig | MetaSRConfig
    steps: Annotated[int, Between(1, 10**8)] = 1_000_000
    batch: Annotated[int, Between(1, 2**16)] = 16
    patch: Annotated[int, Between(1, 2048)] = 48
    learning_rate: Annotated[float, Between(0, 1e38)] = 1e-4

    def __post_init__(self) -> None:
        check_fields(self)


# published: Zhang et al., ECCV 2018, and Hu et al., CVPR 2019. small: 48x48 faces on two CPU cores.
RCAN: Mapping[str, SuperResolutionConfig] = MappingProxyType(
    {
        "small": SuperResolutionConfig(
            network=RCANConfig(groups=3, blocks=4, features=32, reduction=8), steps=4_000, learning_rate=1e-3
        ),
        "published": SuperResolutionConfig(network=RCANConfig()),
    }
)
META_SR: Mapping[str, SuperResolutionConfig] = MappingProxyType(
    {
        "small": SuperResolutionConfig(
            network=MetaSRConfig(blocks=4, layers=4, growth=16, features=32, hidden=128),
            steps=6_000, patch=50, learning_rate=1e-3,
        ),
        "published": SuperResolutionConfig(network=MetaSRConfig(), patch=50),
    }
)  # fmt: skip
