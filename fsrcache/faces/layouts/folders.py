"""Class folders, below folders of train, val and test or alone: train/happy/a.png."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fsrcache.faces.expressions import SPLITS, expression_named, split_named, understand_expressions
from fsrcache.faces.listing import Listing, file_listing
from fsrcache.faces.walk import LeftOut, single_folder, walk_pictures

NAME = "folders"
TITLE = "class folders"


def recognises(path: Path) -> bool:
    """Return whether a folder has a split folder, or a folder with the name of an expression."""
    return path.is_dir() and any(
        child.is_dir() and (split_named(child.name) is not None or expression_named(child.name) is not None)
        for child in single_folder(path).iterdir()
    )


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the pictures below ``SPLIT/CLASS/`` or, where no folder is a split, below ``CLASS/`` (all train)."""
    left_out = LeftOut()
    root = single_folder(path, left_out)
    has_splits = any(child.is_dir() and split_named(child.name) is not None for child in root.iterdir())

    def entries() -> Iterator[tuple[str, str, int]]:
        for parts in walk_pictures(root, left_out):
            split = split_named(parts[0]) if has_splits else SPLITS.index("train")
            if split is None or len(parts) < 2 + has_splits:
                reason = "not in a class folder" if split is not None else "not in a split's folder"
                left_out.add(reason, "/".join(parts))
            else:
                yield "/".join(parts), parts[has_splits], split

    def notes(count: int) -> tuple[str, ...]:
        return () if has_splits else (f"no folder of a split: all {count:,} pictures are train",)

    understand = partial(understand_expressions, where=f"the folders of {root}")
    return file_listing(NAME, root, entries=entries(), understand=understand, left_out=left_out, notes=notes)
