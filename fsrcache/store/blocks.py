"""Blocks of rows at a scale, the units of writing: those of a part, the missing ones, and one written."""

from collections.abc import Container, Iterable, Mapping
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.records import shortened
from fsrcache.store.inventory import Inventory
from fsrcache.store.layout import ArrayLayout, outputs
from fsrcache.store.shard import encode
from fsrcache.store.spec import StoreSpec

Block = tuple[str, int, int]  # split, scale, block


def checked_part(part: object) -> tuple[int, int]:
    """Return a part ``(i, n)``, whose numbers may be NumPy's; raise an FsrcacheError for anything else."""
    try:
        i, n = map(index, part)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        i, n = 0, 0
    if not 1 <= i <= n:
        raise FsrcacheError(f"The part is {shortened(part)}.", "It is (i, n) with whole numbers, i from 1 to n.")
    return i, n


def blocks_of_part(spec: StoreSpec, part: tuple[int, int]) -> list[Block]:
    """Return the (split, scale, block) of a part, the scales of a block next to each other."""
    blocks = [(split, block) for split in spec.every_split for block in range(spec.blocks(split))]
    i, n = part
    return [(split, scale, block) for split, block in blocks[i - 1 :: n] for scale in spec.scales]


def missing_blocks(spec: StoreSpec, blocks: Iterable[Block], keys: Container[str]) -> list[Block]:
    """Return the blocks of which a file is not among the keys."""

    def is_there(split: str, scale: int, block: int) -> bool:
        return all(array.key(block) in keys for array in outputs(spec, split, scale=scale).values())

    return [block for block in blocks if not is_there(*block)]


def write_block(
    inventory: Inventory, spec: StoreSpec, block: Block, values: Mapping[str, Any], *, ids: Mapping[str, Any]
) -> None:
    """Write a block at a scale; a file of it that is in the inventory is left as it is.

    Whoever writes a block again writes the same bytes.

    Parameters
    ----------
    inventory, spec
        Files of the store, and what it is about.
    block
        The block.
    values
        Rows ``[rows, width]`` by output; None for an output that is not kept.
    ids
        Names of the pictures by split, for the error.

    Raises
    ------
    FsrcacheError
        If the store has no such block, an output is missing or unknown, a value cannot be stored, or writing fails.
        Only then may anything have been written.
    """
    split, scale, number = block
    if not (split in spec.every_split and scale in spec.scales and number in range(spec.blocks(split))):
        raise FsrcacheError(f"The store {inventory.name} has no block {number} of {split} at scale {scale}.")
    scale, number = int(scale), int(number)  # NumPy's are not written alike
    for array, rows in _checked_values(inventory.name, spec, (split, scale, number), values, ids).items():
        if (key := array.key(number)) not in inventory.keys:
            inventory.write(key, encode(array, rows, block=number))


def _checked_values(
    store: str, spec: StoreSpec, at: Block, values: Mapping[str, Any], ids: Mapping[str, Any]
) -> dict[ArrayLayout, NDArray[np.floating]]:
    """Return the values of a block by the arrays that they belong to, in order of writing."""
    split, scale, block = at
    arrays = outputs(spec, split, scale=scale)
    kept = {name: np.asarray(rows) for name, rows in values.items() if rows is not None}
    if odd := sorted(kept.keys() ^ arrays.keys()):
        raise FsrcacheError(f"The store {store} holds {', '.join(arrays)}; {', '.join(odd)} do not fit that.")
    for name, array in arrays.items():
        _check_rows(array, block, kept[name], ids=ids[split])
    return {array: kept[name] for name, array in arrays.items()}


def _check_rows(array: ArrayLayout, block: int, rows: NDArray[np.floating], *, ids: Any) -> None:
    """Refuse rows of another shape or type, and numbers that the array's dtype cannot keep."""
    shape = (array.rows(block), array.shape[1])
    if rows.shape != shape or rows.dtype.kind not in "fiu":
        what = f"{rows.dtype} {list(rows.shape)}"
        raise FsrcacheError(f"The block of {array.name} is {what}, not real numbers {list(shape)}.")
    assert array.chunk is not None
    for start in range(0, len(rows), array.chunk):
        with np.errstate(over="ignore"):
            finite = np.isfinite(rows[start : start + array.chunk].astype(array.dtype))
        if not finite.all():
            row, column = np.argwhere(~finite)[0] + (start, 0)
            raise FsrcacheError(
                f"{array.name} of the picture {str(ids[block * array.block + int(row)])!r} holds "
                f"{rows[row, column]}, which {array.dtype} cannot keep.",
                "Look at that picture and at the extractor's weights: a sound extractor stays below 65504.",
            )
