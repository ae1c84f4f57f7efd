"""Where a store's arrays lie and how they are cut; their metadata are functions of the spec, to the byte."""

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from fsrcache.store.spec import OUTPUTS, StoreSpec

DIGEST_BYTES, CRC_BYTES = 16, 4
MOST_LETTERS = 4096  # of a picture's name, as of a path
_UTF8_BYTES = 4  # of a letter, at most
ROOT = "zarr.json"
_COLUMN_CHUNK = 1 << 20  # rows
_ENDIAN = {"name": "bytes", "configuration": {"endian": "little"}}
_CRC = {"name": "crc32c"}
_BYTE_CLASSES = 256  # that one byte tells apart
ITEMSIZE = {"uint8": 1, "uint16": 2, "float16": 2, "float32": 4, "string": 0}


@dataclass(frozen=True)
class Place:
    """One array of a store.

    Attributes
    ----------
    name
        Its path below the root.
    shape
        ``[n]`` or ``[n, width]``.
    dtype
        As Zarr spells it.
    block
        Rows of a file.
    chunk
        Rows of an inner chunk where files are shards, else None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    block: int
    chunk: int | None = None

    @property
    def files(self) -> int:
        """How many files hold its values."""
        return -(-self.shape[0] // self.block)

    @property
    def keys(self) -> list[str]:
        """The files that hold its values, in order of rows."""
        return [self.key(block) for block in range(self.files)]

    def key(self, block: int) -> str:
        """Return the file that holds a block."""
        return f"{self.name}/c/{block}{'/0' * (len(self.shape) - 1)}"

    def rows(self, block: int) -> int:
        """Return how many rows a file holds."""
        return min(self.block, self.shape[0] - block * self.block)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row; 0 for texts."""
        return ITEMSIZE[self.dtype] * (self.shape[1] if len(self.shape) > 1 else 1)

    @property
    def seal_bytes(self) -> int:
        """Bytes of a shard that say what stands where in it: the chunks' checksums, their digest and the seal."""
        assert self.chunk is not None
        return CRC_BYTES * (self.block // self.chunk) + 2 * DIGEST_BYTES

    @property
    def tail_bytes(self) -> int:
        """Bytes of a shard after its chunks: those of the seal, the index and the index's checksum."""
        assert self.chunk is not None
        return self.seal_bytes + 16 * (self.block // self.chunk) + CRC_BYTES

    def shard_bytes(self, block: int) -> int:
        """Return the size of a shard."""
        assert self.chunk is not None
        chunks = -(-self.rows(block) // self.chunk)
        return chunks * (self.chunk * self.row_bytes + CRC_BYTES) + self.tail_bytes

    @property
    def column_bytes(self) -> int:
        """The size of a file that is no shard; of texts the most that it may be."""
        if self.dtype == "string":
            return 2 * CRC_BYTES + self.block * (CRC_BYTES + MOST_LETTERS * _UTF8_BYTES)
        return self.block * self.row_bytes + CRC_BYTES

    @property
    def nbytes(self) -> int:
        """Bytes of its files, as far as the spec tells: without texts."""
        if self.chunk is not None:
            return (self.files - 1) * self.shard_bytes(0) + self.shard_bytes(self.files - 1)
        if not self.row_bytes:
            return 0
        return self.files * self.column_bytes

    def document(self) -> bytes:
        """Return the array's ``zarr.json``."""
        width = list(self.shape[1:])
        codecs: list[dict[str, Any]] = [_ENDIAN, _CRC]
        if self.dtype == "string":
            codecs = [{"name": "vlen-utf8"}, _CRC]
        elif self.dtype == "uint8":
            codecs = [{"name": "bytes"}, _CRC]
        if self.chunk is not None:
            inner = {"chunk_shape": [self.chunk, *width], "codecs": codecs, "index_codecs": [_ENDIAN, _CRC]}
            codecs = [{"name": "sharding_indexed", "configuration": {**inner, "index_location": "end"}}]
        return to_bytes(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": list(self.shape),
                "data_type": self.dtype,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [self.block, *width]}},
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": {"string": "", "uint8": 0, "uint16": 0}.get(self.dtype, 0.0),
                "codecs": codecs,
                "dimension_names": ["face", "value"][: len(self.shape)],
                "attributes": {},
            }
        )


def columns(spec: StoreSpec, split: str) -> dict[str, Place]:
    """Return the arrays of a split that are the same at every scale: labels [n], ids [n], hashes [n, 16]."""
    n = spec.rows[split]
    forms: dict[str, tuple[str, tuple[int, ...]]] = {
        "labels": ("uint8" if len(spec.classes) <= _BYTE_CLASSES else "uint16", (n,)),
        "ids": ("string", (n,)),
        "hashes": ("uint8", (n, 16)),
    }
    block = min(n, _COLUMN_CHUNK)
    return {name: Place(f"{split}/{name}", shape, dtype, block) for name, (dtype, shape) in forms.items()}


def outputs(spec: StoreSpec, split: str, *, scale: int) -> dict[str, Place]:
    """Return the arrays of a split and scale, in order of writing: the features last."""
    n = spec.rows[split]
    return {
        name: Place(
            f"{split}/x{scale}/{name}",
            (n, spec.widths[name]),
            "float32" if name == "probabilities" else spec.dtype,
            spec.block,
            spec.chunk,
        )
        for name in OUTPUTS
        if name in spec.widths
    }


def places(spec: StoreSpec) -> list[Place]:
    """Return every array of a store."""
    found: list[Place] = []
    for split in spec.splits:
        found += columns(spec, split).values()
        for scale in spec.scales:
            found += outputs(spec, split, scale=scale).values()
    return found


def documents(spec: StoreSpec) -> dict[str, bytes]:
    """Return every metadata document below the root, by key; those of the splits repeat what the store is about."""
    record = sealed({name: value for name, value in spec.to_dict().items() if name != "scales"})
    found = {}
    for split in spec.splits:
        found[f"{split}/zarr.json"] = group_document(record)
        found |= {f"{split}/x{scale}/zarr.json": group_document(None) for scale in spec.scales}
    return found | {f"{place.name}/zarr.json": place.document() for place in places(spec)}


def group_document(record: dict[str, Any] | None) -> bytes:
    """Return a group's ``zarr.json``, with a record of ours or without."""
    attributes = {} if record is None else {"fsrcache": record}
    return to_bytes({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with the digest of its other fields."""
    return {**record, "digest": digest(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())}


def is_sealed(record: dict[str, Any]) -> bool:
    """Tell whether a record is as it was sealed."""
    return record == sealed({name: value for name, value in record.items() if name != "digest"})


def digest(data: Any) -> str:
    """Return the hexadecimal digest of bytes that a store's root keeps."""
    return blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def to_bytes(record: dict[str, Any]) -> bytes:
    """Return a metadata document."""
    return (json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
