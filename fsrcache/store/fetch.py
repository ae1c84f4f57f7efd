"""Rows out of a store's files and straight into a buffer, every chunk held to its place while it is in the cache."""

import os
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.ahead import usable_cores
from fsrcache.store.layout import CRC_BYTES, Place
from fsrcache.store.local import open_file
from fsrcache.store.objects import Objects
from fsrcache.store.shard import DamagedError, crc32c, sealed_checksums

_SMALL = 4 << 20  # bytes that are not worth a thread
_AT_ONCE = 256  # chunks that one system call reads where none is checked

Checksums = NDArray[np.uint32]


def fetch_rows(
    objects: Objects,
    place: Place,
    out: NDArray[Any],
    *,
    start: int,
    seals: Sequence[str] | None,
    known: MutableMapping[str, Checksums],
) -> None:
    """Read the rows from ``start`` on into ``out``, as many as it has.

    Parameters
    ----------
    objects, place
        Which array.
    out
        C-contiguous ``[rows, width]`` of the array's dtype; may be pinned or mapped memory.
    start
        The first row.
    seals
        Of the array's files, as the store's root has them: every chunk must be what was written in its place, and one
        of which only a part is asked for is read whole. None: nothing is looked at.
    known
        The sealed checksums of shards that are not in a local folder, by key. What is missing is asked for, once, with
        the last chunk of a shard or by a small request, and put here.

    Raises
    ------
    OSError
        If a file is missing, short or another than was written there, or a checksum is wrong.
    """
    pieces = list(_pieces(place, start, start + len(out)))

    def one(piece: tuple[int, int, int]) -> None:
        block, first, last = piece
        offset = block * place.block
        rows = out[offset + first - start : offset + last - start]
        if objects.folder:
            _local(objects.folder, place, rows, block=block, first=first, seal=seals[block] if seals else None)
        else:
            seal = seals[block] if seals else None
            _remote(objects, place, rows, block=block, first=first, seal=seal, known=known)

    if out.nbytes <= _SMALL or len(pieces) == 1:
        for piece in pieces:
            one(piece)
        return
    with ThreadPoolExecutor(_threads(objects)) as pool:
        list(pool.map(one, pieces))


def _checksums(place: Place, block: int, data: bytes | None, *, seal: str) -> Checksums:
    """Return what the chunks of a shard must be, out of the bytes that end with its seal."""
    key = place.key(block)
    try:
        return sealed_checksums(place, data or b"", block=block, seal=bytes.fromhex(seal))
    except DamagedError as error:
        raise OSError(f"{key} is short" if error.kind == "short" else f"{key} is not what was written there") from None


def _threads(objects: Objects) -> int:
    return usable_cores() if objects.folder else 16


