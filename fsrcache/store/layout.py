"""Where a store's arrays lie and how they are cut into files: functions of the spec alone."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from fsrcache.store.spec import OUTPUTS, UNLABELLED, StoreSpec

DIGEST_BYTES, CRC_BYTES = 16, 4
MOST_LETTERS = 4096  # of a picture's name, as of a path
MOST_ROOM = 1 << 29  # letters, 2 GiB in memory, of a file's names, each with room for the longest; 512 of 2^20 names
_UTF8_BYTES = 4  # of a letter, at most
ROOT = "zarr.json"
_COLUMN_CHUNK = 1 << 20  # rows
_BYTE_CLASSES = 256  # that one byte tells apart
ITEMSIZE = {"uint8": 1, "uint16": 2, "int16": 2, "float16": 2, "float32": 4, "string": 0}


@dataclass(frozen=True)
class ArrayLayout:
    """One array of a store.

    Attributes
    ----------
    name
        Path below the root, such as ``train/x2/features``.
    shape
        ``[n]`` or ``[n, width]``.
    dtype
        Type of a value, as Zarr spells it.
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
        """Bytes of the chunks' checksums in a shard, their digest and the seal."""
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
        """Size of a file that is no shard; of texts the largest size."""
        if self.dtype == "string":
            return 2 * CRC_BYTES + self.block * (CRC_BYTES + MOST_LETTERS * _UTF8_BYTES)
        return self.block * self.row_bytes + CRC_BYTES

    @property
    def nbytes(self) -> int:
        """Bytes of its files; 0 for texts, whose lengths the spec does not tell."""
        if self.chunk is not None:
            return (self.files - 1) * self.shard_bytes(0) + self.shard_bytes(self.files - 1)
        if not self.row_bytes:
            return 0
        return self.files * self.column_bytes


def columns(spec: StoreSpec, split: str) -> dict[str, ArrayLayout]:
    """Return the arrays of a split that are the same at every scale: labels [n], ids [n], hashes [n, 16]."""
    n = spec.count(split)
    label = "uint8" if len(spec.classes) <= _BYTE_CLASSES else "uint16"
    forms: dict[str, tuple[str, tuple[int, ...]]] = {
        "labels": ("int16" if split == UNLABELLED else label, (n,)),
        "ids": ("string", (n,)),
        "hashes": ("uint8", (n, 16)),
    }
    block = min(n, _COLUMN_CHUNK)
    return {name: ArrayLayout(f"{split}/{name}", shape, dtype, block) for name, (dtype, shape) in forms.items()}


def outputs(spec: StoreSpec, split: str, *, scale: int) -> dict[str, ArrayLayout]:
    """Return the arrays of a split and scale, in order of writing: the features last."""
    n = spec.count(split)
    return {
        name: ArrayLayout(
            f"{split}/x{scale}/{name}",
            (n, spec.widths[name]),
            "float32" if name == "probabilities" else spec.dtype,
            spec.block,
            spec.chunk,
        )
        for name in OUTPUTS
        if name in spec.widths
    }


def arrays(spec: StoreSpec) -> list[ArrayLayout]:
    """Return every array of a store."""
    every: list[ArrayLayout] = []
    for split in spec.every_split:
        every += columns(spec, split).values()
        for scale in spec.scales:
            every += outputs(spec, split, scale=scale).values()
    return every


def digest(data: Any) -> str:
    """Return the hexadecimal digest by which a store knows bytes."""
    return blake2b(data, digest_size=DIGEST_BYTES).hexdigest()
