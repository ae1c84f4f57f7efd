"""ExpW (Expression in-the-Wild): label/label.lst, a face with its box a line, and image/origin/."""

import re
from collections.abc import Iterator
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.boxes import Box, with_box
from fsrcache.faces.expressions import SPLITS, split_named
from fsrcache.faces.layouts.text import PACKED, line_error, lines_of, text_file
from fsrcache.faces.listing import Listing, file_listing
from fsrcache.faces.walk import LeftOut, folder_near

NAME = "expw"
TITLE = "ExpW (faces in pictures)"
NUMBERS = dict(zip("0123456", ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"), strict=True))
_LIST = "label.lst"
_LISTS_OF_SPLITS = tuple(f"{split}.lst" for split in SPLITS)
_PICTURES = ("image/origin", "data/image/origin", "origin", "image")
_LINE = "name, face, top, left, right, bottom, confidence, label"
_WORDS = 8


def recognises(path: Path) -> bool:
    """Return whether a path is such a list, or a folder that holds one or whose ``label`` folder does."""
    return bool(_lists(path))


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the faces, each the pixels in its box. All are train, unless the lists are named after splits."""
    lists = _lists(path)
    if not lists:
        raise FsrcacheError(f"{path} holds no {_LIST} (nor label/{_LIST}).", "Name ExpW's folder.")
    left_out, root, pictures = LeftOut(), *folder_near(lists[0], _PICTURES, above=1)
    unread = text_file(lists[0].parent, _LIST)
    if unread is not None and unread not in lists:
        left_out.add("list of all faces, beside those of splits", unread.name)

    def entries() -> Iterator[tuple[str, str, int]]:
        for file in lists:
            yield from _faces(file, pictures)

    def notes(count: int) -> tuple[str, ...]:
        if _split_of(lists[0]) is not None:
            return ()
        named = f"a list named {', '.join(_LISTS_OF_SPLITS[:-1])} or {_LISTS_OF_SPLITS[-1]} is of that split"
        return (f"ExpW has no splits: all {count:,} faces are train ({named})",)

    return file_listing(NAME, root, entries=entries(), understand=lambda _: NUMBERS, left_out=left_out, notes=notes)


def _faces(file: Path, pictures: str) -> Iterator[tuple[str, str, int]]:
    split, empty = _split_of(file) or SPLITS.index("train"), True
    for number, line in lines_of(file):
        if line.isspace() or not line:
            continue
        words = line.rsplit(None, _WORDS - 1)  # a name may have spaces
        if len(words) != _WORDS or not all(re.fullmatch(r"-?[0-9]{1,9}", word) for word in words[1:6]):
            raise line_error(file, number, f"is {line[:80]!r}", f"A line is: {_LINE}.")
        name, label = words[0].strip(), words[-1]
        top, left, right, bottom = map(int, words[2:6])
        if right <= left or bottom <= top:
            what = f"has the box top {top}, left {left}, right {right}, bottom {bottom}"
            raise line_error(file, number, what, f"Right is larger than left, bottom than top. A line is: {_LINE}.")
        if label not in NUMBERS:
            understood = ", ".join(f"{number} {name}" for number, name in NUMBERS.items())
            raise line_error(file, number, f"has the label {label[:40]!r}", f"Understood: {understood}.")
        empty = False
        box = Box(left, top, right - left, bottom - top)
        yield with_box(f"{pictures}/{name}", box), label, split
    if empty:
        raise FsrcacheError(f"{file} has no line with a face.", f"A line is: {_LINE}.")


def _split_of(file: Path) -> int | None:
    """Return the split that a list is named after."""
    return split_named(file.name.split(".")[0])


def _lists(path: Path) -> list[Path]:
    """Return the lists at a path: itself, or in a folder those of splits, else that of all faces."""
    if path.is_file():
        known = [name + packed for name in (_LIST, *_LISTS_OF_SPLITS) for packed in PACKED]
        return [path] if path.name.lower() in known else []
    for folder in (path, path / "label"):
        for names in (_LISTS_OF_SPLITS, (_LIST,)):
            files = (text_file(folder, name) for name in names)
            if lists := [file for file in files if file is not None]:
                return lists
    return []