def _pieces(place: Place, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield (block, first row in it, last row in it + 1)."""
    for block in range(start // place.block, -(-stop // place.block)):
        offset = block * place.block
        yield block, max(start - offset, 0), min(stop - offset, place.block)


def _local(folder: Path, place: Place, out: NDArray[Any], *, block: int, first: int, seal: str | None) -> None:
    """Read rows of one shard of a local folder: a system call alternates rows and checksums."""
    try:
        descriptor = open_file(folder, place.key(block))
    except (FileNotFoundError, NotADirectoryError):
        raise OSError(f"{place.key(block)} is not there") from None

    def read(buffers: list[Any], offset: int) -> None:
        wanted = sum(memoryview(buffer).nbytes for buffer in buffers)
        done = os.preadv(descriptor, buffers, offset)
        if done == wanted:
            return
        data = bytearray(wanted)  # a signal or the end of the file: once more, in small steps
        done = 0
        while done < wanted and (more := os.preadv(descriptor, [memoryview(data)[done:]], offset + done)):
            done += more
        if done < wanted:
            raise OSError(f"{place.key(block)} is short")
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            view[:], data = data[: len(view)], data[len(view) :]

    try:
        if os.fstat(descriptor).st_size != (size := place.shard_bytes(block)):  # before anything is made for it
            raise OSError(f"{place.key(block)} is short, or too long")
        checksums = None
        if seal is not None:
            data = os.pread(descriptor, place.seal_bytes, size - place.tail_bytes)
            checksums = _checksums(place, block, data, seal=seal)
        _read_chunks(place, out, block=block, first=first, checksums=checksums, read=read)
    finally:
        os.close(descriptor)


def _remote(
    objects: Objects,
    place: Place,
    out: NDArray[Any],
    *,
    block: int,
    first: int,
    seal: str | None,
    known: MutableMapping[str, Checksums],
) -> None:
    """Read rows of one shard from elsewhere: one request for all chunks that hold them."""
    assert place.chunk is not None
    step = place.chunk * place.row_bytes + CRC_BYTES
    begin = first // place.chunk * step
    end = -(-(first + len(out)) // place.chunk) * step
    key, sealing = place.key(block), place.shard_bytes(block) - place.tail_bytes
    beside = place.seal_bytes if seal is not None and key not in known and end == sealing else 0
    data = objects.read(key, start=begin, length=end + beside - begin)
    if data is None:
        raise OSError(f"{key} is not there")
    if len(data) != end + beside - begin:
        raise OSError(f"{key} is short")
    whole = memoryview(data)
    if seal is not None and key not in known:
        sealed = data[end - begin :] if beside else objects.read(key, start=sealing, length=place.seal_bytes)
        known[key] = _checksums(place, block, sealed, seal=seal)

    def read(buffers: list[Any], offset: int) -> None:
        at = offset - begin
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            view[:] = whole[at : at + len(view)]
            at += len(view)

    checksums = None if seal is None else known[key]
    _read_chunks(place, out, block=block, first=first, checksums=checksums, read=read)


def _read_chunks(
    place: Place,
    out: NDArray[Any],
    *,
    block: int,
    first: int,
    checksums: Checksums | None,
    read: Callable[[list[Any], int], None],
) -> None:
    """Fill ``out`` with the rows from ``first`` on of a shard."""
    assert place.chunk is not None
    chunk, step = place.chunk, place.chunk * place.row_bytes + CRC_BYTES
    last, done = first + len(out), 0
    if checksums is None:
        _read_unchecked(place, out, first=first, read=read)
        return
    rest = np.empty(0, np.uint8)
    checksum = np.empty(CRC_BYTES, np.uint8)
    while done < len(out):
        i, skipped = divmod(first + done, chunk)
        rows = min(chunk - skipped, len(out) - done)
        part = out[done : done + rows]
        padded = (i + 1) * chunk > place.rows(block) and last >= place.rows(block)
        if skipped or (rows < chunk and not padded):  # a part of a chunk, which is checked whole
            whole = np.empty((chunk, *out.shape[1:]), out.dtype)
            read([whole, checksum], i * step)
            value = crc32c(whole)
            part[:] = whole[skipped : skipped + rows]
        else:
            missing = (chunk - rows) * place.row_bytes
            if missing and len(rest) != missing:
                rest = np.empty(missing, np.uint8)
            read([part, rest, checksum] if missing else [part, checksum], i * step)
            value = crc32c(part)
            value = crc32c(rest, value) if missing else value
        if value != int(checksum.view("<u4")[0]):
            raise OSError(f"a checksum of {place.key(block)} is wrong")
        if value != int(checksums[i]):
            raise OSError(f"chunk {i} of {place.key(block)} is not what was written there")
        done += rows


def _read_unchecked(place: Place, out: NDArray[Any], *, first: int, read: Callable[[list[Any], int], None]) -> None:
    """Fill ``out``, checksums read into nowhere, so that one system call reads many chunks."""
    assert place.chunk is not None
    nowhere = np.empty(CRC_BYTES, np.uint8)
    done = 0
    while done < len(out):
        i, skipped = divmod(first + done, place.chunk)
        begin = i * (place.chunk * place.row_bytes + CRC_BYTES) + skipped * place.row_bytes
        buffers: list[Any] = []
        while done < len(out) and len(buffers) < 2 * _AT_ONCE:
            rows = min(place.chunk - skipped, len(out) - done)
            buffers += [out[done : done + rows], nowhere]
            skipped, done = 0, done + rows
        read(buffers[:-1], begin)
