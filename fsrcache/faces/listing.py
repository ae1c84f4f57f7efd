"""What a layout yields: every labelled picture by name, its label and split, and how to load it."""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.faces.decode import PICTURE_SUFFIXES, PictureError, Pictures, decode
from fsrcache.faces.expressions import classes_of, expression_named, split_named


@dataclass(frozen=True)
class Listing:
    """Labelled pictures as found, none of them decoded.

    Attributes
    ----------
    layout
        The name of the layout, as ``--format`` takes it.
    classes
        The ``K`` class names; a label is an index into them.
    names
        String array ``[n]``: each picture's identity inside the data, a path relative to their folder or a row.
    labels, splits
        uint8 ``[n]``; a split is an index into ``SPLITS``.
    load
        Decodes picture ``i`` as uint8 ``[H, W]`` or ``[H, W, 3]``; raises :class:`PictureError`.
    where
        Shows picture ``i`` to a person: its path, or its file and row.
    mapping
        What was written in the data -> the class it was understood as.
    left_out
        Reason -> how many entries are not part of the data for that reason.
    soft_labels
        float32 ``[n, K]``, rows sum to 1, where the data have votes and they were asked for.
    """

    layout: str
    classes: tuple[str, ...]
    names: NDArray[np.str_]
    labels: NDArray[np.uint8]
    splits: NDArray[np.uint8]
    load: Callable[[int], Pictures]
    where: Callable[[int], str]
    mapping: dict[str, str]
    left_out: dict[str, int] = field(default_factory=dict)
    soft_labels: NDArray[np.float32] | None = None


def string_array(names: Iterable[str]) -> NDArray[np.str_]:
    """Return names as one compact array: 16 bytes each and their text, instead of a Python object each."""
    kind = np.dtypes.StringDType()
    parts: list[NDArray[np.str_]] = [np.empty(0, kind)]
    rest = iter(names)
    while some := [_printable(name) for name in islice(rest, 1 << 14)]:
        parts.append(np.array(some, dtype=kind))
    whole: NDArray[np.str_] = np.concatenate(parts)
    return whole


def _printable(name: str) -> str:
    """Return a file's name, any bytes in it that are not UTF-8 written as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_listing(
    layout: str,
    root: Path,
    *,
    entries: Iterable[tuple[str, str, int]],
    understand: Callable[[set[str]], dict[str, str]],
    left_out: Counter[str] | None = None,
) -> Listing:
    """Make a listing of files.

    Parameters
    ----------
    layout, root
        The layout's name and the folder that the names are relative to.
    entries
        ``(name, class as written, split)`` a picture, read once and not kept.
    understand
        Called after the entries with all classes as written; returns the expression that each one means.
    left_out
        As in :class:`Listing`; looked at after the entries, so that a generator of them may count into it.
    """
    codes: dict[str, int] = {}
    written_codes, splits = array("L"), bytearray()

    def named() -> Iterator[str]:
        for name, written, split in entries:
            written_codes.append(codes.setdefault(written, len(codes)))
            splits.append(split)
            yield name

    listed = string_array(named())
    meaning = understand(set(codes))
    classes = classes_of(set(meaning.values()))
    label_of_code = np.array([classes.index(meaning[written]) for written in codes], np.uint8)

    def load(i: int) -> Pictures:
        if "\\x" in listed[i] and not (root / listed[i]).exists():
            raise PictureError("the file's name is not UTF-8; rename it")
        return decode(root / listed[i])

    return Listing(
        layout=layout,
        classes=classes,
        names=listed,
        labels=label_of_code[np.asarray(written_codes, np.int64)],
        splits=np.frombuffer(bytes(splits), np.uint8),
        load=load,
        where=lambda i: str(root / listed[i]),
        mapping=dict(sorted(meaning.items(), key=lambda pair: (classes.index(pair[1]), pair[0]))),
        left_out=dict(left_out or {}),
    )


def walk(root: Path) -> Iterator[tuple[str, ...]]:
    """Yield every file below a folder as the parts of its relative path, sorted; hidden ones are passed over.

    Links to folders are followed, each folder is visited once.
    """
    seen: set[tuple[int, int]] = set()

    def visit(folder: Path, parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            children = sorted((entry.name, entry.is_dir()) for entry in entries)
        for name, is_folder in children:
            if name.startswith(".") or name == "__MACOSX":
                continue
            if is_folder:
                yield from visit(folder / name, (*parts, name))
            else:
                yield (*parts, name)

    try:
        yield from visit(root, ())
    except OSError as error:
        raise FsrcacheError(f"{error.filename} cannot be listed: {error.strerror}.", "Check its permissions.") from None


def walk_pictures(root: Path, left_out: Counter[str]) -> Iterator[tuple[str, ...]]:
    """Yield the files that are pictures by their suffix; the others are counted in ``left_out``."""
    for parts in walk(root):
        if Path(parts[-1]).suffix.lower() in PICTURE_SUFFIXES:
            yield parts
        else:
            left_out["not a picture by its suffix"] += 1


def single_folder(path: Path) -> Path:
    """Return the folder that really holds the data: archives often unpack into one folder in a folder.

    A folder named after a split or an expression is data itself.
    """
    if not path.is_dir():
        raise FsrcacheError(f"{path} is not a folder.", "Give the folder that holds the pictures.")
    while True:
        children = [child for child in path.iterdir() if not child.name.startswith(".") and child.name != "__MACOSX"]
        folders = [child for child in children if child.is_dir()]
        if len(folders) != 1 or any(child.suffix.lower() in PICTURE_SUFFIXES for child in children):
            return path
        name = folders[0].name
        if split_named(name) is not None or expression_named(name) is not None or name.isdigit():
            return path
        path = folders[0]
