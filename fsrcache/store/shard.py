"""The bytes of a store's files: uncompressed rows, a CRC-32C after each chunk, in a shard a digest and the index.

A shard of chunks of ``c`` bytes is ``(rows, crc32c) * m, digest, index, crc32c of the index``: chunk ``i`` begins at
``i (c + 4)``. The digest (BLAKE2b, 16 bytes, of the file's key and all before it) knows a shard in its own place alone.
It lies in a gap that Zarr's index does not speak of, so that whoever completes a store need not read what others wrote.
The last chunk is filled up with zeros; chunks beyond the last row are not there, which the index says as Zarr has it,
by all bits set.
"""

import struct
from hashlib import blake2b
from typing import Any, Literal

import fastcrc
import numpy as np
from numpy.typing import NDArray

from fsrcache.store.layout import CRC_BYTES, DIGEST_BYTES, Place, digest

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
            text = str(value).encode()
            texts += struct.pack("<I", len(text)) + text
        return texts + struct.pack("<I", crc32c(texts))
    kind = np.dtype(place.dtype).newbyteorder("<")
    length = place.chunk or place.block
    chunk_bytes, present = length * place.row_bytes, -(-len(values) // length)
    step = chunk_bytes + CRC_BYTES
    out = bytearray(place.shard_bytes(block) if place.chunk else step)
    for i in range(present):
        chunk = np.frombuffer(out, np.uint8, chunk_bytes, i * step)
        rows = values[i * length : (i + 1) * length]
        chunk.view(kind).reshape(length, *place.shape[1:])[: len(rows)] = rows
        struct.pack_into("<I", out, i * step + chunk_bytes, crc32c(chunk))
    if place.chunk:
        seal = _seal(place, memoryview(out)[: present * step], block=block)
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
    stored_digest, body = check_tail(place, data, block=block), memoryview(data)
    chunk_bytes, present = place.chunk * place.row_bytes, -(-rows // place.chunk)
    step = chunk_bytes + CRC_BYTES
    if _seal(place, body[: present * step], block=block) != stored_digest:
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
    """Return the digest of a file as the root keeps it: of a column of all its bytes, of a shard the one in it."""
    end = len(data) - place.tail_bytes if place.chunk else 0
    return bytes(data[max(end, 0) : max(end, 0) + DIGEST_BYTES]).hex() if place.chunk else digest(data)


def check_tail(place: Place, data: bytes, *, block: int) -> bytes:
    """Return the digest in the tail of a shard, or of those of its bytes that end it, if size and index are right."""
    if len(data) < place.tail_bytes or (len(data) != place.tail_bytes and len(data) != place.shard_bytes(block)):
        raise DamagedError("short")
    assert place.chunk is not None
    tail = bytes(data[len(data) - place.tail_bytes :])
    if tail[DIGEST_BYTES:] != index_bytes(place, -(-place.rows(block) // place.chunk)):
        raise DamagedError("corrupt")
    return tail[:DIGEST_BYTES]


def index_bytes(place: Place, present: int) -> bytes:
    """Return the index of a shard whose first chunks are there, and its checksum."""
    assert place.chunk is not None
    chunk_bytes = place.chunk * place.row_bytes + CRC_BYTES
    index = np.full((place.block // place.chunk, 2), _ABSENT, "<u8")
    index[:present, 0] = np.arange(present, dtype=np.uint64) * np.uint64(chunk_bytes)
    index[:present, 1] = chunk_bytes
    return index.tobytes() + struct.pack("<I", crc32c(index))


def _seal(place: Place, body: Any, *, block: int) -> bytes:
    sealed = blake2b(place.key(block).encode(), digest_size=DIGEST_BYTES)
    sealed.update(body)
    return sealed.digest()


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
        (length,) = struct.unpack_from("<I", body, at)
        texts.append(bytes(body[at + 4 : at + 4 + length]).decode())
        at += 4 + length
    return np.array(texts, dtype=np.str_)
