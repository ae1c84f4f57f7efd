"""Where a store's files lie: a local folder, or whatever Zarr opens; whole objects in, ranges of them out."""

import errno
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fsrcache.errors import RequestError

if TYPE_CHECKING:
    from zarr.abc.store import Store

PARTIAL = ".partial"


class Objects(Protocol):
    """Files by key, such as ``train/x2/features/c/0/0``. Every method raises OSError where the storage does.

    Attributes
    ----------
    name
        Of the place, for people: without credentials.
    folder
        The local folder, where it is one.
    """

    name: str
    folder: Path | None

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        """Return the bytes of a file from ``start``, counted from its end if negative; None where there is none."""

    def write(self, key: str, data: bytes | bytearray) -> None:
        """Write a file whole: after a crash the old one, the new one or none is there."""

    def remove(self, key: str) -> None:
        """Remove a file that may be there."""

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys of all files below a prefix that is a folder; none where there is no such folder."""


class LocalObjects:
    """Files in a folder. A file is written beside its name, synced to the disk and renamed, its folder synced after."""

    def __init__(self, folder: Path) -> None:
        self.folder: Path | None = folder
        self.root = folder
        self.name = str(folder)

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        """Return bytes of a file."""
        try:
            with (self.root / key).open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                start = max(0, size + start) if start < 0 else start
                length = max(0, size - start) if length is None else length
                return _all_of(file.fileno(), start, length)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def write(self, key: str, data: bytes | bytearray) -> None:
        """Write a file whole."""
        path = self.root / key
        self._make_folder(path.parent)
        partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}{PARTIAL}")
        try:
            with partial.open("xb", buffering=0) as file:
                rest = memoryview(data)
                while len(rest):
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)

    def remove(self, key: str) -> None:
        """Remove a file that may be there."""
        path = self.root / key
        try:
            path.unlink()
        except FileNotFoundError:
            return
        _sync_folder(path.parent)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys of all files below a prefix, sorted."""
        try:
            with os.scandir(self.root / prefix) as entries:
                children = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, is_folder in children:
            key = f"{prefix}/{name}" if prefix else name
            if is_folder:
                yield from self.keys(key)
            else:
                yield key

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and those above it that are not there, each synced into the one above."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


class ZarrObjects:
    """Objects in a Zarr store, each written by one request.

    Parameters
    ----------
    store
        Any.
    name
        For people.
    secrets
        Texts that no error may repeat.
    """

    def __init__(self, store: "Store", *, name: str, secrets: tuple[str, ...] = ()) -> None:
        self.store = store
        self.folder: Path | None = None
        self.name = name
        self._secrets = secrets

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        """Return bytes of an object."""
        from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
        from zarr.core.buffer import default_buffer_prototype

        wanted: OffsetByteRequest | RangeByteRequest | SuffixByteRequest | None = None
        if start < 0:
            wanted = SuffixByteRequest(-start)
        elif length is not None:
            wanted = RangeByteRequest(start, start + length)
        elif start:
            wanted = OffsetByteRequest(start)
        found = self._done(self.store.get(key, default_buffer_prototype(), byte_range=wanted))
        return None if found is None else bytes(found.to_bytes())

    def write(self, key: str, data: bytes | bytearray) -> None:
        """Write an object whole."""
        from zarr.core.buffer import default_buffer_prototype

        self._done(self.store.set(key, default_buffer_prototype().buffer.from_bytes(bytes(data))))

    def remove(self, key: str) -> None:
        """Remove an object that may be there."""
        if self._done(self.store.exists(key)):
            self._done(self.store.delete(key))

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys of all objects below a prefix, sorted."""

        async def listed() -> list[str]:
            return sorted([key async for key in self.store.list_prefix(f"{prefix}/" if prefix else "")])

        yield from self._done(listed())

    def _done(self, work: Any) -> Any:
        """Wait for a coroutine on Zarr's own loop, which its stores are bound to."""
        from zarr.core.sync import sync

        try:
            return sync(work)
        except Exception as error:  # whatever a client of some storage raises, credentials in its text or not
            said = " ".join(str(error).split()) or type(error).__name__
            number = getattr(error, "errno", None) or errno.EIO
            raise OSError(number, redacted(said, self._secrets)) from None


def objects_at(place: "str | PathLike[str] | Store", *, storage_options: Mapping[str, Any] | None = None) -> Objects:
    """Return the files at a path, at a URL that Zarr opens through fsspec, or in a Zarr store.

    Parameters
    ----------
    place
        A folder, ``s3://bucket/path`` or alike, or a store object, such as zarr's ObjectStore or icechunk's.
    storage_options
        Of fsspec, for a URL.

    Raises
    ------
    RequestError
        If the URL cannot be opened.
    """
    if not isinstance(place, str | PathLike):
        return ZarrObjects(place, name=f"a {type(place).__name__}")
    text = os.fspath(place)
    if "://" not in text or text.startswith("file://"):
        return LocalObjects(Path(text.removeprefix("file://")))
    options = dict(storage_options or {})
    hidden = _secrets(options)
    from zarr.storage import FsspecStore

    try:
        store = FsspecStore.from_url(text.rstrip("/"), storage_options=options)
    except Exception as error:  # a missing package, an unknown protocol, wrong options: fsspec raises anything
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise RequestError(
            f"{redacted(text)} cannot be opened: {redacted(said, hidden)}.",
            "Name a folder or a URL that fsspec knows; s3:// needs the package s3fs, gs:// gcsfs.",
        ) from None
    return ZarrObjects(store, name=redacted(text), secrets=hidden)


def redacted(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return a text without users and passwords of URLs, without their queries, and without secrets."""
    text = re.sub(r"(\w+://)[^/\s@]+@", r"\1***@", text)
    text = re.sub(r"(\w+://[^\s?]+)\?\S+", r"\1?***", text)
    for secret in (*secrets, *_environment_secrets()):
        text = text.replace(secret, "***")
    return text


def _environment_secrets() -> list[str]:
    words = ("SECRET", "TOKEN", "PASSWORD", "ACCESS_KEY", "ACCOUNT_KEY")
    return [
        value for name, value in os.environ.items() if len(value) >= 8 and any(word in name.upper() for word in words)
    ]


def _secrets(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of options that are not to be repeated: all that are long enough to be one."""
    found: list[str] = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            found += _secrets(value)
        elif isinstance(value, str) and re.search("key|secret|token|password|sas|credential", name, re.IGNORECASE):
            found.append(value)
    return tuple(value for value in found if value)


def _all_of(descriptor: int, start: int, length: int) -> bytes:
    parts, done = [], 0
    while done < length and (part := os.pread(descriptor, length - done, start + done)):
        parts.append(part)
        done += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
