"""The root of a store: the record of what the store is about and whether it is complete, to bytes and back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fsrcache.errors import FsrcacheError
from fsrcache.records import shortened
from fsrcache.store.layout import DIGEST_BYTES, ROOT, arrays, digest
from fsrcache.store.metadata import documents, group_document, is_sealed, parse_group, rewriting, sealed
from fsrcache.store.spec import VERSION, StoreSpec


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


def parse_root(data: bytes, *, store: str, location: str) -> Root:
    """Return what a root's ``zarr.json`` says.

    Parameters
    ----------
    data
        Bytes of the document.
    store, location
        Name and location of the store, for the error.

    Raises
    ------
    FsrcacheError
        If it is no store's, damaged, or of an unknown version.
    """
    remedy = rewriting(location)
    node, record = parse_group(data, where=f"{store}/{ROOT}", remedy=remedy)
    if record is None:
        what = f"a Zarr {node} but not" if node in ("group", "array") else "no Zarr group, and so not"
        raise FsrcacheError(
            f"{store} is {what} a feature store.", "Name another path, or extract into a folder of its own."
        )
    beside = ("complete", "shards", "metadata", "digest")
    try:
        spec = StoreSpec.from_dict({name: value for name, value in record.items() if name not in beside})
    except FsrcacheError as error:
        raise FsrcacheError(f"{store}/{ROOT}: {error.what}", error.remedy or remedy) from None
    wrong_field = partial(_wrong_field, store, remedy)
    if not isinstance(record.get("complete"), bool):
        raise wrong_field("complete", record.get("complete"), "true or false")
    if not is_sealed(record):
        raise FsrcacheError(f"The record in {store}/{ROOT} is not as it was written.", remedy)
    if not record["complete"]:
        return Root(spec)
    shards, files = record.get("shards"), {array.name: array.files for array in arrays(spec)}
    if not isinstance(shards, dict) or shards.keys() != files.keys():
        raise wrong_field("shards", shards, "digests of the files of every array")
    for name, count in files.items():
        digests = shards[name]
        if not isinstance(digests, list) or len(digests) != count or not all(map(_is_digest, digests)):
            raise wrong_field(f"shards of {name}", digests, f"{count} digests")
    return Root(spec, shards)


def is_of_other_version(data: bytes) -> bool:
    """Tell whether a root's ``zarr.json`` says that the store's format is of another version than this one's."""
    try:
        _, record = parse_group(data, where=ROOT, remedy="")
    except FsrcacheError:
        return False
    return record is not None and record.get("version", VERSION) != VERSION


def identity(data: bytes | None) -> StoreSpec | None:
    """Return what the metadata of a split repeat of the store, its scales unknown; None if they are damaged."""
    try:
        _, record = parse_group(data or b"", where=ROOT, remedy="")
        if record is None or not is_sealed(record):
            return None
        return StoreSpec.from_dict({**{k: v for k, v in record.items() if k != "digest"}, "scales": [1]})
    except FsrcacheError:
        return None


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-f]{{{2 * DIGEST_BYTES}}}", value) is not None


def _wrong_field(store: str, remedy: str, name: str, value: object, wanted: str) -> FsrcacheError:
    return FsrcacheError(f"{store}/{ROOT}: the field {name} is {shortened(value)}; it must be {wanted}.", remedy)
