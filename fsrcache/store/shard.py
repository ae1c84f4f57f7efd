"""The bytes of a store's files: uncompressed rows, a CRC-32C after each chunk, in a shard a seal and the index.

A shard of chunks of ``c`` bytes is ``(rows, crc32c) * m, checksums, digest, seal, index, crc32c of the index``: chunk
``i`` begins at ``i (c + 4)``. The checksums are those of the chunks once more, u4, in their order. The digest (BLAKE2b,
16 bytes) is of all chunks, the seal (the same) of the file's key, the checksums and the digest: the root keeps the
seals, so a few bytes of a shard tell what must stand where in it, and a chunk that is read alone is known in its own
place alone. They lie in a gap that Zarr's index does not speak of, so that whoever completes a store need not read what
others wrote. The last chunk is filled up with zeros; chunks beyond the last row are not there, which the index says as
Zarr has it, by all bits set, and the checksums by 0.
"""

import struct
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Literal

import fastcrc
import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError, Remedy, call
from fsrcache.store.layout import CRC_BYTES, DIGEST_BYTES, MOST_LETTERS, MOST_ROOM, ArrayLayout, digest

_ABSENT = 2**64 - 1

Damage = Literal["short", "corrupt", "not_finite"]


class DamagedError(Exception):
    """A file is not what it was written as.

    Parameters
    ----------
    kind
        ``short`` (or too long), ``corrupt``, or ``not_finite``.
    """

    def __init__(self, kind: Damage) -> None:
        super().__init__(f"it is {kind.replace('_', ' ')}")
        self.kind = kind


