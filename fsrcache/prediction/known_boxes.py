"""Boxes of faces that are known already, from a CSV file."""

import csv
from collections.abc import Iterator, Sequence
from io import StringIO
from os import PathLike
from os.path import normpath
from pathlib import Path, PurePath
from typing import Any

from fsrcache.errors import RequestError
from fsrcache.faces.boxes import Box
from fsrcache.faces.expressions import plain
from fsrcache.files import as_path

_COLUMNS = ("path", "x", "y", "width", "height")
_DELIMITERS = (",", ";", "\t")
_REMEDY = f"It is a CSV file whose first line is {','.join(_COLUMNS)}, with a face a line, in pixels."
_MOST = 1 << 24  # pixels


class KnownBoxes:
    r"""The boxes of a CSV file by picture.

    A line's path is a picture's own, or the end of it from a folder on: ``a.jpg``, ``party/a.jpg`` and ``party\a.jpg``
    are all of ``photos/party/a.jpg``.

    Attributes
    ----------
    path
        The file.
    unused
        Its paths that no picture had so far.

    Parameters
    ----------
    path
        The file, in UTF-8, with the columns ``path,x,y,width,height``, whatever their case, spaces and marks, between
        commas, semicolons or tabs; further ones are left alone.

    Raises
    ------
    RequestError
        If it cannot be read, a column is missing or there twice, or a line holds no box.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = as_path(path, name="boxes")
        self._boxes: dict[tuple[str, ...], list[Box]] = {}
        self.unused: dict[tuple[str, ...], str] = {}
        for name, box in _lines(self.path):
            parts = _parts(name)
            self._boxes.setdefault(parts, []).append(box)
            self.unused[parts] = name

    def __call__(self, path: str) -> list[Box]:
        """Return the boxes of a picture in the file's order; none if it has no line."""
        parts = _from_root(path)
        boxes: list[Box] = []
        for start in range(len(parts)):
            boxes += self._boxes.get(parts[start:], ())
            self.unused.pop(parts[start:], None)
        return boxes


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a line's path, from the root where it goes up."""
    path = PurePath(_with_slashes(name))
    return _from_root(name) if ".." in path.parts else path.parts


def _from_root(path: str) -> tuple[str, ...]:
    return PurePath(normpath(Path(_with_slashes(path)).absolute())).parts


def _with_slashes(path: str) -> str:
    """Return a path with the separators of any system as slashes."""
    return path.replace("\\", "/")


def _lines(path: Path) -> Iterator[tuple[str, Box]]:
    """Yield the picture's path and the box of every line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        delimiter = max(_DELIMITERS, key=text.partition("\n")[0].count)
        lines = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        columns = _columns(path, lines.fieldnames or ())
        for line in lines:
            if None in line or None in line.values():
                raise RequestError(
                    f"{path}, line {lines.line_num}: it has another number of values than the header.",
                    f"Put a value that contains {delimiter!r} in double quotes.",
                )
            values = {name: line[column] for name, column in columns.items()}
            yield str(values["path"]).strip(), _box(values, f"{path}, line {lines.line_num}")
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}.", _REMEDY) from None
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise RequestError(f"{path}, line {number}: it is not in UTF-8.", _REMEDY) from None
    except csv.Error as error:
        raise RequestError(f"{path} is no CSV file: {error}.", _REMEDY) from None


def _columns(path: Path, header: Sequence[str]) -> dict[str, str]:
    """Return the columns as the header writes them, ignoring case, spaces and marks."""
    written = {name: [column for column in header if plain(column) == name] for name in _COLUMNS}
    missing = [name for name, columns in written.items() if not columns]
    if missing:
        raise RequestError(f"{path} has no column {', '.join(missing)}.", _REMEDY)
    for columns in written.values():
        if len(columns) > 1:
            both = " and ".join(map(repr, columns))
            raise RequestError(f"{path} has the columns {both}, which mean the same.", "Rename all but one.")
    return {name: columns[0] for name, columns in written.items()}


def _box(line: dict[str, Any], where: str) -> Box:
    numbers = []
    for name in _COLUMNS[1:]:
        try:
            number = float(line[name])
        except (TypeError, ValueError):
            number = float("nan")
        least = 1 if name in ("width", "height") else -_MOST
        if not least <= number <= _MOST:
            wanted = f"it should be a number from {least:,} to {_MOST:,}"
            raise RequestError(f"{where}: {name} is {line[name]!r}; {wanted}.", _REMEDY)
        numbers.append(round(number))
    return Box(*numbers)
