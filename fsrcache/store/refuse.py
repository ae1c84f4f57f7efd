"""What a writer refuses: columns that do not fit, a place of something else, numbers that cannot be kept."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.records import shortened
from fsrcache.store.layout import MOST_LETTERS, ROOT, Place, columns
from fsrcache.store.local import PARTIAL
from fsrcache.store.objects import Objects, read_at_most
from fsrcache.store.root import KEY, MOST_BYTES, Root, identity, read_root
from fsrcache.store.shard import DamagedError
from fsrcache.store.spec import SPLITS, StoreSpec

_SHOWN = 400  # characters of a field, so that a recipe shows its difference
_APART = "Keep this work apart with --workspace, or remove the store to write it anew."


def store_of_same_content(objects: Objects, spec: StoreSpec) -> Root | None:
    """Return what the store at a place says of itself, which may have other scales; None where nothing is.

    Raises
    ------
    FsrcacheError
        If a store of other content is there, one that lost its root, or something else.
    """
    known = read_root(objects)
    if known is None:
        there = [key for key, entry in objects.entries().items() if entry != "folder"]
        others = [key for key in there if not (key.endswith(PARTIAL) or key.startswith(".writer-"))]
        if not others:
            return None
        known = read_root(objects)  # another part may have begun it in between
        if known is None:
            raise _no_store(objects, others)
    if names := spec.differences(known.spec):
        stored, asked = known.spec.compared(), spec.compared()
        changes = "; ".join(f"{name} is {_shown(stored[name])} there and {_shown(asked[name])} now" for name in names)
        raise FsrcacheError(f"The store {objects.name} is of other content: {changes}.", _APART)
    return known


def check_columns(spec: StoreSpec, given: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse labels, ids or hashes that a spec does not describe."""
    for split in spec.splits:
        for name, place in columns(spec, split).items():
            if split not in given[name]:
                raise FsrcacheError(f"The spec has a split {split!r}, but there are no {name} of it.")
            values = given[name][split]
            if place.dtype == "string":  # not as an array, which may need four bytes a letter of the longest
                fits = len(values) == place.shape[0]
            else:
                fits = getattr(values, "shape", None) == place.shape and (
                    values.dtype.kind in "iu" if name == "labels" else values.dtype == place.dtype
                )
            if not fits:
                what = f"{getattr(values, 'dtype', 'texts')} {list(getattr(values, 'shape', [len(values)]))}"
                asked = "whole numbers" if name == "labels" else place.dtype
                raise FsrcacheError(f"The {name} of {split} are {what}, not {asked} {list(place.shape)}.")
            if name == "ids" and (longest := max(len(str(value)) for value in values)) > MOST_LETTERS:
                raise FsrcacheError(f"A name of {split} has {longest} letters.", f"At most {MOST_LETTERS} are kept.")
            if name == "labels" and not (values.min() >= 0 and values.max() < len(spec.classes)):
                raise FsrcacheError(
                    f"The labels of {split} go from {values.min()} to {values.max()}, but there are "
                    f"{len(spec.classes)} classes.",
                    "Labels are indices into the classes, from 0.",
                )


def check_values(place: Place, block: int, values: NDArray[np.floating], *, ids: Any) -> None:
    """Refuse a block of rows that cannot be stored; ``ids`` are of the whole split."""
    shape = (place.rows(block), place.shape[1])
    if values.shape != shape or values.dtype.kind not in "fiu":
        what = f"{values.dtype} {list(values.shape)}"
        raise FsrcacheError(f"The block of {place.name} is {what}, not real numbers {list(shape)}.")
    assert place.chunk is not None
    for start in range(0, len(values), place.chunk):
        with np.errstate(over="ignore"):
            finite = np.isfinite(values[start : start + place.chunk].astype(place.dtype))
        if not finite.all():
            row, column = np.argwhere(~finite)[0] + (start, 0)
            raise FsrcacheError(
                f"{place.name} of the picture {str(ids[block * place.block + int(row)])!r} holds "
                f"{values[row, column]}, which {place.dtype} cannot keep.",
                "Look at that picture and at the extractor's weights: a sound extractor stays below 65504.",
            )


def other_column(place: Place, name: str) -> FsrcacheError:
    """Return the error of a store whose labels or pictures are not the given ones."""
    return FsrcacheError(f"The store {name} is of other content: {place.name} are others there.", _APART)


def damaged(key: str, name: str, error: DamagedError) -> FsrcacheError:
    """Return the error of a file of the store ``name`` that cannot be what was written."""
    return FsrcacheError(
        f"{key} of the store {name} is damaged: {error}.",
        "Run `fsrcache verify STORE --repair`, then the same command again.",
    )


def _shown(value: object) -> str:
    return shortened(value, most=_SHOWN)


def _no_store(objects: Objects, others: Sequence[str]) -> FsrcacheError:
    if any(identity(read_at_most(objects, f"{split}/{ROOT}", MOST_BYTES)) for split in SPLITS):
        return FsrcacheError(
            f"{objects.name} holds a {KEY} store whose root is lost.", "`fsrcache verify STORE --repair` rewrites it."
        )
    return FsrcacheError(
        f"{objects.name} holds {len(others)} other things and no {KEY} store, {others[0]!r} for one.",
        "Name a folder that is empty or not there yet.",
    )
