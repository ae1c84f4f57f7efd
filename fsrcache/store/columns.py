"""Labels, names and hashes of a store's rows: checked against the spec, and written once for all scales."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.store.existing import APART
from fsrcache.store.inventory import Inventory
from fsrcache.store.layout import MOST_LETTERS, MOST_ROOM, columns, digest
from fsrcache.store.shard import DamagedError, damaged_file, decode, encode, name_bytes
from fsrcache.store.spec import UNLABELLED, StoreSpec

NO_LABEL = -1

Columns = Mapping[str, Mapping[str, Any]]  # labels, ids and hashes: arrays by split


def name_hashes(names: Sequence[str] | NDArray[np.str_]) -> NDArray[np.uint8]:
    """Return uint8 ``[n, 16]`` that stand for pictures by their names."""
    texts = b"".join(blake2b(name_bytes(name), digest_size=16).digest() for name in names)
    return np.frombuffer(texts, np.uint8).reshape(-1, 16)


def check_columns(spec: StoreSpec, values: Columns) -> None:
    """Refuse labels, ids or hashes that a spec does not describe."""
    for split in spec.every_split:
        for name, array in columns(spec, split).items():
            if split not in values[name]:
                raise FsrcacheError(f"The spec has a split {split!r}, but there are no {name} of it.")
            column = values[name][split]
            if array.dtype == "string":  # not as an array, which may need four bytes a letter of the longest
                fits = len(column) == array.shape[0]
            else:
                fits = (
                    isinstance(column, np.ndarray)
                    and column.shape == array.shape
                    and (column.dtype.kind in "iu" if name == "labels" else column.dtype == array.dtype)
                )
            if not fits:
                what = f"{getattr(column, 'dtype', 'texts')} {list(getattr(column, 'shape', [len(column)]))}"
                what += "" if isinstance(column, np.ndarray) else f" in a {type(column).__name__}"
                wanted = "whole numbers" if name == "labels" else array.dtype
                raise FsrcacheError(f"The {name} of {split} are {what}, not {wanted} {list(array.shape)}.")
            if name == "ids":
                longest = max(len(name_bytes(value).decode()) for value in column)  # as it will be read
                most = min(MOST_LETTERS, MOST_ROOM // array.block)
                if longest > most:
                    what = f"A name of {split} has {longest} letters."
                    remedy = f"At most {most} are kept, of more names fewer; a byte that is no text counts six."
                    raise FsrcacheError(what, remedy)
            if name == "labels" and split == UNLABELLED:
                if (column != NO_LABEL).any():
                    raise FsrcacheError(f"The labels of {split} are not all {NO_LABEL}.", "It has no labels.")
            elif name == "labels" and not (column.min() >= 0 and column.max() < len(spec.classes)):
                raise FsrcacheError(
                    f"The labels of {split} go from {column.min()} to {column.max()}, but there are "
                    f"{len(spec.classes)} classes.",
                    "Labels are indices into the classes, from 0.",
                )


def write_columns(inventory: Inventory, spec: StoreSpec, values: Columns) -> dict[str, str]:
    """Write the columns that are missing, and return the digest of every column's file by key.

    Raises
    ------
    FsrcacheError
        If an existing column is damaged or other pictures or labels stand in it; other names may.
    """
    digests = {}
    for split in spec.every_split:
        for name, array in columns(spec, split).items():
            for block, key in enumerate(array.keys):
                rows = slice(block * array.block, block * array.block + array.rows(block))
                kept = inventory.read(key, array.column_bytes)
                data = encode(array, values[name][split][rows], block=block)
                if kept is None:
                    inventory.write(key, data)
                elif kept != data:
                    try:
                        decode(array, kept, block=block)
                    except DamagedError as error:
                        raise damaged_file(key, error, store=inventory.name, location=inventory.location) from None
                    if array.dtype != "string":
                        raise FsrcacheError(
                            f"The store {inventory.name} is of other content: {array.name} are others there.", APART
                        )
                digests[key] = digest(data if kept is None else kept)
    return digests
