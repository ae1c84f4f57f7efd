"""Tables as people have them: which character separates columns, which column is which, and row after row."""

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
    """Tell by the name whether a file may be a table, compressed or not."""
    return path.name.lower().endswith(tuple(kind + packed for kind in _SUFFIXES for packed in PACKED))


@dataclass(frozen=True)
class Table:
    """A table as its header describes it; the rows are read when they are asked for.

    Attributes
    ----------
    path, header, delimiter
        The file, the names in its header without the spaces around them, and what stands between them.
    """

    path: Path
    header: tuple[str, ...]
    delimiter: str

    def column(self, *names: str) -> int | None:
        """Return the place of the column that has one of these names, whatever its case, spaces and marks."""
        wanted = {plain(name) for name in names}
        found = [place for place, name in enumerate(self.header) if plain(name) in wanted]
        if len(found) > 1:
            both = " and ".join(repr(self.header[place]) for place in found)
            raise FsrcacheError(f"{self.path} has the columns {both}, which mean the same.", "Rename all but one.")
        return found[0] if found else None

    def split_column(self) -> int | None:
        """Return the place of the column that says which split a row is of, if there is one."""
        found = self.column(*SPLIT_COLUMNS)
        return self.column(_SPLIT_COLUMN_ALONE) if found is None else found

    def split(self, row: list[str], place: int | None, line: int) -> int:
        """Return a row's split as an index in ``SPLITS``; train where there is no column for it."""
        found = split_named("train" if place is None else row[place])
        if found is None:
            assert place is not None  # train is known
            raise line_error(
                self.path,
                line,
                f"has the split {row[place]!r} in its column {self.header[place]!r}",
                understood("split", SPLIT_NAMES),
            )
        return found

    def notes(self, count: int) -> tuple[str, ...]:
        """Return what a person should hear of the table, given its number of rows."""
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
            If there is none, if one has more or fewer values than the header, or as ``lines_of`` does.
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
            raise FsrcacheError(f"{self.path} has a header and no row.", "Give a table with rows in it.")


def open_table(path: Path) -> Table:
    """Read a table's header; the delimiter is the one that stands in it oftenest."""
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
    """Return the values of a row; if a quoted one goes on in the next lines, they are taken from the rest."""
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
