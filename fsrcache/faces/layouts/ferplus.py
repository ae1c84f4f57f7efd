"""FERPlus: ten votes a picture (fer2013new.csv) beside FER2013's CSV of pixels, joined row by row."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import CONTEMPT, EXPRESSIONS, understand_splits
from fsrcache.faces.layouts import fer2013
from fsrcache.faces.layouts.text import open_text
from fsrcache.faces.listing import Listing, string_array

NAME = "ferplus"
TITLE = "FERPlus (votes beside FER2013)"
VOTES = ("majority", "argmax", "soft")
_VOTES_FILE = "fer2013new.csv"
_CLASSES = (*EXPRESSIONS, CONTEMPT)
_NOT_EXPRESSIONS = ("unknown", "NF")


def recognises(path: Path) -> bool:
    """Tell whether a path means FER2013's CSV with the file of votes beside it, or that file."""
    return _files(path) is not None


def read(path: Path, *, votes: str) -> Listing:
    """List the pictures whose votes name an expression.

    ``majority`` takes an expression with more than half of all votes; ``argmax`` the one with the most, if it is
    one alone and beats unknown and NF; ``soft`` the same pictures, with the shares of votes as soft labels.
    """
    files = _files(path)
    if files is None:
        raise FsrcacheError(
            f"{path} is not FER2013's CSV with {_VOTES_FILE} beside it.", "Put both files into one folder."
        )
    pixels = fer2013.PixelRows(files[0])
    splits = np.array([split for _, split in pixels.rows()], np.uint8)
    counts, vote_splits = _read_votes(files[1])
    if len(counts) != len(splits) or not np.array_equal(vote_splits, splits):
        raise FsrcacheError(
            f"{files[1]} ({len(counts)} rows) does not go with {files[0]} ({len(splits)} rows) row by row.",
            "Use the original fer2013.csv, whose order FERPlus follows.",
        )
    labels, kept, left_out = _decide(counts, votes)
    rows = np.flatnonzero(kept)
    expressions = counts[rows, : len(_CLASSES)].astype(np.float32)
    return Listing(
        layout=NAME,
        classes=_CLASSES,
        names=string_array(f"row-{row + 1:06d}" for row in rows),
        labels=labels[rows],
        splits=splits[rows],
        load=lambda i: pixels.load(int(rows[i])),
        where=lambda i: pixels.where(int(rows[i])),
        mapping={name: name for name in _CLASSES},
        left_out=left_out,
        soft_labels=expressions / expressions.sum(axis=1, keepdims=True) if votes == "soft" else None,
    )


def _decide(counts: NDArray[np.int64], votes: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_], dict[str, int]]:
    """Return labels ``[n]``, which rows are kept ``[n]``, and why the others are not."""
    best = counts.max(axis=1)
    winner = counts.argmax(axis=1)
    named = (winner < len(_CLASSES)) & (best > 0)
    alone = (counts == best[:, None]).sum(axis=1) == 1
    clear = 2 * best > counts.sum(axis=1) if votes == "majority" else alone
    left_out = Counter(
        {
            "most votes are for unknown or NF (not a face)": int((~named).sum()),
            "no majority" if votes == "majority" else "a tie of votes": int((named & ~clear).sum()),
        }
    )
    return winner.astype(np.uint8), named & clear, dict(+left_out)


def _read_votes(path: Path) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the votes ``[n, 10]`` (eight expressions, unknown, NF) and the splits ``[n]``."""
    columns = (*_CLASSES, *_NOT_EXPRESSIONS)
    with open_text(path) as lines:
        rows = csv.DictReader(lines, skipinitialspace=True)
        missing = [name for name in (*columns, "Usage") if name not in (rows.fieldnames or ())]
        if missing:
            raise FsrcacheError(f"{path} has no column {', '.join(missing)}.", "Use FERPlus's own fer2013new.csv.")
        counts, usages = [], []
        for row in rows:
            usages.append(row["Usage"] or "")
            try:
                counts.append([int(row[name]) for name in columns])
            except (TypeError, ValueError):
                raise FsrcacheError(f"Line {rows.line_num} of {path} has a vote that is no number.") from None
            if min(counts[-1]) < 0:
                raise FsrcacheError(f"Line {rows.line_num} of {path} has a negative vote.")
    splits = understand_splits(set(usages), where=str(path))
    shape = np.array(counts, np.int64).reshape(-1, len(columns))
    return shape, np.array([splits[usage] for usage in usages], np.uint8)


def _files(path: Path) -> tuple[Path, Path] | None:
    """Return the CSV of pixels and the file of votes, or None."""
    pixels = fer2013.csv_of(path.parent if path.name == _VOTES_FILE else path)
    if pixels is None or not (pixels.parent / _VOTES_FILE).is_file():
        return None
    return pixels, pixels.parent / _VOTES_FILE
