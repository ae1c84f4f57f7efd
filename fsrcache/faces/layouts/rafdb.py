"""RAF-DB as its authors ship it: basic/EmoLabel/list_patition_label.txt and basic/Image/aligned/."""

from collections.abc import Iterator
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import EXPRESSIONS, SPLITS, split_named
from fsrcache.faces.layouts.text import line_error, lines_of, text_file
from fsrcache.faces.listing import Listing, file_listing

NAME = "rafdb"
TITLE = "RAF-DB (basic)"
NUMBERS = {str(number): name for number, name in enumerate(EXPRESSIONS, start=1)}
UNDERSTOOD = ", ".join(f"{number} {name}" for number, name in NUMBERS.items())
_LABELS = "list_patition_label.txt"  # spelt so by its authors


def recognises(path: Path) -> bool:
    """Return whether a folder is RAF-DB's ``basic`` or the folder above it."""
    return _labels(path) is not None


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the aligned faces of RAF-DB; each line of the label file is ``train_00001.jpg 5``."""
    labels = _labels(path)
    if labels is None:
        raise FsrcacheError(
            f"{path} holds no EmoLabel/{_LABELS} (nor basic/EmoLabel/{_LABELS}).", "Name RAF-DB's folder."
        )
    entries = _entries(labels)
    return file_listing(NAME, labels.parents[1], entries=entries, understand=lambda _: NUMBERS)


def _entries(labels: Path) -> Iterator[tuple[str, str, int]]:
    empty = True
    for number, line in lines_of(labels):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            remedy = "Each line is a picture's name and a label from 1 to 7."
            raise line_error(labels, number, f"is {line[:80]!r}", remedy)
        name, label = words
        split = split_named(name.split("_")[0])
        if label not in NUMBERS:
            raise line_error(labels, number, f"has the label {label[:40]!r}", f"Understood: {UNDERSTOOD}.")
        if split is None:
            remedy = f"Names begin with one of {', '.join(SPLITS)} and '_'."
            raise line_error(labels, number, f"names {name[:80]!r}", remedy)
        empty = False
        yield f"Image/aligned/{Path(name).stem}_aligned.jpg", label, split
    if empty:
        raise FsrcacheError(f"{labels} has no line with a label.", "Use the file as RAF-DB's authors ship it.")


def _labels(path: Path) -> Path | None:
    files = (text_file(folder / "EmoLabel", _LABELS) for folder in (path, path / "basic"))
    return next((file for file in files if file is not None), None)
