"""Objects in any Zarr store: object storage, memory, icechunk; a failure there is never taken for absence."""

import asyncio
import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsrcache.store.local import Entry
from fsrcache.store.redact import redacted

if TYPE_CHECKING:
    from zarr.abc.store import Store

PATIENCE = 900.0  # seconds, with all that the client tries again: 128 MiB at 150 KB/s


class ZarrObjects:
    """Objects in a Zarr store, each written by one request.

    Parameters
    ----------
    store
        A Zarr store of any kind.
    name
        Location in words.
    secrets
        Texts that no error may repeat.
    patience
        Seconds before a request without an answer is given up.
    """

    def __init__(self, store: "Store", *, name: str, secrets: tuple[str, ...] = (), patience: float = PATIENCE) -> None:
        self.store = store
        self.folder: Path | None = None
        self.name = name
        self.secrets = secrets
        self._patience = patience

    def read(self, key: str, *, start: int = 0, length: int | None = None, most: int | None = None) -> bytes | None:  # noqa: ARG002
        """Return bytes of an object, never asked for without a range: s3fs would ask for its size first."""
        from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
        from zarr.core.buffer import default_buffer_prototype

        wanted: OffsetByteRequest | RangeByteRequest | SuffixByteRequest = OffsetByteRequest(start)
        if start < 0:
            wanted = SuffixByteRequest(-start)
        elif length is not None:
            wanted = RangeByteRequest(start, start + length)
        buffer = self._wait(self.store.get(key, default_buffer_prototype(), byte_range=wanted))
        return None if buffer is None else bytes(buffer.to_bytes())

    def write(self, key: str, data: bytes | bytearray) -> None:
        """Write an object whole."""
        from zarr.core.buffer import default_buffer_prototype

        self._wait(self.store.set(key, default_buffer_prototype().buffer.from_bytes(bytes(data))))

    def remove(self, key: str) -> None:
        """Remove an object if there is one."""
        self._wait(_remove(self.store, key))

    def keys(self) -> Iterator[str]:
        """Yield the keys of all objects, sorted."""
        yield from self._wait(_list_keys(self.store))

    def entries(self) -> dict[str, Entry]:
        """Return all objects by key: files, each of them."""
        return dict.fromkeys(self.keys(), "file")

    def _wait(self, work: Any) -> Any:
        """Wait for a coroutine on Zarr's own loop, which its stores are bound to."""
        from zarr.core.sync import sync

        async def in_time() -> Any:
            return await asyncio.wait_for(work, self._patience)

        with client_errors(self.secrets):
            return sync(in_time())


@contextmanager
def client_errors(secrets: tuple[str, ...]) -> Iterator[None]:
    """Turn whatever a client of some storage raises into an OSError whose text holds no credentials."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or (
            "no answer in time" if isinstance(error, TimeoutError) else repr(error)
        )
        number = getattr(error, "errno", None)
        raise OSError(number if isinstance(number, int) else errno.EIO, redacted(reason, secrets)) from None


async def _remove(store: "Store", key: str) -> None:
    from zarr.storage import FsspecStore

    with suppress(FileNotFoundError):
        if isinstance(store, FsspecStore):  # its delete takes wildcards, and s3fs' bulk delete hides a refusal
            await store.fs._rm_file(f"{store.path}/{key}")
        else:
            await store.delete(key)


async def _list_keys(store: "Store") -> list[str]:
    from zarr.storage import FsspecStore

    if not isinstance(store, FsspecStore):
        return sorted([key async for key in store.list_prefix("")])
    root = store.path.rstrip("/")
    if not _walks(store.fs):  # s3fs names the folder itself where it was empty a moment ago
        return sorted([key async for key in store.list_prefix("") if key != root])
    try:  # told to raise: by default a walk takes a folder that cannot be listed for an empty one
        paths = await store.fs._find(root, withdirs=False, on_error="raise")
    except FileNotFoundError:
        if await store.fs._exists(root):
            raise
        return []
    return sorted(path.removeprefix(f"{store.path}/") for path in paths if path != root)


def _walks(fs: Any) -> bool:
    """Tell whether a file system lists by fsspec's general walk through its folders."""
    from fsspec import AbstractFileSystem
    from fsspec.asyn import AsyncFileSystem

    inner = type(getattr(fs, "sync_fs", fs))
    if issubclass(inner, AsyncFileSystem):
        return inner._find is AsyncFileSystem._find
    return inner.find is AbstractFileSystem.find
