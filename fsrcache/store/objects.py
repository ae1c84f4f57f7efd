"""Where a store's files lie: a local folder, or whatever Zarr opens; whole objects in, ranges of them out."""

import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fsrcache.errors import RequestError
from fsrcache.store.redact import redacted, secrets_of, secrets_of_url
from fsrcache.store.remote import ZarrObjects

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
            descriptor = os.open(self.root / key, os.O_RDONLY | os.O_NONBLOCK)  # a pipe is not waited for
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                return None
            if not stat.S_ISREG(status.st_mode):
                raise OSError(f"{key} is no regular file")
            start = max(0, status.st_size + start) if start < 0 else start
            return _all_of(descriptor, start, max(0, status.st_size - start) if length is None else length)
        finally:
            os.close(descriptor)

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
                children = sorted((entry.name, entry.is_dir()) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, is_folder in children:
            key = f"{prefix}/{name}" if prefix else name
            if is_folder:
                yield from self.keys(key)
            else:
                yield key

    def _make_folder(self, folder: Path) -> None:
        """Make a folder below the root, each synced into the one above; a root that has vanished stays away."""
        if folder == self.root or folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


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
        return ZarrObjects(place, name=f"a {type(place).__name__}", secrets=_secrets_of_store(place))
    text = os.fspath(place)
    if "://" not in text or text.startswith("file://"):
        return LocalObjects(Path(text.removeprefix("file://")))
    options = dict(storage_options or {})
    hidden = (*secrets_of(options), *secrets_of_url(text))
    if wild := re.search(r"[?*]|/.*[\[\]]", text.partition("://")[2]):
        raise RequestError(
            f"{redacted(text, hidden)} has a {wild[0][-1]!r}, which no URL of a store may have.",
            "Name the store by protocol, bucket and path; credentials belong into the environment.",
        )
    from zarr.storage import FsspecStore

    try:
        store = FsspecStore.from_url(text.rstrip("/"), storage_options=options)
    except Exception as error:  # a missing package, an unknown protocol, wrong options: fsspec raises anything
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise RequestError(
            f"{redacted(text, hidden)} cannot be opened: {redacted(said, hidden)}.",
            "Name a folder or a URL that fsspec knows; s3:// needs the package s3fs, gs:// gcsfs.",
        ) from None
    return ZarrObjects(store, name=redacted(text, hidden), secrets=hidden)


def _secrets_of_store(store: Any) -> tuple[str, ...]:
    """Return the secrets that the client in a Zarr store was given: fsspec's and obstore's say."""
    inner = getattr(store, "fs", None), getattr(store, "store", None)
    options = getattr(inner[0], "storage_options", None), getattr(inner[1], "config", None)
    return tuple(secret for found in options if isinstance(found, Mapping) for secret in secrets_of(found))


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
