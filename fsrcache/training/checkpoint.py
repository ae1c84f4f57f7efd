"""The state of a training on disk: tensors by name and one JSON record, in a safetensors file; nothing is pickled."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fsrcache.errors import FsrcacheError
from fsrcache.models.weights import read_weights, write_weights

KIND = "checkpoint"


def save_checkpoint(
    path: Path, record: Mapping[str, Any], *, modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer]
) -> None:
    """Write modules, the optimisers' moments and a record; the file appears whole or not at all.

    Parameters
    ----------
    path
        The file.
    record
        JSON values: what was being done, and how far it is.
    modules, optimisers
        By name; the same names restore them. Learning rates are not kept: they are functions of the step.
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}.{key}": tensor for key, tensor in module.state_dict().items()}
    for name, optimiser in optimisers.items():
        for index, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": torch.as_tensor(value) for key, value in moments.items()}
    write_weights(path, tensors, kind=KIND, record=record)


def load_checkpoint(
    path: Path, *, modules: Mapping[str, nn.Module], optimisers: Mapping[str, Optimizer]
) -> dict[str, Any]:
    """Restore modules and optimisers from a file, and return its record.

    Raises
    ------
    FsrcacheError
        If the file is missing or damaged, or holds another shape of network.
    """
    tensors, record = read_weights(path, kind=KIND)
    try:
        for name, module in modules.items():
            module.load_state_dict(_below(tensors, name))
        for name, optimiser in optimisers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _below(tensors, name).items():
                index, _, moment = key.partition(".")
                state.setdefault(int(index), {})[moment] = tensor
            optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    except (RuntimeError, ValueError, KeyError) as error:
        raise FsrcacheError(f"{path} does not fit: {error}.", "Remove it to begin again.") from None
    return record


def refuse_other_run(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise if a checkpoint was made under other settings, naming each that differs.

    Raises
    ------
    FsrcacheError
        With the settings, the kept and the wanted value of each.
    """
    kept, asked = dict(_leaves(found)), dict(_leaves(json.loads(json.dumps(wanted))))
    differing = [
        f"{key} is {kept.get(key)!r} there and {asked.get(key)!r} here"
        for key in sorted({*kept, *asked})
        if kept.get(key) != asked.get(key)
    ]
    if differing:
        raise FsrcacheError(
            f"{path} was made under other settings: {'; '.join(differing)}.",
            "Use the same settings to go on, another --name or --workspace to begin anew, or remove the file.",
        )


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def _leaves(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
