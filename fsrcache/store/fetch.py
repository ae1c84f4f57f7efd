"""Rows from a store's files straight into a buffer, every chunk checked while it is in the processor's cache."""

import os
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.store.layout import CRC_BYTES, ArrayLayout
from fsrcache.store.local import open_file
from fsrcache.store.objects import Objects
from fsrcache.store.shard import DamagedError, crc32c, sealed_checksums
from fsrcache.threads import usable_threads

_SMALL = 4 << 20  # bytes that are not worth a thread
_MOST_CHUNKS = 256  # chunks that one system call reads where none is checked

Checksums = NDArray[np.uint32]


def fetch_rows(
    objects: Objects,
    array: ArrayLayout,
    out: NDArray[Any],
    *,
    start: int,
    seals: Sequence[str] | None,
    known: MutableMapping[str, Checksums],
) -> None:
    """Read the rows from ``start`` on into ``out``, as many as it has.

    Parameters
    ----------
    objects, array
        The store's files, and the array in them.
    out
        Buffer, C-contiguous ``[rows, width]`` of the array's dtype; may be pinned or mapped memory.
    start
        First row.
    seals
        Seals of the array's files from the store's root: every chunk must be what was written there, and one of which
        only a part is asked for is read whole. None to check nothing.
    known
        Sealed checksums of shards outside local folders, by key. Missing ones are asked for once, with the last chunk
        of a shard or by a small request, and added here.

    Raises
    ------
    OSError
        If a file is missing, short or another than was written there, or a checksum is wrong.
    """
    pieces = list(_pieces(array, start, start + len(out)))

    def one(piece: tuple[int, int, int]) -> None:
        block, first, last = piece
        offset = block * array.block
        rows = out[offset + first - start : offset + last - start]
        if objects.folder:
            _local(objects.folder, array, rows, block=block, first=first, seal=seals[block] if seals else None)
        else:
            seal = seals[block] if seals else None
            _remote(objects, array, rows, block=block, first=first, seal=seal, known=known)

    if out.nbytes <= _SMALL or len(pieces) == 1:
        for piece in pieces:
            one(piece)
        return
    with ThreadPoolExecutor(_threads(objects)) as pool:
        list(pool.map(one, pieces))


def _checksums(array: ArrayLayout, block: int, data: bytes | None, *, seal: str) -> Checksums:
    """Return the checksums that the chunks of a shard must have, from the bytes that end with its seal."""
    key = array.key(block)
    try:
        return sealed_checksums(array, data or b"", block=block, seal=bytes.fromhex(seal))
    except DamagedError as error:
        raise OSError(f"{key} is short" if error.kind == "short" else f"{key} is not what was written there") from None


def _threads(objects: Objects) -> int:
    return usable_threads() if objects.folder else 16


