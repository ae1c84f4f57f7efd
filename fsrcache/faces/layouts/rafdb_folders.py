"""RAF-DB in its Kaggle form: train/1..7/ and test/1..7/, numbered in RAF-DB's order."""

from collections.abc import Iterator
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import split_named
from fsrcache.faces.layouts.rafdb import NUMBERS, UNDERSTOOD
from fsrcache.faces.listing import Listing, file_listing
from fsrcache.faces.walk import LeftOut, foreign, single_folder, walk_pictures

NAME = "rafdb-folders"
TITLE = "RAF-DB (numbered folders)"


def recognises(path: Path) -> bool:
    """Return whether the class folders in a folder's split folders are the numbers from 1 to 7, all of them."""
    if not path.is_dir():
        return False
    names = {
        inner.name
        for outer in single_folder(path).iterdir()
        if outer.is_dir() and split_named(outer.name) is not None
        for inner in outer.iterdir()
        if inner.is_dir() and foreign(inner.name) is None
    }
    return names == set(NUMBERS)


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the pictures below ``SPLIT/NUMBER/``."""
    left_out = LeftOut()
    root = single_folder(path, left_out)

    def entries() -> Iterator[tuple[str, str, int]]:
        for parts in walk_pictures(root, left_out):
            split = split_named(parts[0])
            if split is None or len(parts) < 3:
                left_out.add("not in a split's class folder", "/".join(parts))
            elif parts[1] not in NUMBERS:
                raise FsrcacheError(
                    f"{root / parts[0] / parts[1]} is not a class of RAF-DB.", f"Understood: {UNDERSTOOD}."
                )
            else:
                yield "/".join(parts), parts[1], split

    return file_listing(
        NAME,
        root,
        entries=entries(),
        understand=lambda _: NUMBERS,
        left_out=left_out,
        notes=lambda _: (f"numbers mean what RAF-DB's authors say: {UNDERSTOOD}",),
    )
