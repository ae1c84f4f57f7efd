"""What a feature store is about: the record in its attributes, and whether two stores are about the same."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from operator import index
from typing import Any, Self

from fsrcache.errors import FsrcacheError
from fsrcache.records import parse_json, shortened
from fsrcache.split_names import MOST_VIEWS, view_number

VERSION = 5
SPLITS = ("train", "val", "test")
UNLABELLED = "unlabelled"  # the split of faces without labels
DIGESTS = ("pictures", "labels", "order", "weights", "preprocessing")
OUTPUTS = ("probabilities", "embeddings", "early", "features")  # in order of writing: the features last
DTYPES = ("float16", "float32")

MOST_SCALES, LARGEST_SCALE = 1000, 1 << 14  # what imresize takes
_MOST_CLASSES = 1 << 16  # that labels of two bytes tell apart
_MOST_ROWS, _MOST_FILES, _MOST_CHUNKS_A_FILE = 1 << 36, 1 << 20, 1 << 16
_WIDEST, _MOST_CHUNK_BYTES = 1 << 31, 1 << 36
_LONGEST_NAME, _LONGEST_RECORD = 1024, 8 << 20  # letters, bytes
_NUMBER_BYTES = 4  # of a feature or a probability, at most
_CHUNK_BYTES = 2 << 20
_FEWEST_BLOCKS, _MOST_BLOCKS = 8, 1024  # of the largest split, while a block is of 1 to 64 chunks
_USUAL_CHUNKS, _MOST_CHUNKS = 8, 64  # of a block
_FREE = ("scales", "data", "extra")  # what may be added to a store, and what the digests say anyway
_TUPLES = ("classes", "scales")


@dataclass(frozen=True, kw_only=True)
class StoreSpec:
    """What a store holds: ``n`` rows a split, and vectors of some widths a row and scale.

    Attributes
    ----------
    version
        Version of the format.
    digests
        Hexadecimal digests of ``pictures``, ``labels``, ``order``, ``weights`` and ``preprocessing``.
    classes
        The ``K`` class names, at most 65,536, of at most 1024 letters.
    scales
        Ascending, at most 1000, none beyond 65,536; 1, the full resolution, is always among them.
    widths
        Numbers a row: ``features`` (``P``), and, where they are kept, ``embeddings`` (``E``), ``probabilities`` (``K``)
        and ``early`` features (``Q``).
    dtype
        Type of features, early ones too, and embeddings, ``float16`` or ``float32``; probabilities are float32.
    recipe
        How the features were made, as JSON values by name; stores of the same content agree on it.
    data
        The data in one line, for people.
    rows
        Rows ``n`` of every split that has pictures, at most 2^36; with the scales and outputs they make at most 2^20
        files.
    extra
        Splits that only trainings read, ``view-1``, ``view-2`` and so on and ``unlabelled``: the ``rows`` of each, and
        the hexadecimal ``digest`` of their pictures. They may be added later, and stores of the same content may differ
        in them.
    chunk
        Rows of an inner chunk, the unit of reading.
    block
        Rows of a shard, the unit of writing and resuming; a multiple of ``chunk``.

    Raises
    ------
    FsrcacheError
        If a field has a value that it may not have; the message names both.
    """

    version: int = VERSION
    digests: Mapping[str, str]
    classes: tuple[str, ...]
    scales: tuple[int, ...]
    widths: Mapping[str, int]
    dtype: str = "float16"
    recipe: Mapping[str, Any]
    data: str
    rows: Mapping[str, int]
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    chunk: int
    block: int

    def __post_init__(self) -> None:
        if not _whole(self.version, VERSION) or self.version != VERSION:
            raise FsrcacheError(
                f"The store's format is version {shortened(self.version)}; this fsrcache knows version {VERSION}.",
                "Use the fsrcache that wrote it, or extract again.",
            )
        for name in _TUPLES:
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        names = _mapping(self.digests) and set(self.digests) == set(DIGESTS)
        _expect(names and all(map(_hexadecimal, self.digests.values())), "digests", self.digests, "hexadecimal digests")
        named = f"different names of Unicode's letters, at least one, none longer than {_LONGEST_NAME}"
        _expect(_texts(self.classes), "classes", self.classes, named)
        _expect(len(self.classes) <= _MOST_CLASSES, "number of classes", len(self.classes), f"at most {_MOST_CLASSES}")
        for name in ("chunk", "block"):
            count = getattr(self, name)
            _expect(_whole(count, _MOST_ROWS), name, count, f"a whole number from 1 to {_MOST_ROWS}")
        ascending = f"whole numbers from 1 to {LARGEST_SCALE}, ascending, 1 among them, at most {MOST_SCALES}"
        _expect(_scales(self.scales), "scales", self.scales, ascending)
        outputs = _mapping(self.widths) and "features" in self.widths and set(self.widths) <= set(OUTPUTS)
        wide = outputs and all(_whole(width, _WIDEST) for width in self.widths.values())
        _expect(wide, "widths", self.widths, f"some of {OUTPUTS}, from 1 to {_WIDEST}")
        width = self.widths.get("probabilities", len(self.classes))
        _expect(width == len(self.classes), "widths", self.widths, "a probability a class")
        _expect(_text(self.dtype) and self.dtype in DTYPES, "dtype", self.dtype, " or ".join(DTYPES))
        _expect(_text(self.data), "data", self.data, "a text of Unicode's letters")
        splits = _mapping(self.rows) and len(self.rows) > 0 and set(self.rows) <= set(SPLITS)
        counts = splits and all(_whole(count, _MOST_ROWS) for count in self.rows.values())
        _expect(counts, "rows", self.rows, f"counts from 1 to {_MOST_ROWS} of {SPLITS}")
        _expect(self.block % self.chunk == 0, "block", self.block, f"a multiple of the chunk, {self.chunk}")
        chunks, largest = self.block // self.chunk, _NUMBER_BYTES * self.chunk * max(self.widths.values())
        _expect(chunks <= _MOST_CHUNKS_A_FILE, "block", self.block, f"at most {_MOST_CHUNKS_A_FILE} chunks")
        _expect(largest <= _MOST_CHUNK_BYTES, "chunk", self.chunk, "rows of fewer bytes together")
        _expect(_extra(self.extra), "extra", self.extra, "rows and digest of view-1 and so on, or unlabelled")
        files = sum(map(self.blocks, self.every_split)) * len(self.widths) * len(self.scales)
        _expect(files <= _MOST_FILES, "number of files", files, f"at most {_MOST_FILES}, by a larger block")
        _expect(_mapping(self.recipe), "recipe", self.recipe, "JSON values by name")
        object.__setattr__(self, "recipe", _plain(self.recipe))
        object.__setattr__(self, "digests", {name: self.digests[name] for name in DIGESTS})
        object.__setattr__(self, "widths", {name: self.widths[name] for name in OUTPUTS if name in self.widths})
        object.__setattr__(self, "rows", {split: self.rows[split] for split in SPLITS if split in self.rows})
        extra = {name: dict(self.extra[name]) for name in sorted(self.extra, key=_extra_order)}
        object.__setattr__(self, "extra", extra)
        length = len(json.dumps(self.to_dict()))
        _expect(length <= _LONGEST_RECORD, "number of letters", length, f"at most {_LONGEST_RECORD}")

    @classmethod
    def for_vectors(
        cls,
        width: int,
        *,
        rows: Mapping[str, int],
        classes: tuple[str, ...],
        content: Mapping[str, bytes | str],
        dtype: str = "float16",
        scales: tuple[int, ...] = (1,),
        data: str = "",
    ) -> Self:
        """Return the spec of a store of any network's vectors, its chunks cut to their width.

        Parameters
        ----------
        width
            Numbers a vector.
        rows, classes, dtype, scales, data
            Values of the attributes.
        content
            Bytes or text by the name of a digest: ``pictures``, ``labels``, ``order``, ``weights``, ``preprocessing``.
            Where they differ, a store is of other content; names left out never differ.
        """
        parts_fit = _mapping(content) and all(isinstance(part, bytes | bytearray | str) for part in content.values())
        if not parts_fit or not set(content) <= set(DIGESTS):
            raise FsrcacheError(f"The content is {shortened(content)}; it is bytes or text by some of {DIGESTS}.")
        parts = {name: content.get(name, b"") for name in DIGESTS}
        _expect(_text(dtype) and dtype in DTYPES, "dtype", dtype, " or ".join(DTYPES))
        _expect(_mapping(rows) and len(rows) > 0, "rows", rows, f"counts from 1 of {SPLITS}")
        try:
            width, rows = index(width), {split: index(count) for split, count in rows.items()}  # NumPy's numbers too
        except TypeError:
            raise FsrcacheError(
                f"The width is {shortened(width)} and the rows are {shortened(rows)}.", "They are whole numbers."
            ) from None
        fits = _whole(width, _WIDEST) and all(_whole(count, _MOST_ROWS) for count in rows.values())
        _expect(fits, "width or rows", (width, rows), f"from 1 to {_WIDEST} and {_MOST_ROWS}")
        chunk, block = chunk_and_block(width * int(dtype.removeprefix("float")) // 8, rows)
        return cls(
            digests={
                name: sha256(part.encode(errors="surrogatepass") if isinstance(part, str) else part).hexdigest()
                for name, part in parts.items()
            },
            classes=classes, scales=scales, widths={"features": width}, dtype=dtype, recipe={}, data=data,
            rows=rows, chunk=chunk, block=block,
        )  # fmt: skip

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have pictures."""
        return tuple(self.rows)

    @property
    def every_split(self) -> tuple[str, ...]:
        """The splits that have pictures, and after them those that only trainings read."""
        return (*self.rows, *self.extra)

    @property
    def digest(self) -> str:
        """A hexadecimal digest of the whole record."""
        return _digest(self.to_dict())

    @property
    def content_digests(self) -> dict[str, str]:
        """Hexadecimal digests, by field, of what stores of the same content agree on; added scales change none."""
        fields = {name.removeprefix("digests."): value for name, value in self.compared().items()}
        return {name: value if name in DIGESTS else _digest(value) for name, value in fields.items()}

    def count(self, split: str) -> int:
        """Return the rows of a split."""
        return self.rows[split] if split in self.rows else int(self.extra[split]["rows"])

    def blocks(self, split: str) -> int:
        """Return how many blocks the rows of a split are written in."""
        return -(-self.count(split) // self.block)

    def rows_of(self, split: str, block: int) -> slice:
        """Return which rows of a split a block holds; the last block may be short."""
        start = block * self.block
        return slice(start, min(start + self.block, self.count(split)))

    def with_scales(self, scales: tuple[int, ...]) -> "StoreSpec":
        """Return the spec with these scales beside its own."""
        return replace(self, scales=tuple(sorted({*self.scales, *scales})))

    def with_additions(self, other: "StoreSpec") -> "StoreSpec":
        """Return the spec with the scales and the extra splits of another of the same content beside its own."""
        return replace(self.with_scales(other.scales), extra={**other.extra, **self.extra})

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values; ``extra`` only where there are such splits."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        if not self.extra:
            del record["extra"]
        return record | {name: list(record[name]) for name in _TUPLES}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Return the spec of a record, the inverse of ``to_dict``.

        Raises
        ------
        FsrcacheError
            If a field is missing, unknown or wrong, or the version is unknown.
        """
        names = [field.name for field in fields(cls)]
        record = {"extra": {}, **record}
        if record.get("version") == VERSION:  # another version may well have other fields
            for name in sorted(set(names) ^ set(record)):
                raise FsrcacheError(
                    f"The store's record has {'no' if name in names else 'an unknown'} field {shortened(name)}."
                )
        values: dict[str, Any] = {name: record.get(name) for name in names}
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


def chunk_and_block(row_bytes: int, rows: Mapping[str, int]) -> tuple[int, int]:
    """Return the rows of an inner chunk and of a block.

    A chunk holds 1 to 2 MiB of features; a block 8 chunks, fewer where a split has less than 64, and up to 64 where it
    would have more than 1024 blocks, so that neither resuming nor the number of files grows coarse.

    Parameters
    ----------
    row_bytes
        Bytes of a row's features.
    rows
        Rows of every split.
    """
    most = max(rows.values())
    fitting = max(1, _CHUNK_BYTES // row_bytes)
    chunk = min(1 << (fitting.bit_length() - 1), most)
    chunks = -(-most // chunk)
    block_chunks = min(_USUAL_CHUNKS, max(1, chunks // _FEWEST_BLOCKS))
    while block_chunks < _MOST_CHUNKS and chunks > block_chunks * _MOST_BLOCKS:
        block_chunks *= 2
    return chunk, chunk * block_chunks


def _refusal(name: str, value: object, wanted: str) -> FsrcacheError:
    return FsrcacheError(f"The store's field {name} is {shortened(value)}; it must be {wanted}.")


def _expect(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise _refusal(name, value, wanted)


def _digest(value: Any) -> str:
    """Return the hexadecimal SHA-256 of a JSON value."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _hexadecimal(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{1,128}", value) is not None


