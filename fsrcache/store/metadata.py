"""A store's ``zarr.json`` documents: functions of the spec, to the byte; and the sealed record in one."""

import json
from dataclasses import replace
from typing import Any

from fsrcache.errors import FsrcacheError, Remedy, call
from fsrcache.records import parse_json, shortened
from fsrcache.store.layout import ROOT, ArrayLayout, arrays, digest
from fsrcache.store.spec import StoreSpec

KEY = "fsrcache"  # of the record in a group's attributes
MOST_BYTES = 64 << 20  # of a document; a root of a million files has fewer
_MOST_VALUES = 4 << 20
_ENDIAN = {"name": "bytes", "configuration": {"endian": "little"}}
_CRC = {"name": "crc32c"}


def documents(spec: StoreSpec) -> dict[str, bytes]:
    """Return every metadata document below the root, by key; those of the splits repeat what the store is about."""
    every = arrays(spec)
    groups = {}
    for split in spec.every_split:
        groups[f"{split}/{ROOT}"] = split_document(spec, split)
        groups |= {f"{split}/x{scale}/{ROOT}": group_document(None) for scale in spec.scales}
    return groups | {f"{array.name}/{ROOT}": array_document(array) for array in every}


def split_document(spec: StoreSpec, split: str) -> bytes:
    """Return the ``zarr.json`` of a split, which no added scale and no other extra split changes."""
    own = replace(spec, extra={name: one for name, one in spec.extra.items() if name == split})
    return group_document(sealed({name: value for name, value in own.to_dict().items() if name != "scales"}))


def array_document(array: ArrayLayout) -> bytes:
    """Return an array's ``zarr.json``."""
    width = list(array.shape[1:])
    codecs: list[dict[str, Any]] = [_ENDIAN, _CRC]
    if array.dtype == "string":
        codecs = [{"name": "vlen-utf8"}, _CRC]
    elif array.dtype == "uint8":
        codecs = [{"name": "bytes"}, _CRC]
    if array.chunk is not None:
        inner = {"chunk_shape": [array.chunk, *width], "codecs": codecs, "index_codecs": [_ENDIAN, _CRC]}
        codecs = [{"name": "sharding_indexed", "configuration": {**inner, "index_location": "end"}}]
    return _to_bytes(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(array.shape),
            "data_type": array.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [array.block, *width]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": {"string": "", "uint8": 0, "uint16": 0, "int16": 0}.get(array.dtype, 0.0),
            "codecs": codecs,
            "dimension_names": ["face", "value"][: len(array.shape)],
            "attributes": {},
        }
    )


def group_document(record: dict[str, Any] | None) -> bytes:
    """Return a group's ``zarr.json``, with a record of ours or without."""
    attributes = {} if record is None else {KEY: record}
    return _to_bytes({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def rewriting(location: str) -> Remedy:
    """Return how a damaged document of the store at a location is rewritten."""
    return Remedy("`{}` rewrites it where it can.", call("verify", store=location, repair=True))


def parse_group(data: bytes, *, where: str, remedy: str) -> tuple[Any, dict[str, Any] | None]:
    """Return the kind of node that a document says it is, and the record in its attributes, not yet checked.

    The record is None where there is none, or the node is no group.

    Raises
    ------
    FsrcacheError
        If it is no JSON object, or holds more values than any document of a store; ``where`` and ``remedy`` are the
        error's.
    """
    if sum(map(data.count, (b"[", b"{", b","))) > _MOST_VALUES:
        raise FsrcacheError(f"{where} cannot be read: it has more than {_MOST_VALUES:,} values.", remedy)
    value = parse_json(data, where=where, remedy=remedy, most=MOST_BYTES)
    if not isinstance(value, dict):
        raise FsrcacheError(f"{where} cannot be read: it is {shortened(value)}, no JSON object.", remedy)
    node, attributes = value.get("node_type"), value.get("attributes")
    record = attributes.get(KEY) if isinstance(attributes, dict) and node == "group" else None
    return node, record if isinstance(record, dict) else None


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the digest of its other fields."""
    return {**record, "digest": digest(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())}


def is_sealed(record: dict[str, Any]) -> bool:
    """Tell whether a record is as it was sealed."""
    return record == sealed({name: value for name, value in record.items() if name != "digest"})


def _to_bytes(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
