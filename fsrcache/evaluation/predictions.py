"""Predictions on disk: the probabilities of a predictor with one head on one split, computed once."""

import hashlib
import json
from collections.abc import Mapping
from os import PathLike
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.files import as_path
from fsrcache.models.weights import read_weights, write_weights
from fsrcache.records import value_from

KIND = "predictions"
VERSION = 1  # of how predictions are computed; another one has them computed again

Probabilities = dict[int, NDArray[np.float32]]  # by scale, each [n, K]


class _Record(TypedDict):
    """The JSON values beside the tensors."""

    source: Mapping[str, Any]
    content: str


def write_predictions(path: str | PathLike[str], probabilities: Probabilities, *, source: Mapping[str, Any]) -> None:
    """Write probabilities and what they depend on; the file appears whole or not at all.

    Parameters
    ----------
    path
        The file.
    probabilities
        fp32 [n, K] by scale.
    source
        JSON values on which the probabilities depend.

    Raises
    ------
    FsrcacheError
        If the file cannot be written.
    """
    tensors = {f"x{scale}": torch.from_numpy(values) for scale, values in probabilities.items()}
    record = {"source": {"version": VERSION, **source}, "content": _content(tensors)}
    write_weights(path, tensors, kind=KIND, record=record)


def read_predictions(
    path: str | PathLike[str], *, source: Mapping[str, Any], scales: tuple[int, ...], shape: tuple[int, int]
) -> Probabilities | None:
    """Return the probabilities by scale that a file holds; None where there is no file, or one from another source.

    Parameters
    ----------
    path
        The file.
    source
        JSON values on which the probabilities depend.
    scales, shape
        The scales, and (n, K).

    Raises
    ------
    FsrcacheError
        If the file is damaged.
    """
    path = as_path(path)
    if not path.exists():
        return None
    tensors, written = read_weights(path, kind=KIND)
    record = value_from(_Record, written, where=path)
    if _canonical(record["source"]) != _canonical({"version": VERSION, **source}):
        return None
    names = {scale: f"x{scale}" for scale in scales}
    fits = set(tensors) == set(names.values()) and all(
        (tuple(one.shape), one.dtype) == (shape, torch.float32) for one in tensors.values()
    )
    if not fits or record["content"] != _content(tensors):
        raise FsrcacheError(f"{path} is damaged: its tensors are not those that were written.", "Remove it.")
    return {scale: tensors[name].numpy() for scale, name in names.items()}


def _canonical(source: Mapping[str, Any]) -> str:
    return json.dumps(source, sort_keys=True)


def _content(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the hexadecimal SHA-256 of tensors by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
