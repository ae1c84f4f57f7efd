"""Weights as safetensors files whose bytes depend on their content alone.

The metadata are one key, ``fsrcache``, holding canonical JSON: ``{"kind": ..., ...record}``, keys sorted, no spaces. A
network is read only after its record, and after the names, types and shapes of its tensors were found to be those that
the record says: a file takes no more memory than it has bytes.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fsrcache.errors import FsrcacheError
from fsrcache.files import as_path, whole_file
from fsrcache.records import parse_json, shortened, value_from

_KEY = "fsrcache"
_DTYPES = {torch.float32: "F32", torch.int64: "I64"}  # of networks, as safetensors names them
_LISTED = 3  # tensors that an error names

Module = TypeVar("Module", bound=torch.nn.Module)
Shapes = dict[str, tuple[str, list[int]]]  # of tensors by name, with their types


class _Opened(NamedTuple):
    """A file whose header was read: the record beside the tensors, and the tensors."""

    path: Path
    kind: str
    record: dict[str, Any]
    file: Any  # safetensors' own

    def shapes(self) -> Shapes:
        slices = {name: self.file.get_slice(name) for name in self.file.keys()}  # noqa: SIM118  a file, not a mapping
        return {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        with _reading(self.path):
            return {name: self.file.get_tensor(name) for name in self.file.keys()}  # noqa: SIM118


def write_weights(
    path: str | PathLike[str], tensors: Mapping[str, torch.Tensor], *, kind: str, record: Mapping[str, Any]
) -> None:
    """Write tensors and a record; the file appears whole or not at all.

    Parameters
    ----------
    path
        The file; its folder is made where it is missing.
    tensors
        Tensors by name; those that share memory are written each for itself.
    kind
        Kind of the file, to be named again when it is read.
    record
        JSON values about the tensors.

    Raises
    ------
    FsrcacheError
        If the file cannot be written.
    """
    text = json.dumps({**record, "kind": kind}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    ready: dict[str, torch.Tensor] = {}
    memory: set[int] = set()
    for name, tensor in tensors.items():
        one = tensor.detach().cpu().contiguous()
        if one.untyped_storage().data_ptr() in memory:  # safetensors refuses it
            one = one.clone()
        memory.add(one.untyped_storage().data_ptr())
        ready[name] = one
    with whole_file(path) as partial:
        try:
            save_file(ready, partial, {_KEY: text})  # which makes no copy of them
        except SafetensorError as error:
            raise OSError(str(error)) from error


def kind_of(path: str | PathLike[str], *, wanted: str) -> str:
    """Return what a file is; the errors are those of ``read_weights`` with the kind ``wanted``."""
    return _open(path, wanted, any_kind=True).kind


def read_weights(path: str | PathLike[str], *, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read tensors, on the CPU, and their record.

    Raises
    ------
    FsrcacheError
        If there is no file, or it is damaged, or not of this kind.
    """
    opened = _open(path, kind)
    return opened.tensors(), opened.record


def read_record(path: str | PathLike[str], *, kind: str) -> dict[str, Any]:
    """Read the record alone, and no tensor; the errors are those of ``read_weights``."""
    return _open(path, kind).record


def read_module(
    path: str | PathLike[str],
    form: Any,
    make: Callable[[Any], Module],
    *,
    kind: str,
    layers: Callable[[Any], int],
    remedy: str,
) -> tuple[Module, Any, dict[str, Any]]:
    """Read a network, in evaluation mode on the CPU, and its record, as a checked value and as it was written.

    Parameters
    ----------
    path
        The file.
    form
        Annotation of its record, as for ``fsrcache.records.value_from``.
    make
        Function of the checked record that returns the network, whose state is the file's tensors.
    kind
        Kind of the file.
    layers
        Function of the checked record that returns the least number of layers, each with a tensor of its own.
    remedy
        Remedy of the error about a file that is none.

    Raises
    ------
    FsrcacheError
        If there is no file, or it is damaged, not of this kind, or its tensors are not those of its record.
    """
    path = as_path(path)
    opened = _open(path, kind)
    record, shapes = value_from(form, opened.record, where=path, remedy=remedy), opened.shapes()
    if layers(record) > len(shapes):
        raise FsrcacheError(
            f"{path} holds {len(shapes):,} tensors, and its record asks for {layers(record):,} layers.", remedy
        )
    try:
        with torch.device("meta"):  # takes no memory
            module = make(record)
    except (FsrcacheError, RuntimeError) as error:
        reason = error.what if isinstance(error, FsrcacheError) else str(error).splitlines()[0]
        raise FsrcacheError(f"{path}: {reason}", remedy) from None
    wanted = {name: (_DTYPES.get(one.dtype, "?"), list(one.shape)) for name, one in module.state_dict().items()}
    differing = [name for name in sorted({*wanted, *shapes}) if wanted.get(name) != shapes.get(name)]
    if differing:
        listed = "; ".join(
            f"{shortened(name)[1:-1]} is {_words(shapes.get(name))} there and {_words(wanted.get(name))} in its record"
            for name in differing[:_LISTED]
        )
        more = f"; and {len(differing) - _LISTED:,} more" if len(differing) > _LISTED else ""
        raise FsrcacheError(f"{path}: its tensors are not those of its record: {listed}{more}.", remedy)
    tensors = opened.tensors()
    state = {  # in the module's own memory format; to_empty() would import PyTorch's compiler
        name: torch.empty_strided(one.shape, one.stride(), dtype=one.dtype).copy_(tensors[name])
        for name, one in module.state_dict().items()
    }
    module.load_state_dict(state, assign=True)
    return module.eval(), record, opened.record


def file_digest(path: str | PathLike[str]) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with as_path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(path: str | PathLike[str], kind: str, *, any_kind: bool = False) -> _Opened:
    """Read a file's header; a file of another kind is refused unless any will do."""
    path = as_path(path)
    if not path.is_file():
        there = "; something else stands there" if path.exists() else ""
        raise FsrcacheError(f"There is no {kind} at {path}{there}.", "Check the path, or make one first.")
    with _reading(path):
        file = safe_open(path, framework="pt")
        metadata: dict[str, str] = file.metadata() or {}  # type: ignore[no-untyped-call]
    record = parse_json(metadata[_KEY], where=path) if _KEY in metadata else None
    if not isinstance(record, dict) or not isinstance(written := record.pop("kind", None), str):
        raise FsrcacheError(
            f"{path} holds weights that fsrcache did not write.",
            f"A file of fsrcache's of the kind {kind!r} is needed.",
        )
    if written != kind and not any_kind:
        raise FsrcacheError(
            f"{path} is a file of the kind {shortened(written)[1:-1]!r}.", f"One of the kind {kind!r} is needed."
        )
    return _Opened(path, written, record, file)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, RuntimeError) as error:  # the last is torch's, which maps the file
        raise FsrcacheError(
            f"{path} cannot be read: {error}.", "It is damaged or no safetensors file; make it anew."
        ) from error


def _words(shape: tuple[str, list[int]] | None) -> str:
    return "missing" if shape is None else f"{shape[0]} {shape[1]}"
