"""Whether the disk has room for what an extraction is to write, checked before it begins."""

import shutil
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from fsrcache.errors import FsrcacheError
from fsrcache.extraction.source import FaceSource
from fsrcache.store.beginning import other_additions
from fsrcache.store.existing import read_root
from fsrcache.store.inventory import AGAIN, Inventory
from fsrcache.store.layout import columns, outputs
from fsrcache.store.objects import objects_at, storage_errors
from fsrcache.store.shard import name_bytes
from fsrcache.store.spec import StoreSpec
from fsrcache.store.writer import unwritten

if TYPE_CHECKING:
    from zarr.abc.store import Store

_MARGIN, _LEAST_MARGIN = 0.02, 16 << 20  # of the bytes, and bytes: folders, metadata, the last block of a file system
_NAME_BYTES = 4  # of a name's length


def refuse_full_disk(location: "str | PathLike[str] | Store", spec: StoreSpec, source: FaceSource) -> None:
    """Raise if the disk has no room for what a store still lacks, of every part; only a local folder is checked.

    The files that are missing are counted, and 2 % beside them, 16 MiB at least.

    Parameters
    ----------
    location, spec
        The store, and what it is about.
    source
        The faces, whose names the store keeps.

    Raises
    ------
    FsrcacheError
        If there is less room, with both sizes; or the store is of other content, or cannot be read.
    """
    objects = objects_at(location)
    if objects.folder is None:
        return
    needed = missing_bytes(location, spec, source)
    if not needed:
        return
    needed += max(_LEAST_MARGIN, int(_MARGIN * needed))
    with storage_errors(f"The store {objects.name} cannot be read", objects, remedy=AGAIN):
        removed = other_additions(Inventory(objects), spec, root=read_root(objects))  # before anything is written
        room = sum((objects.folder / key).lstat().st_size for keys in removed.values() for key in keys)
    free = shutil.disk_usage(_existing(objects.folder)).free + room
    if free < needed:
        raise FsrcacheError(
            f"The store {objects.name} needs {_size(needed)} more, and its disk has {_size(free)} free.",
            f"Free {_size(needed - free)}, or use a store or a workspace on another disk; fewer scales, or a limit of "
            "the faces, take less.",
        )


def missing_bytes(location: "str | PathLike[str] | Store", spec: StoreSpec, source: FaceSource) -> int:
    """Return how many bytes a store still lacks: its blocks, and labels, names and hashes where none is written."""
    spec, missing = unwritten(location, spec)
    total = sum(
        array.shard_bytes(block)
        for split, scale, block in missing
        for array in outputs(spec, split, scale=scale).values()
    )
    objects = objects_at(location)
    splits = dict.fromkeys(split for split, _, _ in missing)
    with storage_errors(f"The store {objects.name} cannot be read", objects, remedy=AGAIN):
        unbegun = [split for split in splits if objects.read(columns(spec, split)["labels"].key(0), length=1) is None]
    total += sum(array.nbytes for split in unbegun for array in columns(spec, split).values())
    return total + bytes_of_names(source, unbegun)


def bytes_of_names(source: FaceSource, splits: Iterable[str]) -> int:
    """Return how many bytes the names of the pictures of some splits take in a store."""
    return sum(len(name_bytes(name)) + _NAME_BYTES for split in splits for name in source.ids(split))


def _existing(folder: Path) -> Path:
    """Return a folder, or the nearest above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{-(-count // 10**6):,} MB"
