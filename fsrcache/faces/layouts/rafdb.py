"""RAF-DB as its authors ship it: basic/EmoLabel/list_patition_label.txt and basic/Image/aligned/."""

from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import EXPRESSIONS, SPLITS, split_named
from fsrcache.faces.listing import Listing, file_listing

NAME = "rafdb"
TITLE = "RAF-DB (basic)"
NUMBERS = {str(number): name for number, name in enumerate(EXPRESSIONS, start=1)}
_LABELS = Path("EmoLabel") / "list_patition_label.txt"  # spelt so by its authors


def recognises(path: Path) -> bool:
    """Tell whether a folder is RAF-DB's ``basic`` or the folder above it."""
    return _basic(path) is not None


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the aligned faces of RAF-DB; each line of the label file is ``train_00001.jpg 5``."""
    basic = _basic(path)
    if basic is None:
        raise FsrcacheError(f"{path} holds no {_LABELS} (nor basic/{_LABELS}).", "Give RAF-DB's folder.")
    entries = []
    lines = (basic / _LABELS).read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        where = f"Line {number} of {basic / _LABELS}"
        if len(words) != 2:
            raise FsrcacheError(f"{where} is {line!r}.", "Each line is a picture's name and a label from 1 to 7.")
        name, label = words
        split = split_named(name.split("_")[0])
        if label not in NUMBERS:
            understood = ", ".join(f"{number} {name}" for number, name in NUMBERS.items())
            raise FsrcacheError(f"{where} has the label {label!r}.", f"Understood: {understood}.")
        if split is None:
            raise FsrcacheError(f"{where} names {name!r}.", f"Names begin with one of {', '.join(SPLITS)} and '_'.")
        entries.append((f"Image/aligned/{Path(name).stem}_aligned.jpg", label, split))
    return file_listing(NAME, basic, entries=entries, understand=lambda _: NUMBERS)


def _basic(path: Path) -> Path | None:
    return next((folder for folder in (path, path / "basic") if (folder / _LABELS).is_file()), None)
