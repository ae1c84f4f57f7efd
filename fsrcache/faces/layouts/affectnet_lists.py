"""AffectNet's lists: training.csv and validation.csv, a face with its box a row, beside Manually_Annotated_Images."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.boxes import Box, with_box
from fsrcache.faces.expressions import SPLITS, expression_named
from fsrcache.faces.layouts.affectnet_labels import NUMBERS, UNDERSTOOD, no_expression
from fsrcache.faces.layouts.rows import Table, is_table, open_table
from fsrcache.faces.layouts.text import PACKED, line_error, text_file
from fsrcache.faces.walk import LeftOut

_SPLIT_OF_LIST = {"training.csv": SPLITS.index("train"), "validation.csv": SPLITS.index("val")}
_FOLDERS = (".", "Manually_Annotated_file_lists", "Manually_Annotated/Manually_Annotated_file_lists")
PICTURES = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")
_PATH, _LABEL, _VALENCE = "subDirectory_filePath", "expression", "valence"
_BOX = ("face_x", "face_y", "face_width", "face_height")
_REST = ("facial_landmarks", _VALENCE, "arousal")
_NO_BOX = ("", "null", "nan", "-1")
_POSITIVE = {"happiness": True, "sadness": False, "fear": False, "disgust": False, "anger": False}  # valence
_CHANCE = 10  # faces of a number whose valence may be the other one


def lists_of(path: Path) -> list[Path]:
    """Return the lists at a path: itself, or those in that folder or in its folder of lists."""
    if path.is_file():
        return [path] if _is_list(path) else []
    for folder in _FOLDERS:
        files = (text_file(path / folder, name) for name in _SPLIT_OF_LIST)
        if lists := [file for file in files if file is not None and _is_list(file)]:
            return lists
    return []


def entries(lists: list[Path], pictures: str, left_out: LeftOut) -> Iterator[tuple[str, str, int]]:
    """Yield every face that has an expression: name with box, label as written, split.

    Parameters
    ----------
    lists
        AffectNet's lists.
    pictures
        Folder of the pictures, which the names begin with.
    left_out
        Faces without an expression or without a box are added to it.

    Raises
    ------
    FsrcacheError
        If a row is damaged, a label is unknown, or numbers are not in the order of AffectNet's authors: a column of
        theirs is missing, or most faces of a number have the other valence than its expression.
    """
    for path in lists:
        yield from _rows(open_table(path), pictures, left_out)


def _is_list(path: Path) -> bool:
    if not is_table(path):
        return False
    table = open_table(path)
    return table.column(_PATH) is not None and table.column(_LABEL) is not None


def notes(lists: list[Path], count: int) -> tuple[str, ...]:
    """Return sentences about a list whose name is not AffectNet's, such as that nothing says its split."""
    return tuple(note for path in lists if _split_of(path) is None for note in open_table(path).notes(count))


def _rows(table: Table, pictures: str, left_out: LeftOut) -> Iterator[tuple[str, str, int]]:
    columns = {name: table.column(name) for name in (_PATH, *_BOX, _LABEL, *_REST)}
    missing = [name for name, column in columns.items() if column is None]
    path, label, valence = (columns[name] for name in (_PATH, _LABEL, _VALENCE))
    boxes = [column for name in _BOX if (column := columns[name]) is not None]
    assert path is not None  # such a file is no list
    assert label is not None
    own, split_column = _split_of(table.path), table.split_column()
    agreement: Counter[tuple[str, bool]] = Counter()
    for line, row in table.rows():
        name, written = f"{pictures}/{row[path]}", row[label]
        if reason := no_expression(written):
            left_out.add(f"labelled {reason}", name)
            continue
        _check_label(table, line, written, missing)
        box = [row[column] for column in boxes]
        if box and all(value.casefold() in _NO_BOX for value in box):
            left_out.add("no box of a face", name)
            continue
        if valence is not None and NUMBERS.get(written) in _POSITIVE:
            agreement[written, _is_positive(table, line, row[valence]) == _POSITIVE[NUMBERS[written]]] += 1
        split = table.split(row, split_column, line) if own is None else own
        yield with_box(name, _box(table, line, box)) if len(box) == len(_BOX) else name, written, split
    _check_order(table, agreement)


def _split_of(path: Path) -> int | None:
    """Return the split of a list by its name, None for a name that is not AffectNet's."""
    name = path.name.lower()
    return next((_SPLIT_OF_LIST[own] for own in _SPLIT_OF_LIST for packed in PACKED if name == own + packed), None)


def _check_label(table: Table, line: int, written: str, missing: list[str]) -> None:
    """Refuse an unknown label, and a number where a column of AffectNet's is missing: another list, another order."""
    if expression_named(written) is None and written not in NUMBERS:
        raise line_error(
            table.path, line, f"has the expression {written[:40]!r}", f"Understood: {UNDERSTOOD}, or these words."
        )
    if written in NUMBERS and missing:
        raise FsrcacheError(
            f"{table.path} has numbers for labels and is not as AffectNet's authors ship it (no column "
            f"{', '.join(missing)}), so their order is unknown.",
            f"Use AffectNet's own list, or write the expressions as words (AffectNet: {UNDERSTOOD}).",
        )


def _check_order(table: Table, agreement: Counter[tuple[str, bool]]) -> None:
    """Refuse numbers most of whose faces have the other valence than the expression that they should mean."""
    for number, name in NUMBERS.items():
        agreeing, other = agreement[number, True], agreement[number, False]
        if other > max(agreeing, _CHANCE):
            sign = "no positive" if _POSITIVE[name] else "a positive"
            raise FsrcacheError(
                f"{table.path} is not in AffectNet's order of labels: {other:,} of {agreeing + other:,} faces "
                f"labelled {number} ({name} in AffectNet) have {sign} valence.",
                f"Use AffectNet's own list, or write the expressions as words (AffectNet: {UNDERSTOOD}).",
            )


def _is_positive(table: Table, line: int, value: str) -> bool:
    try:
        return float(value) > 0
    except ValueError:
        raise line_error(table.path, line, f"has the valence {value[:40]!r}", "A valence is from -1 to 1.") from None


def _box(table: Table, line: int, values: list[str]) -> Box:
    if not all(re.fullmatch(r"-?[0-9]{1,9}", value) for value in values) or min(map(int, values[2:])) < 1:
        raise line_error(
            table.path,
            line,
            f"has the box {', '.join(values)[:80]!r}",
            f"{', '.join(_BOX)} are pixels, width and height from 1.",
        )
    return Box(*map(int, values))