def encode(array: ArrayLayout, values: Any, *, block: int) -> bytes | bytearray:
    """Return the bytes of a block's file for its rows [rows, ...]."""
    if array.dtype == "string":
        texts = bytearray(struct.pack("<I", len(values)))
        for value in values:
            text = name_bytes(value)
            texts += struct.pack("<I", len(text)) + text
        return texts + struct.pack("<I", crc32c(texts))
    kind = np.dtype(array.dtype).newbyteorder("<")
    length = array.chunk or array.block
    chunk_bytes, present = length * array.row_bytes, -(-len(values) // length)
    step = chunk_bytes + CRC_BYTES
    out = bytearray(array.shard_bytes(block) if array.chunk else step)
    checksums = []
    for i in range(present):
        chunk = np.frombuffer(out, np.uint8, chunk_bytes, i * step)
        rows = values[i * length : (i + 1) * length]
        chunk.view(kind).reshape(length, *array.shape[1:])[: len(rows)] = rows
        checksums.append(crc32c(chunk))
        struct.pack_into("<I", out, i * step + chunk_bytes, checksums[-1])
    if array.chunk:
        seal = seal_bytes(array, block, checksums=checksums, chunks=memoryview(out)[: present * step])
        out[present * step :] = seal + index_bytes(array, present)
    return out


def decode(array: ArrayLayout, data: bytes, *, block: int) -> NDArray[Any]:
    """Return the rows of a block's file, everything in it checked.

    Raises
    ------
    DamagedError
        If something is wrong with it.
    """
    rows = array.rows(block)
    if array.dtype == "string":
        return _decode_texts(data, rows)
    if array.chunk is None:
        kind = np.dtype(array.dtype).newbyteorder("<")
        values = np.frombuffer(_checked(data, array.block * array.row_bytes), kind)
        return values.reshape(array.block, *array.shape[1:])[:rows]
    check_tail(array, data, block=block)
    body = memoryview(data)
    chunk_bytes, present = array.chunk * array.row_bytes, -(-rows // array.chunk)
    step = chunk_bytes + CRC_BYTES
    checksums = [int.from_bytes(body[(i + 1) * step - CRC_BYTES : (i + 1) * step], "little") for i in range(present)]
    seal = seal_bytes(array, block, checksums=checksums, chunks=body[: present * step])
    if body[present * step : present * step + array.seal_bytes] != seal:
        raise DamagedError("corrupt")
    out = np.empty((present * array.chunk, array.shape[1]), np.dtype(array.dtype).newbyteorder("<"))
    for i in range(present):
        part = _checked(body[i * step : (i + 1) * step], chunk_bytes)
        out[i * array.chunk : (i + 1) * array.chunk] = np.frombuffer(part, out.dtype).reshape(-1, array.shape[1])
    if not np.isfinite(out).all():
        raise DamagedError("not_finite")
    if out[rows:].any():
        raise DamagedError("corrupt")
    return out[:rows]


def digest_of(array: ArrayLayout, data: bytes) -> str:
    """Return the digest of a file as the root keeps it: for a column that of all its bytes, for a shard its seal."""
    if not array.chunk:
        return digest(data)
    end = max(len(data) - array.tail_bytes + array.seal_bytes, 0)
    return bytes(data[max(end - DIGEST_BYTES, 0) : end]).hex()


def check_tail(array: ArrayLayout, data: bytes, *, block: int) -> bytes:
    """Return the seal of a shard, or of its tail alone, if size, index and seal are right.

    Raises
    ------
    DamagedError
        If something is wrong with it.
    """
    if len(data) < array.tail_bytes or (len(data) != array.tail_bytes and len(data) != array.shard_bytes(block)):
        raise DamagedError("short")
    assert array.chunk is not None
    tail = bytes(data[len(data) - array.tail_bytes :])
    if tail[array.seal_bytes :] != index_bytes(array, -(-array.rows(block) // array.chunk)):
        raise DamagedError("corrupt")
    seal = tail[array.seal_bytes - DIGEST_BYTES : array.seal_bytes]
    sealed_checksums(array, tail[: array.seal_bytes], block=block, seal=seal)
    return seal


def sealed_checksums(array: ArrayLayout, data: bytes, *, block: int, seal: bytes) -> NDArray[np.uint32]:
    """Return the checksums of a shard's chunks, from the bytes that end with its seal, which must be ``seal``.

    Raises
    ------
    DamagedError
        If the seal is another.
    """
    if len(data) != array.seal_bytes:
        raise DamagedError("short")
    if data[-DIGEST_BYTES:] != seal or _seal(array, block, data[:-DIGEST_BYTES]) != seal:
        raise DamagedError("corrupt")
    return np.frombuffer(data, "<u4", len(data[: -2 * DIGEST_BYTES]) // CRC_BYTES)


def seal_bytes(array: ArrayLayout, block: int, *, checksums: Sequence[int], chunks: Any) -> bytes:
    """Return the checksums, the digest and the seal of a shard."""
    assert array.chunk is not None
    absent = array.block // array.chunk - len(checksums)
    sealed = struct.pack(f"<{len(checksums)}I{CRC_BYTES * absent}x", *checksums) + bytes.fromhex(digest(chunks))
    return sealed + _seal(array, block, sealed)


def index_bytes(array: ArrayLayout, present: int) -> bytes:
    """Return the index of a shard whose first ``present`` chunks exist, and its checksum."""
    assert array.chunk is not None
    chunk_bytes = array.chunk * array.row_bytes + CRC_BYTES
    index = np.full((array.block // array.chunk, 2), _ABSENT, "<u8")
    index[:present, 0] = np.arange(present, dtype=np.uint64) * np.uint64(chunk_bytes)
    index[:present, 1] = chunk_bytes
    return index.tobytes() + struct.pack("<I", crc32c(index))


def damaged_file(key: str, reason: DamagedError | str, *, store: str, location: str) -> FsrcacheError:
    """Return the error of a file that cannot be what was written, in the store of a name and location."""
    return FsrcacheError(
        f"{key} of the store {store} is damaged: {reason}.",
        Remedy("Run `{}`, then do the same again.", call("verify", store=location, repair=True)),
    )


def name_bytes(name: object) -> bytes:
    """Return a picture's name in UTF-8; what is no Unicode, as some names of files, is escaped."""
    return str(name).encode(errors="backslashreplace")


def _seal(array: ArrayLayout, block: int, sealed: bytes) -> bytes:
    return blake2b(array.key(block).encode() + sealed, digest_size=DIGEST_BYTES).digest()


def crc32c(data: Any, value: int = 0) -> int:
    """Return the CRC-32C of a contiguous buffer, continued from ``value``; from 16 KiB on without the GIL."""
    return fastcrc.crc32.iscsi(data, value)


def _checked(data: bytes | memoryview, length: int) -> bytes | memoryview:
    """Return the bytes before a checksum, which must hold."""
    if len(data) != length + CRC_BYTES:
        raise DamagedError("short")
    body = data[:length]
    if struct.unpack("<I", data[length:])[0] != crc32c(body):
        raise DamagedError("corrupt")
    return body


def _decode_texts(data: bytes, rows: int) -> NDArray[Any]:
    if len(data) < 2 * CRC_BYTES:
        raise DamagedError("short")
    body = _checked(data, len(data) - CRC_BYTES)
    (count,), at = struct.unpack_from("<I", body), 4
    if count != rows:
        raise DamagedError("corrupt")
    texts = []
    for _ in range(rows):
        begin = at + CRC_BYTES
        at = begin + int.from_bytes(body[at:begin], "little")
        texts.append(_text(bytes(body[begin:at])))
    if at != len(body) or rows * max(map(len, texts)) > MOST_ROOM:
        raise DamagedError("corrupt")
    return np.array(texts, dtype=np.str_)


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise DamagedError("corrupt") from None
    if len(text) > MOST_LETTERS:
        raise DamagedError("corrupt")
    return text
