"""Reads the tensors of a TensorFlow checkpoint, ``PREFIX.index`` and ``PREFIX.data-00000-of-00001``, without it.

The index is a sorted table of strings as LevelDB writes it: blocks of keys with common prefixes left out, each with its
checksum, and a footer that says where the last of them, the blocks' own index, lies. Its values are protocol buffers:
under the empty key the bundle's header, under a tensor's name its type, shape and bytes in the data file. Nothing is
unpickled or run, and every length is compared with what is there.

Source: TensorFlow's tensor_bundle.proto and table_format.txt.
"""

import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.files import as_path, open_regular, read_regular
from fsrcache.records import shortened
from fsrcache.store.shard import crc32c

_MOST_BYTES = 1 << 26  # of an index: a name and some numbers for each tensor
_LONGEST_NAME, _LARGEST_AXIS = 4096, 1 << 31
_FOOTER, _MAGIC = 48, 0xDB4775248B80FB57
_TRAILER = 5  # of a block: its compression and its checksum
_FLOAT = 1  # DT_FLOAT
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers
_Fields = Mapping[int, list[int | bytes]]


@dataclass(frozen=True)
class BundleTensor:
    """A tensor of a checkpoint.

    Attributes
    ----------
    shape
        Its dimensions.
    dtype
        TensorFlow's number of its type; 1 is fp32.
    offset, size
        Bytes in the data file.
    checksum
        Masked CRC-32C of the bytes.
    """

    shape: tuple[int, ...]
    dtype: int
    offset: int
    size: int
    checksum: int


class _DamagedError(Exception):
    """Says what is wrong with an index."""


def bundle_tensors(prefix: str | PathLike[str]) -> dict[str, BundleTensor]:
    """Return what a checkpoint holds, by name.

    Parameters
    ----------
    prefix
        Path of the checkpoint without ``.index``.

    Raises
    ------
    FsrcacheError
        If there is no index, or it is damaged, compressed, or of several data files.
    """
    path = _index(prefix)
    try:
        data = read_regular(path, most=_MOST_BYTES)
    except FileNotFoundError:
        raise FsrcacheError(
            f"There is no TensorFlow checkpoint at {path}.", "Name it without .index, such as model.ckpt-1000."
        ) from None
    try:
        entries = dict(_entries(data))
        header = _fields(entries.pop("", b""))
        if _number(header, 1) != 1 or _number(header, 2) != 0:
            raise _DamagedError("it is of several data files, or of a big-endian machine")
        return {name: _tensor(value) for name, value in entries.items()}
    except (_DamagedError, struct.error, IndexError, UnicodeDecodeError) as error:
        raise FsrcacheError(f"{path} is no index of a TensorFlow checkpoint: {error}.", "Copy it again.") from None


def refuse_missing_bytes(prefix: str | PathLike[str], tensors: Mapping[str, BundleTensor]) -> None:
    """Refuse tensors of a checkpoint whose data file has too few bytes for them all, before anything has their shapes.

    Raises
    ------
    FsrcacheError
        If it has, or there is none, or a tensor is of another type than fp32 or of another size than its shape says.
    """
    for name, tensor in tensors.items():
        _check_form(prefix, name, tensor)
    path, needed = _data(prefix), sum(tensor.size for tensor in tensors.values())
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
    if size < needed:
        raise FsrcacheError(
            f"{path} is damaged: it has {size:,} bytes, and tensors of its index take {needed:,}.", "Copy it again."
        )


def read_tensor(prefix: str | PathLike[str], name: str, tensor: BundleTensor) -> NDArray[np.float32]:
    """Return a tensor of a checkpoint, fp32.

    Raises
    ------
    FsrcacheError
        If it is of another type, or its bytes are missing or damaged.
    """
    _check_form(prefix, name, tensor)
    path = _data(prefix)
    with _opened(path) as file:
        there = tensor.offset + tensor.size <= os.fstat(file.fileno()).st_size
        if there:
            file.seek(tensor.offset)
        data = file.read(tensor.size) if there else b""
    if len(data) != tensor.size or _masked(crc32c(data)) != tensor.checksum:
        raise FsrcacheError(
            f"{path} is damaged: the bytes of {name} are not those that were written.", "Copy it again."
        )
    return np.frombuffer(data, "<f4").reshape(tensor.shape).astype(np.float32)