def _text(value: object) -> bool:
    """Tell whether a value is a text that can be written: half of a surrogate pair cannot."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _texts(value: object) -> bool:
    if not isinstance(value, tuple) or not all(_text(text) and len(text) <= _LONGEST_NAME for text in value):
        return False
    return 0 < len(value) == len(set(value))


def _scales(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) > MOST_SCALES:
        return False
    whole = all(_whole(scale, LARGEST_SCALE) for scale in value)
    return whole and 1 in value and list(value) == sorted(set(value))


def _extra(value: object) -> bool:
    """Tell whether a value says rows and digest of splits that only trainings read."""
    if not isinstance(value, Mapping):
        return False
    return all(
        isinstance(split, str) and (split == UNLABELLED or view_number(split))
        and isinstance(one, Mapping) and one.keys() == {"rows", "digest"}
        and _whole(one["rows"], _MOST_ROWS) and _hexadecimal(one["digest"])
        for split, one in value.items()
    )  # fmt: skip


def _extra_order(split: str) -> int:
    return view_number(split) or MOST_VIEWS + 1


def _plain(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe as it will be read from a document's attributes."""
    try:
        text = json.dumps([[[dict(recipe)]]], allow_nan=False, sort_keys=True, ensure_ascii=False)
        plain: dict[str, Any] = parse_json(text.encode(), where="it")[0][0][0]
    except (TypeError, ValueError, RecursionError) as error:
        raise _refusal("recipe", recipe, f"JSON values by name ({shortened(str(error))})") from None
    except FsrcacheError as error:
        raise _refusal("recipe", recipe, f"JSON values by name ({error.what})") from None
    return plain
