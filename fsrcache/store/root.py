"""The root of a store: whether there is one, what it says of itself, and errors as our own."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fsrcache.errors import FsrcacheError
from fsrcache.records import parse_json, shortened
from fsrcache.store.layout import DIGEST_BYTES, ROOT, digest, documents, group_document, is_sealed, places, sealed
from fsrcache.store.local import IrregularError
from fsrcache.store.objects import Objects, read_at_most
from fsrcache.store.redact import redacted
from fsrcache.store.spec import StoreSpec

KEY = "fsrcache"
MOST_BYTES = 64 << 20  # of metadata; a root of a million files has fewer
_MOST_VALUES = 4 << 20
_REACHED = "See that the place can be reached and read."
_REPAIR = "`fsrcache verify STORE --repair` rewrites it where it can."
_ODD = "`fsrcache verify STORE` tells all such; --repair removes them, and nothing that they point to."


@dataclass(frozen=True)
class Root:
    """What a store's root says.

    Attributes
    ----------
    spec
        What the store is about.
    shards
        Where the store is complete: the digests of every array's files, in order of rows; else None.
    """

    spec: StoreSpec
    shards: Mapping[str, Sequence[str]] | None = field(default=None)

    @property
    def complete(self) -> bool:
        """Whether everything is written."""
        return self.shards is not None

    def document(self) -> bytes:
        """Return the root's ``zarr.json``."""
        record: dict[str, Any] = {**self.spec.to_dict(), "complete": self.complete}
        if self.shards is not None:
            record["shards"] = {name: list(digests) for name, digests in self.shards.items()}
            record["metadata"] = {key: digest(data) for key, data in documents(self.spec).items()}
        return group_document(sealed(record))


@contextmanager
def storage_errors(what: str, *, remedy: str) -> Iterator[None]:
    """Turn what the storage or its clients raise into an FsrcacheError that begins with ``what``."""
    try:
        yield
    except IrregularError as error:
        raise FsrcacheError(f"{what}: {error.strerror}.", _ODD) from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        said = redacted(" ".join(text.split())).rstrip(".") or type(error).__name__
        raise FsrcacheError(f"{what}: {said}.", remedy) from None


def read_root(objects: Objects) -> Root | None:
    """Return what the store at a place says of itself; None where there is no Zarr group.

    Raises
    ------
    FsrcacheError
        If something else is there, it cannot be read or is damaged, or it is of an unknown version.
    """
    with storage_errors(f"{objects.name} cannot be read as a feature store", remedy=_REACHED):
        data = read_at_most(objects, ROOT, MOST_BYTES)
    return None if data is None else parse_root(objects, data)


def parse_root(objects: Objects, data: bytes) -> Root:
    """Return what a root's ``zarr.json`` says; errors as of :func:`read_root`."""
    root = _parsed(data, where=f"{objects.name}/{ROOT}")
    attributes, node = root.get("attributes"), root.get("node_type")
    record = attributes.get(KEY) if isinstance(attributes, dict) and node == "group" else None
    if not isinstance(record, dict):
        what = f"a Zarr {node} but not" if node in ("group", "array") else "no Zarr group, and so not"
        raise FsrcacheError(
            f"{objects.name} is {what} a feature store.", "Name another path, or extract into a folder of its own."
        )
    return _root(objects, record)


def identity(data: bytes | None) -> StoreSpec | None:
    """Return what the metadata of a split repeat of the store, its scales unknown; None if they are damaged."""
    try:
        attributes = _parsed(data or b"", where=ROOT).get("attributes")
        record = attributes.get(KEY) if isinstance(attributes, dict) else None
        if not isinstance(record, dict) or not is_sealed(record):
            return None
        return StoreSpec.from_dict({**{k: v for k, v in record.items() if k != "digest"}, "scales": [1]})
    except FsrcacheError:
        return None


def _parsed(data: bytes, *, where: str) -> dict[str, Any]:
    """Return the JSON object in a document, which has no more values than any document of a store."""
    if sum(map(data.count, (b"[", b"{", b","))) > _MOST_VALUES:
        raise FsrcacheError(f"{where} cannot be read: it has more than {_MOST_VALUES:,} values.", _REPAIR)
    found = parse_json(data, where=where, remedy=_REPAIR, most=MOST_BYTES)
    if not isinstance(found, dict):
        raise FsrcacheError(f"{where} cannot be read: it is {shortened(found)}, no JSON object.", _REPAIR)
    return found


def _root(objects: Objects, record: dict[str, Any]) -> Root:
    beside = ("complete", "shards", "metadata", "digest")
    try:
        spec = StoreSpec.from_dict({name: value for name, value in record.items() if name not in beside})
    except FsrcacheError as error:
        raise FsrcacheError(f"{objects.name}/{ROOT}: {error.what}", error.remedy) from None
    if not isinstance(record.get("complete"), bool):
        raise _wrong(objects, "complete", record.get("complete"), "true or false")
    if not is_sealed(record):
        raise FsrcacheError(f"The record in {objects.name}/{ROOT} is not as it was written.", _REPAIR)
    if not record["complete"]:
        return Root(spec)
    shards, files = record.get("shards"), {place.name: place.files for place in places(spec)}
    if not isinstance(shards, dict) or shards.keys() != files.keys():
        raise _wrong(objects, "shards", shards, "digests of the files of every array")
    for name, count in files.items():
        digests = shards[name]
        if not isinstance(digests, list) or len(digests) != count or not all(map(_is_digest, digests)):
            raise _wrong(objects, f"shards of {name}", digests, f"{count} digests")
    return Root(spec, shards)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{2 * DIGEST_BYTES}}}", value) is not None


def _wrong(objects: Objects, name: str, value: object, wanted: str) -> FsrcacheError:
    return FsrcacheError(
        f"{objects.name}/{ROOT}: the field {name} is {shortened(value)}; it must be {wanted}.", _REPAIR
    )
