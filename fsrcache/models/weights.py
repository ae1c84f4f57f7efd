"""Weights as safetensors files whose bytes depend on their content alone.

The metadata are one key, ``fsrcache``, holding canonical JSON: ``{"kind": ..., ...record}``, keys sorted, no spaces.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fsrcache.errors import FsrcacheError

_KEY = "fsrcache"


def write_weights(path: Path, tensors: Mapping[str, torch.Tensor], *, kind: str, record: Mapping[str, Any]) -> None:
    """Write tensors and a record; the file appears whole or not at all.

    Parameters
    ----------
    path
        The file; its folder is made where it is missing.
    tensors
        By name.
    kind
        What the file is, asked for again when it is read.
    record
        JSON values about the tensors.

    Raises
    ------
    FsrcacheError
        If the file cannot be written.
    """
    text = json.dumps({**record, "kind": kind}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with _whole(path) as partial:
        save_file(ready, partial, {_KEY: text})  # which makes no copy of them


def read_weights(path: Path, *, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read tensors, on the CPU, and their record.

    Raises
    ------
    FsrcacheError
        If there is no file, or it is damaged, or not of this kind.
    """
    if not path.is_file():
        raise FsrcacheError(f"There is no {kind} at {path}.", "Check the path, or make one first.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  a file, not a mapping
    except (SafetensorError, OSError, RuntimeError) as error:  # the last is torch's, which maps the file
        raise FsrcacheError(
            f"{path} cannot be read: {error}.", "It is damaged or no safetensors file; make it anew."
        ) from error
    try:
        record = json.loads(metadata[_KEY])
        found = record.pop("kind")
    except (KeyError, ValueError, TypeError, AttributeError):
        raise FsrcacheError(
            f"{path} holds weights that fsrcache did not write.", f"An {kind} file of fsrcache's is needed."
        ) from None
    if found != kind:
        raise FsrcacheError(f"{path} holds a {found}, not a {kind}.", f"Name a {kind} file.")
    return tensors, record


def file_digest(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the machine stops.

    Raises
    ------
    FsrcacheError
        If it cannot be written.
    """
    with _whole(path) as partial:
        partial.write_bytes(data)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield where to write a file, which gets its name once it is written down."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            partial.unlink()
        said = error.strerror if isinstance(error, OSError) else error
        raise FsrcacheError(f"{path} cannot be written: {said}.", "Check the folder and the space left.") from error


def sync_folder(path: Path) -> None:
    """Have the names in a folder written down, where the system can."""
    with suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