def _check_form(prefix: str | PathLike[str], name: str, tensor: BundleTensor) -> None:
    whole = tensor.size == 4 * math.prod(tensor.shape) and max(tensor.shape, default=0) <= _LARGEST_AXIS
    if tensor.dtype != _FLOAT or not whole:
        raise FsrcacheError(
            f"{name} in {_data(prefix)} is no fp32 tensor of shape {list(tensor.shape)}.", "Name another file."
        )


def _data(prefix: str | PathLike[str]) -> Path:
    return _index(prefix).with_suffix(".data-00000-of-00001")


def _opened(path: Path) -> IO[bytes]:
    try:
        return open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        raise FsrcacheError(f"There is no {path}.", "Copy it beside its index.") from None


def _index(prefix: str | PathLike[str]) -> Path:
    path = as_path(prefix, name="prefix")
    if not path.name:
        raise RequestError(f"prefix is {shortened(str(path))}.", "Name it without .index, such as model.ckpt-1000.")
    return path.with_name(f"{path.name.removesuffix('.index')}.index")


def _entries(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the keys and values of a table."""
    if len(data) < _FOOTER or struct.unpack("<Q", data[-8:])[0] != _MAGIC:
        raise _DamagedError("its last bytes are not a table's")
    footer = data[-_FOOTER:]
    _, at = _handle(footer, 0)  # of the table's own properties
    index, _ = _handle(footer, at)
    for _, value in _block(data, *index):
        block, _ = _handle(value, 0)
        for key, found in _block(data, *block):
            yield key.decode(), found


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block."""
    whole = data[offset : offset + size + _TRAILER]
    if len(whole) != size + _TRAILER:
        raise _DamagedError("a block is beyond its end")
    compression, checksum = struct.unpack("<BI", whole[size:])
    if _masked(crc32c(whole[: size + 1])) != checksum:
        raise _DamagedError("a block's checksum is another")
    if compression:
        raise _DamagedError("it is compressed, which TensorFlow's own are not")
    block = whole[:size]
    (restarts,) = struct.unpack("<I", block[-4:])
    end, at, key = size - 4 * (restarts + 1), 0, b""
    if end < 0:
        raise _DamagedError("a block has more restarts than bytes")
    while at < end:
        (shared, at), (rest, at), (length, at) = _varints(block, at)
        if shared > len(key) or at + rest + length > end:
            raise _DamagedError("an entry is beyond its block")
        if shared + rest > _LONGEST_NAME:  # an entry of some bytes repeats all of the name before it
            raise _DamagedError(f"a name has more than {_LONGEST_NAME:,} bytes")
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + length]
        at += rest + length


def _varints(data: bytes, at: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    first = _varint(data, at)
    second = _varint(data, first[1])
    return first, second, _varint(data, second[1])


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and where the next begins."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _DamagedError("a number has no end")


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Return a block's offset and size, and where the next begins."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _fields(message: bytes) -> _Fields:
    """Return the fields of a protocol buffer by number, each as often as it stands there."""
    fields: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | bytes
        if tag & 7 == _VARINT:
            value, at = _varint(message, at)
        elif tag & 7 in (_FIXED32, _FIXED64):
            code, size = ("<I", 4) if tag & 7 == _FIXED32 else ("<Q", 8)
            (value,) = struct.unpack_from(code, message, at)
            at += size
        elif tag & 7 == _BYTES:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
            if at > len(message):
                raise _DamagedError("a field is beyond its message")
        else:
            raise _DamagedError(f"a field is of the wire type {tag & 7}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(fields: _Fields, field: int) -> int:
    value = fields.get(field, [0])[-1]
    if not isinstance(value, int):
        raise _DamagedError(f"field {field} is no number")
    return value


def _tensor(message: bytes) -> BundleTensor:
    fields = _fields(message)
    shape: list[int] = []
    for part in fields.get(2, []):
        dimensions = _fields(part).get(2, []) if isinstance(part, bytes) else []
        shape += [_number(_fields(one), 1) for one in dimensions if isinstance(one, bytes)]
    if _number(fields, 3) or 7 in fields:
        raise _DamagedError("a tensor is in slices, or in another data file")
    return BundleTensor(tuple(shape), *(_number(fields, number) for number in (1, 4, 5, 6)))


def _masked(checksum: int) -> int:
    """Return a CRC-32C as LevelDB stores it."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
