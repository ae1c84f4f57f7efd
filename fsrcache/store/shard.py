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

from fsrcache.store.layout import CRC_BYTES, DIGEST_BYTES, MOST_LETTERS, Place, digest

_ABSENT = 2**64 - 1

Damage = Literal["short", "corrupt", "not_finite"]


class DamagedError(Exception):
    """A file is not what it was written as.

    Parameters
    ----------
    kind
        Short (or too long), corrupt, or not finite.
    """

    def __init__(self, kind: Damage) -> None:
        super().__init__(f"it is {kind.replace('_', ' ')}")
        self.kind = kind


def encode(place: Place, values: Any, *, block: int) -> bytes | bytearray:
    """Return the bytes of a block's file for its rows [rows, ...]."""
    if place.dtype == "string":
        texts = bytearray(struct.pack("<I", len(values)))
        for value in values:
            text = name_bytes(value)
            texts += struct.pack("<I", len(text)) + text
        return texts + struct.pack("<I", crc32c(texts))
    kind = np.dtype(place.dtype).newbyteorder("<")
    length = place.chunk or place.block
    chunk_bytes, present = length * place.row_bytes, -(-len(values) // length)
    step = chunk_bytes + CRC_BYTES
    out = bytearray(place.shard_bytes(block) if place.chunk else step)
    checksums = []
    for i in range(present):
        chunk = np.frombuffer(out, np.uint8, chunk_bytes, i * step)
        rows = values[i * length : (i + 1) * length]
        chunk.view(kind).reshape(length, *place.shape[1:])[: len(rows)] = rows
        checksums.append(crc32c(chunk))
        struct.pack_into("<I", out, i * step + chunk_bytes, checksums[-1])
    if place.chunk:
        seal = seal_bytes(place, block, checksums=checksums, chunks=memoryview(out)[: present * step])
        out[present * step :] = seal + index_bytes(place, present)
    return out


def decode(place: Place, data: bytes, *, block: int) -> NDArray[Any]:
    """Return the rows of a block's file, everything in it checked.

    Raises
    ------
    DamagedError
        With what is wrong.
    """
    rows = place.rows(block)
    if place.dtype == "string":
        return _decode_texts(data, rows)
    if place.chunk is None:
        kind = np.dtype(place.dtype).newbyteorder("<")
        values = np.frombuffer(_checked(data, place.block * place.row_bytes), kind)
        return values.reshape(place.block, *place.shape[1:])[:rows]
    check_tail(place, data, block=block)
    body = memoryview(data)
    chunk_bytes, present = place.chunk * place.row_bytes, -(-rows // place.chunk)
    step = chunk_bytes + CRC_BYTES
    checksums = [int.from_bytes(body[(i + 1) * step - CRC_BYTES : (i + 1) * step], "little") for i in range(present)]
    seal = seal_bytes(place, block, checksums=checksums, chunks=body[: present * step])
    if body[present * step : present * step + place.seal_bytes] != seal:
        raise DamagedError("corrupt")
    out = np.empty((present * place.chunk, place.shape[1]), np.dtype(place.dtype).newbyteorder("<"))
    for i in range(present):
        part = _checked(body[i * step : (i + 1) * step], chunk_bytes)
        out[i * place.chunk : (i + 1) * place.chunk] = np.frombuffer(part, out.dtype).reshape(-1, place.shape[1])
    if not np.isfinite(out).all():
        raise DamagedError("not_finite")
    if out[rows:].any():
        raise DamagedError("corrupt")
    return out[:rows]


def digest_of(place: Place, data: bytes) -> str:
    """Return the digest of a file as the root keeps it: of a column of all its bytes, of a shard the seal in it."""
    if not place.chunk:
        return digest(data)
    end = max(len(data) - place.tail_bytes + place.seal_bytes, 0)
    return bytes(data[max(end - DIGEST_BYTES, 0) : end]).hex()


def check_tail(place: Place, data: bytes, *, block: int) -> bytes:
    """Return the seal in the tail of a shard, or in those of its bytes that end it, if size, index and seal are right.

    Raises
    ------
    DamagedError
        With what is wrong.
    """
    if len(data) < place.tail_bytes or (len(data) != place.tail_bytes and len(data) != place.shard_bytes(block)):
        raise DamagedError("short")
    assert place.chunk is not None
    tail = bytes(data[len(data) - place.tail_bytes :])
    if tail[place.seal_bytes :] != index_bytes(place, -(-place.rows(block) // place.chunk)):
        raise DamagedError("corrupt")
    seal = tail[place.seal_bytes - DIGEST_BYTES : place.seal_bytes]
    sealed_checksums(place, tail[: place.seal_bytes], block=block, seal=seal)
    return seal


def sealed_checksums(place: Place, data: bytes, *, block: int, seal: bytes) -> NDArray[np.uint32]:
    """Return the checksums of a shard's chunks, out of the bytes that end with its seal, which must be the given one.

    Raises
    ------
    DamagedError
        If it is not.
    """
    if len(data) != place.seal_bytes:
        raise DamagedError("short")
    if data[-DIGEST_BYTES:] != seal or _seal(place, block, data[:-DIGEST_BYTES]) != seal:
        raise DamagedError("corrupt")
    return np.frombuffer(data, "<u4", len(data[: -2 * DIGEST_BYTES]) // CRC_BYTES)


def seal_bytes(place: Place, block: int, *, checksums: Sequence[int], chunks: Any) -> bytes:
    """Return the checksums, the digest and the seal of a shard."""
    assert place.chunk is not None
    absent = place.block // place.chunk - len(checksums)
    sealed = struct.pack(f"<{len(checksums)}I{CRC_BYTES * absent}x", *checksums) + bytes.fromhex(digest(chunks))
    return sealed + _seal(place, block, sealed)


def index_bytes(place: Place, present: int) -> bytes:
    """Return the index of a shard whose first chunks are there, and its checksum."""
    assert place.chunk is not None
    chunk_bytes = place.chunk * place.row_bytes + CRC_BYTES
    index = np.full((place.block // place.chunk, 2), _ABSENT, "<u8")
    index[:present, 0] = np.arange(present, dtype=np.uint64) * np.uint64(chunk_bytes)
    index[:present, 1] = chunk_bytes
    return index.tobytes() + struct.pack("<I", crc32c(index))


def name_bytes(name: object) -> bytes:
    """Return a picture's name in UTF-8; what is no text of Unicode, as in names of files that are none, is escaped."""
    return str(name).encode(errors="backslashreplace")


def _seal(place: Place, block: int, sealed: bytes) -> bytes:
    return blake2b(place.key(block).encode() + sealed, digest_size=DIGEST_BYTES).digest()


def crc32c(data: Any, value: int = 0) -> int:
    """Return the CRC-32C of a contiguous buffer, gone on with from ``value``; from 16 KiB on outside the GIL."""
    return fastcrc.crc32.iscsi(data, value)


def _checked(data: bytes | memoryview, length: int) -> bytes | memoryview:
    """Return what stands before a checksum that holds."""
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
    if at != len(body):
        raise DamagedError("corrupt")
    return np.array(texts, dtype=np.str_)


def _text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise DamagedError("corrupt") from None
    if len(text) > MOST_LETTERS:  # an array of texts has room for the longest everywhere
        raise DamagedError("corrupt")
    return text
