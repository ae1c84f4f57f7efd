"""What a feature store is about: the record in its attributes, and whether two stores are about the same."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from typing import Any, Self

from fsrcache.errors import FsrcacheError

VERSION = 1
SPLITS = ("train", "val", "test")
DIGESTS = ("pictures", "labels", "order", "weights", "preprocessing")

_CHUNK_BYTES = 2 << 20
_CHUNKS_OF_A_BLOCK = 8
_FREE = ("scales", "data")  # scales may be added to a store, a description says nothing that the digests do not
_TUPLES = ("classes", "scales")


@dataclass(frozen=True, kw_only=True)
class StoreSpec:
    """What a store holds: ``n`` rows a split, ``P`` features, ``E`` embeddings and ``K`` probabilities a row and scale.

    Attributes
    ----------
    version
        Of the format.
    digests
        Hexadecimal, of the ``pictures``, ``labels``, ``order``, ``weights`` and ``preprocessing``.
    classes
        The ``K`` class names.
    side
        Pixels of the square pictures.
    spd_side
        ``D``, the side of the log-covariance.
    embedding
        ``E``, the width of the embeddings.
    scales
        Ascending; 1, the full resolution, is always among them.
    degradation
        How the coarse pictures are made; any JSON values.
    dtype
        Of the features and embeddings.
    data
        The data in one line, for people.
    rows
        ``n`` of every split that has pictures.
    chunk
        Rows of an inner chunk, the unit of reading.
    block
        Rows of a shard, the unit of writing and resuming; a multiple of ``chunk``.

    Raises
    ------
    FsrcacheError
        If a field cannot be; the message names it and its value.
    """

    version: int = VERSION
    digests: Mapping[str, str]
    classes: tuple[str, ...]
    side: int
    spd_side: int
    embedding: int
    scales: tuple[int, ...]
    degradation: Mapping[str, Any]
    dtype: str = "float16"
    data: str
    rows: Mapping[str, int]
    chunk: int
    block: int

    def __post_init__(self) -> None:
        if not _whole(self.version) or self.version != VERSION:
            raise FsrcacheError(
                f"The store's format is version {self.version!r}; this fsrcache knows version {VERSION}.",
                "Use the fsrcache that wrote it, or extract again.",
            )
        names = _mapping(self.digests) and set(self.digests) == set(DIGESTS)
        _expect(names and all(map(_hexadecimal, self.digests.values())), "digests", self.digests, "hexadecimal digests")
        _expect(_texts(self.classes), "classes", self.classes, "different names, at least one")
        for name in ("side", "spd_side", "embedding", "chunk", "block"):
            _expect(_whole(getattr(self, name)), name, getattr(self, name), "a whole number from 1")
        _expect(_scales(self.scales), "scales", self.scales, "whole numbers from 1, ascending, 1 among them")
        _expect(self.dtype == "float16", "dtype", self.dtype, "float16")
        _expect(isinstance(self.data, str), "data", self.data, "a text")
        splits = _mapping(self.rows) and len(self.rows) > 0 and set(self.rows) <= set(SPLITS)
        _expect(splits and all(map(_whole, self.rows.values())), "rows", self.rows, f"counts from 1 of {SPLITS}")
        _expect(self.block % self.chunk == 0, "block", self.block, f"a multiple of the chunk, {self.chunk}")
        _expect(_mapping(self.degradation), "degradation", self.degradation, "JSON values by name")
        try:
            plain = json.loads(json.dumps(dict(self.degradation), allow_nan=False, sort_keys=True))
        except (TypeError, ValueError) as error:
            raise _refusal("degradation", self.degradation, f"JSON values by name ({error})") from None
        object.__setattr__(self, "degradation", plain)
        object.__setattr__(self, "digests", {name: self.digests[name] for name in DIGESTS})
        object.__setattr__(self, "rows", {split: self.rows[split] for split in SPLITS if split in self.rows})

    @property
    def vech_length(self) -> int:
        """``P``, the length of a feature vector."""
        return self.spd_side * (self.spd_side + 1) // 2

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have pictures."""
        return tuple(self.rows)

    @property
    def digest(self) -> str:
        """A hexadecimal digest of the whole record."""
        return sha256(json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        return record | {name: list(record[name]) for name in _TUPLES}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Return the record that ``to_dict`` gave.

        Raises
        ------
        FsrcacheError
            If a field is missing, unknown or cannot be, or the version is another.
        """
        names = [field.name for field in fields(cls)]
        if record.get("version") == VERSION:  # another version may well have other fields
            for name in sorted(set(names) ^ set(record)):
                raise FsrcacheError(
                    f"The store's record has {'no' if name in names else 'an unknown'} field {name!r}.", _DAMAGED
                )
        known = {name: record[name] for name in names if name in record}
        lists = {name: tuple(known[name]) for name in _TUPLES if isinstance(known.get(name), list)}
        values: dict[str, Any] = dict.fromkeys(names) | known | lists
        return cls(**values)

    def compared(self) -> dict[str, Any]:
        """Return what stores of the same content agree on, by field, the digests each by its own name."""
        record = {name: value for name, value in self.to_dict().items() if name not in _FREE}
        digests = record.pop("digests")
        return {f"digests.{name}": value for name, value in digests.items()} | record

    def differences(self, other: "StoreSpec") -> list[str]:
        """Return the names of the fields in which another store's content differs; scales may differ."""
        there = other.compared()
        return [name for name, value in self.compared().items() if value != there[name]]


def chunk_and_block(vech_length: int, rows: Mapping[str, int]) -> tuple[int, int]:
    """Return the rows of an inner chunk, 1 to 2 MiB of features, and of a block, eight chunks; fewer for less data.

    Parameters
    ----------
    vech_length
        ``P``.
    rows
        Of every split.
    """
    most = max(rows.values())
    fitting = max(1, _CHUNK_BYTES // (2 * vech_length))
    chunk = min(1 << (fitting.bit_length() - 1), most)
    return chunk, chunk * min(_CHUNKS_OF_A_BLOCK, -(-most // chunk))


_DAMAGED = "The store's metadata is damaged: remove the store and extract again."


def _refusal(name: str, value: object, wanted: str) -> FsrcacheError:
    return FsrcacheError(f"The store's field {name} is {value!r}; it must be {wanted}.", _DAMAGED)


def _expect(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise _refusal(name, value, wanted)


def _mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _hexadecimal(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]+", value) is not None


def _texts(value: object) -> bool:
    if not isinstance(value, tuple) or not all(isinstance(text, str) for text in value):
        return False
    return 0 < len(value) == len(set(value))


def _scales(value: object) -> bool:
    return isinstance(value, tuple) and all(map(_whole, value)) and 1 in value and list(value) == sorted(set(value))
