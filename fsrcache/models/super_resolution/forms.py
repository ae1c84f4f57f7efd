"""Both image super-resolvers: makes one from its settings, writes it to a file and reads it back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from torch import nn

from fsrcache.errors import RequestError
from fsrcache.models.super_resolution.meta_sr import MetaSR
from fsrcache.models.super_resolution.presets import MetaSRConfig, RCANConfig, SuperResolutionConfig
from fsrcache.models.super_resolution.rcan import RCAN
from fsrcache.models.weights import read_module, write_weights
from fsrcache.records import Between, Seed, Threads

KIND = "super-resolver"
_REMEDY = "It is damaged or of another version: train the row again."


class _Continued(TypedDict, total=False):
    """What stands in the record of a training that went on under another number of threads."""

    earlier_threads: tuple[Threads, ...]


class SuperResolverTraining(_Continued):
    """How a super-resolver was trained: what fixes its weights, and no more.

    Attributes
    ----------
    config, seed
        Settings and random seed of the training.
    scales
        Scales that it was trained on.
    degradation
        A ``Degradation`` as JSON values.
    data, pictures
        Digest of the training pictures, and whether they were others than the store's faces.
    start
        Digest of the network whose weights it started from; empty where they were random.
    """

    config: SuperResolutionConfig
    seed: Seed
    scales: tuple[float, ...]
    degradation: Mapping[str, Any]
    data: str
    pictures: bool
    start: str
    precision: str
    threads: Threads


class _Record(TypedDict):
    """The record beside the tensors of a file; the scale is that of a network for one scale."""

    channels: Annotated[int, Between(1, 3)]
    scale: Annotated[int, Between(2, 16)] | None
    training: SuperResolverTraining


def make_super_resolver(
    config: RCANConfig | MetaSRConfig, *, channels: int, scale: int | None = None, seed: int = 0
) -> nn.Module:
    """Return an untrained super-resolver.

    Parameters
    ----------
    config
        Settings of the network.
    channels
        Channels of the pictures, 1 or 3.
    scale
        Factor of an RCAN's enlargement; None for a Meta-SR.
    seed
        Random seed of the weights.

    Raises
    ------
    RequestError
        If an RCAN is to have no scale.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if isinstance(config, MetaSRConfig):
            return MetaSR(config, channels)
        if scale is None:
            raise RequestError("An RCAN without a scale was asked for.", "It enlarges by one factor: name it.")
        return RCAN(config, channels, scale=scale)


def save_super_resolver(path: Path, network: nn.Module, *, training: Mapping[str, Any]) -> None:
    """Write a super-resolver; ``training`` is a ``SuperResolverTraining`` as JSON values."""
    record = {
        "channels": len(network.get_buffer("mean")),
        "scale": getattr(network, "scale", None),
        "training": training,
    }
    write_weights(path, network.state_dict(), kind=KIND, record=record)


def load_super_resolver(path: Path) -> tuple[nn.Module, SuperResolverTraining]:
    """Read a super-resolver, in evaluation mode on the CPU, and how it was trained.

    Raises
    ------
    FsrcacheError
        If there is no file, or it is damaged, or it is none of ours.
    """

    def make(record: _Record) -> nn.Module:
        network = record["training"]["config"].network
        return make_super_resolver(network, channels=record["channels"], scale=record["scale"])

    network, record, _ = read_module(path, _Record, make, kind=KIND, layers=_layers, remedy=_REMEDY)
    training: SuperResolverTraining = record["training"]
    return network, training


def _layers(record: _Record) -> int:
    """Return the least number of layers."""
    network = record["training"]["config"].network
    return network.blocks * (network.layers if isinstance(network, MetaSRConfig) else network.groups)