def _pieces(array: ArrayLayout, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield (block, first row in it, last row in it + 1)."""
    for block in range(start // array.block, -(-stop // array.block)):
        offset = block * array.block
        yield block, max(start - offset, 0), min(stop - offset, array.block)


def _local(folder: Path, array: ArrayLayout, out: NDArray[Any], *, block: int, first: int, seal: str | None) -> None:
    """Read rows of one shard of a local folder: a system call alternates rows and checksums."""
    try:
        descriptor = open_file(folder, array.key(block))
    except (FileNotFoundError, NotADirectoryError):
        raise OSError(f"{array.key(block)} is not there") from None

    def read(buffers: list[Any], offset: int) -> None:
        size = sum(memoryview(buffer).nbytes for buffer in buffers)
        count = os.preadv(descriptor, buffers, offset)
        if count == size:
            return
        data = bytearray(size)  # a signal or the end of the file: once more, in small steps
        count = 0
        while count < size and (more := os.preadv(descriptor, [memoryview(data)[count:]], offset + count)):
            count += more
        if count < size:
            raise OSError(f"{array.key(block)} is short")
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            view[:], data = data[: len(view)], data[len(view) :]

    try:
        if os.fstat(descriptor).st_size != (length := array.shard_bytes(block)):  # before anything is made for it
            raise OSError(f"{array.key(block)} is short, or too long")
        checksums = None
        if seal is not None:
            data = os.pread(descriptor, array.seal_bytes, length - array.tail_bytes)
            checksums = _checksums(array, block, data, seal=seal)
        _read_chunks(array, out, block=block, first=first, checksums=checksums, read=read)
    finally:
        os.close(descriptor)


def _remote(
    objects: Objects,
    array: ArrayLayout,
    out: NDArray[Any],
    *,
    block: int,
    first: int,
    seal: str | None,
    known: MutableMapping[str, Checksums],
) -> None:
    """Read rows of one shard from elsewhere: one request for all chunks that hold them."""
    assert array.chunk is not None
    step = array.chunk * array.row_bytes + CRC_BYTES
    begin = first // array.chunk * step
    end = -(-(first + len(out)) // array.chunk) * step
    key, sealing = array.key(block), array.shard_bytes(block) - array.tail_bytes
    beside = array.seal_bytes if seal is not None and key not in known and end == sealing else 0
    data = objects.read(key, start=begin, length=end + beside - begin)
    if data is None:
        raise OSError(f"{key} is not there")
    if len(data) != end + beside - begin:
        raise OSError(f"{key} is short")
    whole = memoryview(data)
    if seal is not None and key not in known:
        sealed = data[end - begin :] if beside else objects.read(key, start=sealing, length=array.seal_bytes)
        known[key] = _checksums(array, block, sealed, seal=seal)

    def read(buffers: list[Any], offset: int) -> None:
        at = offset - begin
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            view[:] = whole[at : at + len(view)]
            at += len(view)

    checksums = None if seal is None else known[key]
    _read_chunks(array, out, block=block, first=first, checksums=checksums, read=read)


def _read_chunks(
    array: ArrayLayout,
    out: NDArray[Any],
    *,
    block: int,
    first: int,
    checksums: Checksums | None,
    read: Callable[[list[Any], int], None],
) -> None:
    """Fill ``out`` with the rows from ``first`` on of a shard."""
    assert array.chunk is not None
    chunk, step = array.chunk, array.chunk * array.row_bytes + CRC_BYTES
    last, done = first + len(out), 0
    if checksums is None:
        _read_unchecked(array, out, first=first, read=read)
        return
    rest = np.empty(0, np.uint8)
    checksum = np.empty(CRC_BYTES, np.uint8)
    while done < len(out):
        i, skipped = divmod(first + done, chunk)
        rows = min(chunk - skipped, len(out) - done)
        part = out[done : done + rows]
        padded = (i + 1) * chunk > array.rows(block) and last >= array.rows(block)
        if skipped or (rows < chunk and not padded):  # a part of a chunk, which is checked whole
            whole = np.empty((chunk, *out.shape[1:]), out.dtype)
            read([whole, checksum], i * step)
            value = crc32c(whole)
            part[:] = whole[skipped : skipped + rows]
        else:
            missing = (chunk - rows) * array.row_bytes
            if missing and len(rest) != missing:
                rest = np.empty(missing, np.uint8)
            read([part, rest, checksum] if missing else [part, checksum], i * step)
            value = crc32c(part)
            value = crc32c(rest, value) if missing else value
        if value != int(checksum.view("<u4")[0]):
            raise OSError(f"a checksum of {array.key(block)} is wrong")
        if value != int(checksums[i]):
            raise OSError(f"chunk {i} of {array.key(block)} is not what was written there")
        done += rows


def _read_unchecked(
    array: ArrayLayout, out: NDArray[Any], *, first: int, read: Callable[[list[Any], int], None]
) -> None:
    """Fill ``out``, checksums read into nowhere, so that one system call reads many chunks."""
    assert array.chunk is not None
    nowhere = np.empty(CRC_BYTES, np.uint8)
    done = 0
    while done < len(out):
        i, skipped = divmod(first + done, array.chunk)
        begin = i * (array.chunk * array.row_bytes + CRC_BYTES) + skipped * array.row_bytes
        buffers: list[Any] = []
        while done < len(out) and len(buffers) < 2 * _MOST_CHUNKS:
            rows = min(array.chunk - skipped, len(out) - done)
            buffers += [out[done : done + rows], nowhere]
            skipped, done = 0, done + rows
        read(buffers[:-1], begin)
