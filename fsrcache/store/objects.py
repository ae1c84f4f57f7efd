"""Where a store's files lie: a local folder, or whatever Zarr opens; whole objects in, ranges of them out."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fsrcache.errors import RequestError
from fsrcache.records import shortened
from fsrcache.store.local import Entry, LocalObjects
from fsrcache.store.redact import redacted, secrets_of, secrets_of_url
from fsrcache.store.remote import ZarrObjects

if TYPE_CHECKING:
    from zarr.abc.store import Store


class Objects(Protocol):
    """Files by key, such as ``train/x2/features/c/0/0``. Every method raises OSError where the storage does.

    In a local folder no link below it is followed: where one stands, reading and writing raise an IrregularError.

    Attributes
    ----------
    name
        Of the place, for people: without credentials.
    folder
        The local folder, absolute, where it is one.
    """

    name: str
    folder: Path | None

    def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        """Return the bytes of a file from ``start``, counted from its end if negative; None where there is none.

        ``length`` is how many; only out of a local folder may there be fewer.
        """

    def write(self, key: str, data: bytes | bytearray) -> None:
        """Write a file whole: after a crash the old one, the new one or none is there."""

    def remove(self, key: str) -> None:
        """Remove what may be there."""

    def keys(self) -> Iterator[str]:
        """Yield the keys of all files; none where there is no such place."""

    def entries(self) -> Mapping[str, Entry]:
        """Return what there is by key: files, and in a local folder what else."""


def objects_at(place: "str | PathLike[str] | Store", *, storage_options: Mapping[str, Any] | None = None) -> Objects:
    """Return the files at a path, at a URL that Zarr opens through fsspec, or in a Zarr store.

    Parameters
    ----------
    place
        A folder, ``s3://bucket/path`` or alike, or a store object, such as zarr's ObjectStore or icechunk's. A leading
        ``~`` of a folder is expanded.
    storage_options
        Of fsspec, for a URL.

    Raises
    ------
    RequestError
        If the place is none, the URL cannot be opened, or the system has no descriptors of folders.
    """
    if not isinstance(place, str | PathLike):
        if not hasattr(place, "list_prefix"):
            raise RequestError(f"The place of a store is {shortened(place)}.", "Name a folder, a URL or a Zarr store.")
        return ZarrObjects(place, name=f"a {type(place).__name__}", secrets=_secrets_of_store(place))
    text = os.fsdecode(place)
    if "://" not in text or text.startswith("file://"):
        if os.open not in os.supports_dir_fd:
            raise RequestError(
                f"The store {text} cannot be opened: this system ({sys.platform}) has no descriptors of folders, "
                "which keep a store's files apart from what links point to.",
                "Use Linux or macOS; Windows has the former as WSL.",
            )
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


def read_at_most(objects: Objects, key: str, most: int, *, start: int = 0) -> bytes | None:
    """Return the bytes of a file from ``start``, out of a local folder no more than one beyond ``most``.

    Elsewhere all: some Zarr stores know no range that goes beyond the end of an object.
    """
    return objects.read(key, start=start, length=most + 1 if objects.folder else None)


def _secrets_of_store(store: Any) -> tuple[str, ...]:
    """Return the secrets that the client in a Zarr store was given: fsspec's and obstore's say."""
    inner = getattr(store, "fs", None), getattr(store, "store", None)
    options = getattr(inner[0], "storage_options", None), getattr(inner[1], "config", None)
    return tuple(secret for found in options if isinstance(found, Mapping) for secret in secrets_of(found))
