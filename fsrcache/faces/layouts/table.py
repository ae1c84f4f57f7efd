"""A CSV or TSV table of pictures: columns path, label and, if there is one, split."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import understand_expressions
from fsrcache.faces.layouts.rows import Table, is_table, open_table
from fsrcache.faces.listing import Listing, file_listing

NAME = "table"
TITLE = "table of paths"
_PATH = ("path", "file", "file name", "file path", "image", "image path", "image name", "img", "img path", "picture")
_LABEL = ("label", "class", "class name", "emotion", "expression")


def recognises(path: Path) -> bool:
    """Return whether a file is a CSV or TSV with columns for path and label."""
    return has_paths(path) and open_table(path).column(*_LABEL) is not None


def has_paths(path: Path) -> bool:
    """Return whether a file is a CSV or TSV with a column for the path."""
    return path.is_file() and is_table(path) and open_table(path).column(*_PATH) is not None


def paths(path: Path) -> Iterator[str]:
    """Yield the paths of a table's rows, whatever its other columns say."""
    table = open_table(path)
    column = _needed(table, "path", _PATH)
    for _, row in table.rows():
        yield row[column]


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the rows; a relative path is relative to the table's folder, no split column means train."""
    if not path.is_file():
        raise FsrcacheError(f"{path} is not a file.", "Name the CSV or TSV file itself.")
    table = open_table(path)
    understand = partial(understand_expressions, where=str(path))
    return file_listing(NAME, path.parent, entries=_rows(table), understand=understand, notes=table.notes)


def _rows(table: Table) -> Iterator[tuple[str, str, int]]:
    path, label = _needed(table, "path", _PATH), _needed(table, "label", _LABEL)
    split = table.split_column()
    for line, row in table.rows():
        yield row[path], row[label], table.split(row, split, line)


def _needed(table: Table, what: str, names: tuple[str, ...]) -> int:
    column = table.column(*names)
    if column is None:
        raise FsrcacheError(
            f"{table.path} has no column for the {what}; its columns are {', '.join(table.header)}.",
            f"Name one: {', '.join(names)}.",
        )
    return column
