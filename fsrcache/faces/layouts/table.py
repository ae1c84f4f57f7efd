"""A CSV or TSV table of pictures: columns path, label and, if there is one, split."""

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import understand_expressions, understand_splits
from fsrcache.faces.layouts.text import header_of, is_table, open_text
from fsrcache.faces.listing import Listing, file_listing

NAME = "table"
TITLE = "table of paths"
_COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "picture"),
    "label": ("label", "class", "emotion", "expression"),
    "split": ("split", "usage", "set", "subset"),
}


def recognises(path: Path) -> bool:
    """Tell whether a file is a CSV or TSV with columns for path and label."""
    if not (path.is_file() and is_table(path)):
        return False
    columns = _columns(header_of(path))
    return "path" in columns and "label" in columns


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the rows; a relative path is relative to the table's folder, no split column means train."""
    if not path.is_file():
        raise FsrcacheError(f"{path} is not a file.", "Give the CSV or TSV file itself.")
    header = header_of(path)
    columns = _columns(header)
    for needed in ("path", "label"):
        if needed not in columns:
            names = ", ".join(_COLUMNS[needed])
            raise FsrcacheError(
                f"{path} has no column for the {needed}; its columns are {header}.", f"Name one: {names}."
            )
    understand = partial(understand_expressions, where=str(path))
    return file_listing(NAME, path.parent, entries=_rows(path, columns, len(header)), understand=understand)


def _columns(header: list[str]) -> dict[str, int]:
    """Return which column holds what."""
    lowered = [name.casefold() for name in header]
    return {
        what: next(lowered.index(name) for name in names if name in lowered)
        for what, names in _COLUMNS.items()
        if any(name in lowered for name in names)
    }


def _rows(path: Path, columns: dict[str, int], width: int) -> Iterator[tuple[str, str, int]]:
    splits: dict[str, int] = {}
    with open_text(path) as lines:
        reader = csv.reader(lines, delimiter="\t" if ".tsv" in path.suffixes else ",", skipinitialspace=True)
        next(reader)
        for row in reader:
            if not row:
                continue
            where = f"line {reader.line_num} of {path}"
            if len(row) != width:
                raise FsrcacheError(
                    f"In {where} there are {len(row)} columns, in the header {width}.",
                    "Quote a value that contains the delimiter.",
                )
            written = row[columns["split"]] if "split" in columns else "train"
            if written not in splits:
                splits |= understand_splits({written}, where=where)
            yield row[columns["path"]].strip(), row[columns["label"]].strip(), splits[written]
