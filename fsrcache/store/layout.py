"""Where a store's arrays lie and how they are cut: uncompressed shards of checked chunks, every chunk written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec

from fsrcache.store.spec import StoreSpec

_COLUMN_CHUNK = 1 << 20  # rows


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
    def keys(self) -> list[str]:
        """The files that hold its values, in order of rows."""
        return [f"{self.name}/c/{i}{'/0' * (len(self.shape) - 1)}" for i in range(-(-self.shape[0] // self.block))]

    def missing(self, root: Path) -> list[int]:
        """Return the numbers of the files that are not there."""
        return [i for i, key in enumerate(self.keys) if not (root / key).is_file()]


def columns(spec: StoreSpec, split: str) -> dict[str, Place]:
    """Return the arrays of a split that are the same at every scale: labels [n], ids [n], hashes [n, 16]."""
    n = spec.rows[split]
    forms: dict[str, tuple[str, tuple[int, ...]]] = {
        "labels": ("uint8", (n,)),
        "ids": ("string", (n,)),
        "hashes": ("uint8", (n, 16)),
    }
    block = min(n, _COLUMN_CHUNK)
    return {name: Place(f"{split}/{name}", shape, dtype, block) for name, (dtype, shape) in forms.items()}


def outputs(spec: StoreSpec, split: str, *, scale: int) -> dict[str, Place]:
    """Return the arrays of a split and scale, in order of writing: the features last."""
    forms = {
        "probabilities": ("float32", len(spec.classes)),
        "embeddings": (spec.dtype, spec.embedding),
        "features": (spec.dtype, spec.vech_length),
    }
    n = spec.rows[split]
    return {
        name: Place(f"{split}/x{scale}/{name}", (n, width), dtype, spec.block, spec.chunk)
        for name, (dtype, width) in forms.items()
    }


def create_array(root: Path, place: Place) -> None:
    """Write an array's metadata."""
    width = place.shape[1:]
    checked: dict[str, Any] = {"compressors": [Crc32cCodec()]}
    if place.chunk is not None:
        checksummed: Any = (BytesCodec(), Crc32cCodec())
        shard = ShardingCodec(chunk_shape=(place.chunk, *width), codecs=checksummed, index_codecs=checksummed)
        checked = {"serializer": shard, "compressors": None}
    zarr.create_array(
        root,
        name=place.name,
        shape=place.shape,
        chunks=(place.block, *width),
        dtype=place.dtype,
        filters=None,
        fill_value="" if place.dtype == "string" else 0,
        **checked,
    )


def write_rows(root: Path, place: Place, *, rows: slice, values: Any) -> None:
    """Write whole blocks of an array, all-zero ones too."""
    with zarr.config.set({"array.write_empty_chunks": True}):  # open_array takes a config and forgets it (zarr 3.1.6)
        array = zarr.open_array(root, path=place.name, mode="r+")
    array[rows] = values


def read_array(root: Path, place: Place) -> Any:
    """Return the whole of an array.

    Raises
    ------
    ValueError
        If it is not the array that the store's record speaks of, a file is missing or a checksum is wrong.
    """
    array = zarr.open_array(root, path=place.name, mode="r")
    if array.shape != place.shape or str(array.metadata.to_dict()["data_type"]) != place.dtype:
        raise ValueError(f"it is {array.dtype} {array.shape}, not {place.dtype} {place.shape}")
    if absent := place.missing(root):
        raise ValueError(f"{place.keys[absent[0]]} is not there")
    return array[:]
