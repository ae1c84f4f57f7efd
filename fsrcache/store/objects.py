"""The files of a store, in a local folder or in whatever Zarr opens: whole files in, ranges of them out."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, arguments, call
from fsrcache.files import PARTIAL as PARTIAL
from fsrcache.records import shortened
from fsrcache.store.local import Entry, IrregularError, LocalObjects
from fsrcache.store.redact import redacted, secrets_of, secrets_of_client, secrets_of_url
from fsrcache.store.remote import ZarrObjects

if TYPE_CHECKING:
    from zarr.abc.store import Store


class Objects(Protocol):
    """Files by key, such as ``train/x2/features/c/0/0``. Every method raises OSError where the storage does.

    In a local folder no link below it is followed: where one stands, reading and writing raise an IrregularError.

    Attributes
    ----------
    name
        Location in words, without credentials.
    folder
        The local folder, absolute; None elsewhere.
    """

    name: str
    folder: Path | None

    def read(self, key: str, *, start: int = 0, length: int | None = None, most: int | None = None) -> bytes | None:
        """Return the bytes of a file from ``start``, counted from its end if negative; None where there is none.

        ``length`` is how many; only a local folder may return fewer. ``most`` is how many are expected at most: a local
        folder returns one more of a longer file, other storage all, as some knows no range beyond an object's end.
        """

    def write(self, key: str, data: bytes | bytearray) -> None:
        """Write a file whole: after a crash the old one, the new one or none is there."""

    def remove(self, key: str) -> None:
        """Remove a file if there is one."""

    def keys(self) -> Iterator[str]:
        """Yield the keys of all files; none where the location does not exist."""

    def entries(self) -> Mapping[str, Entry]:
        """Return the kind of every entry by key: files, and in a local folder everything else too."""


def objects_at(location: "str | PathLike[str] | Store", *, storage_options: Mapping[str, Any] | None = None) -> Objects:
    """Return the files at a path, at a URL that Zarr opens through fsspec, or in a Zarr store.

    Parameters
    ----------
    location
        A folder, ``s3://bucket/path`` or alike, or a store object, such as zarr's ObjectStore or icechunk's. A leading
        ``~`` of a folder is expanded.
    storage_options
        Options of fsspec, for a URL.

    Raises
    ------
    RequestError
        If this is no location, the URL cannot be opened, or the system has no descriptors of folders.
    """
    if not isinstance(location, str | PathLike):
        if not hasattr(location, "list_prefix"):
            raise RequestError(
                f"The location of a store is {shortened(location)}.", "Name a folder, a URL or a Zarr store."
            )
        return ZarrObjects(location, name=f"a {type(location).__name__}", secrets=secrets_of_client(location))
    text = os.fsdecode(location)
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
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise RequestError(
            f"{redacted(text, hidden)} cannot be opened: {redacted(reason, hidden)}.",
            "Name a folder or a URL that fsspec knows; s3:// needs the package s3fs, gs:// gcsfs.",
        ) from None
    return ZarrObjects(store, name=redacted(text, hidden), secrets=hidden)


def location_of(objects: Objects) -> str:
    """Return the location as a call's argument names it."""
    if objects.folder is not None:
        return str(objects.folder)
    return objects.name if "://" in objects.name else Blank("store")


@contextmanager
def storage_errors(what: str, objects: Objects, *, remedy: str) -> Iterator[None]:
    """Turn what the storage or its clients raise into an FsrcacheError that begins with ``what``."""
    try:
        yield
    except IrregularError as error:
        raise FsrcacheError(
            f"{what}: {error.strerror}.",
            Remedy(
                "`{}` names every such entry; with `{}` it removes them, and nothing that they point to.",
                call("verify", store=location_of(objects)),
                arguments(repair=True),
            ),
        ) from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = redacted(" ".join(text.split())).rstrip(".") or type(error).__name__
        raise FsrcacheError(f"{what}: {reason}.", remedy) from None
