"""Tables as people write them: their delimiter, their columns by name, and row after row."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import SPLIT_NAMES, plain, split_named, understood
from fsrcache.faces.layouts.text import LINE_LIMIT, PACKED, line_error, lines_of

SPLIT_COLUMNS = ("split", "usage", "partition", "set", "subset", "dataset")
_SPLIT_COLUMN_ALONE = "fold"  # beside another one it is the number of a cross-validation
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_SUFFIXES = (".csv", ".tsv", ".txt")


def is_table(path: Path) -> bool:
    """Return whether a file may be a table by its name, compressed or not."""
    return path.name.lower().endswith(tuple(kind + packed for kind in _SUFFIXES for packed in PACKED))


@dataclass(frozen=True)
class Table:
    """A table as its header describes it; ``rows`` reads the rest.

    Attributes
    ----------
    path
        The file.
    header
        Names of the columns, without the spaces around them.
    delimiter
        Character between two values.
    """

    path: Path
    header: tuple[str, ...]
    delimiter: str

    def column(self, *names: str) -> int | None:
        """Return the index of the column with one of these names, ignoring case, spaces and punctuation."""
        wanted = {plain(name) for name in names}
        columns = [column for column, name in enumerate(self.header) if plain(name) in wanted]
        if len(columns) > 1:
            both = " and ".join(repr(self.header[column]) for column in columns)
            raise FsrcacheError(f"{self.path} has the columns {both}, which mean the same.", "Rename all but one.")
        return columns[0] if columns else None

    def split_column(self) -> int | None:
        """Return the index of the column of splits, or None."""
        column = self.column(*SPLIT_COLUMNS)
        return self.column(_SPLIT_COLUMN_ALONE) if column is None else column

    def split(self, row: list[str], column: int | None, line: int) -> int:
        """Return a row's split as an index in ``SPLITS``; train where there is no column for it."""
        split = split_named("train" if column is None else row[column])
        if split is None:
            assert column is not None  # train is known
            raise line_error(
                self.path,
                line,
                f"has the split {row[column]!r} in its column {self.header[column]!r}",
                understood("split", SPLIT_NAMES),
            )
        return split

    def notes(self, count: int) -> tuple[str, ...]:
        """Return sentences about the table for the user; ``count`` is its number of rows."""
        usual = "\t" if ".tsv" in self.path.name.lower() else ","
        notes = []
        if self.delimiter != usual and len(self.header) > 1:
            notes.append(f"columns are separated by {_DELIMITERS.get(self.delimiter, repr(self.delimiter))}")
        if self.split_column() is None:
            notes.append(f"no split column (columns: {', '.join(self.header)}): all {count:,} pictures are train")
        return tuple(notes)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield every row with the number of its first line, values without the spaces around them.

        Raises
        ------
        FsrcacheError
            If there is no row, if one has more or fewer values than the header, or as ``lines_of`` does.
        """
        lines, empty = lines_of(self.path), True
        header_line, header, _ = _header_line(lines)
        _values(self.path, header_line, header, lines, self.delimiter)
        for number, line in lines:
            if not line or line.isspace():
                continue
            row = _values(self.path, number, line, lines, self.delimiter)
            while len(row) > len(self.header) and not row[-1]:  # a delimiter at the end
                row.pop()
            if not any(row):
                continue
            if len(row) != len(self.header):
                raise line_error(
                    self.path,
                    number,
                    f"has {len(row)} columns, the header {len(self.header)}",
                    "Quote a value that contains the delimiter.",
                )
            empty = False
            yield number, row
        if empty:
            raise FsrcacheError(f"{self.path} has a header and no row.", "Use a table with rows in it.")


def open_table(path: Path) -> Table:
    """Read a table's header; the delimiter is the one that is commonest in it."""
    lines = lines_of(path)
    number, line, delimiter = _header_line(lines)
    if delimiter is None:
        bare = re.sub(r'"[^"]*"', "", line)
        delimiter = max(_DELIMITERS, key=bare.count)
    header = _values(path, number, line, lines, delimiter)
    while len(header) > 1 and not header[-1]:
        header.pop()
    return Table(path, tuple(header), delimiter)


def _header_line(lines: Iterator[tuple[int, str]]) -> tuple[int, str, str | None]:
    """Return the number and text of the header's line, and the delimiter that Excel's ``sep=`` before it names."""
    written = ((number, line) for number, line in lines if not line.isspace() and line)
    number, line = next(written, (1, ""))
    named = re.fullmatch(r'"?sep=(.)"?\s*|sep=(\t)', line, re.IGNORECASE)
    if named is None:
        return number, line, None
    return *next(written, (number, "")), named[1] or named[2]


def _values(path: Path, number: int, line: str, rest: Iterator[tuple[int, str]], delimiter: str) -> list[str]:
    """Return the values of a row; a quoted one may continue in the next lines, which are then read from the rest."""
    if '"' not in line:
        return [value.strip() for value in line.split(delimiter)]

    def bounded() -> Iterator[str]:
        length = 0
        for _, more in chain([(number, line)], rest):
            length += len(more) + 1
            if length > LINE_LIMIT:
                raise line_error(
                    path, number, f"begins a row of more than {LINE_LIMIT:,} characters", "Close its quote."
                )
            yield more + "\n"

    try:
        row = next(csv.reader(bounded(), delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise line_error(path, number, f"is no row of a table: {error}", "Check its quotes.") from None
    return [value.strip() for value in row]
