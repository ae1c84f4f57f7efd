"""FERPlus: ten votes a picture (fer2013new.csv) beside FER2013's CSV of pixels, joined row by row."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import CONTEMPT, EXPRESSIONS
from fsrcache.faces.layouts import fer2013
from fsrcache.faces.layouts.rows import open_table
from fsrcache.faces.layouts.text import PACKED, line_error, text_file
from fsrcache.faces.listing import Listing, string_array
from fsrcache.faces.walk import LeftOut

NAME = "ferplus"
TITLE = "FERPlus (votes beside FER2013)"
VOTES = ("majority", "argmax", "soft")
_VOTES_FILE = "fer2013new.csv"
_CLASSES = (*EXPRESSIONS, CONTEMPT)
_NOT_EXPRESSIONS = ("unknown", "NF")
_DIGITS = 9  # of a vote


def recognises(path: Path) -> bool:
    """Return whether a path is FER2013's CSV with the file of votes beside it, or that file."""
    return files_of(path) is not None


def read(path: Path, *, votes: str) -> Listing:
    """List the pictures whose votes name an expression.

    ``majority`` is the expression with more than half of all votes; ``argmax`` the one with the most, if it is alone
    and beats unknown and NF; ``soft`` lists the same pictures, with the shares of votes as soft labels.
    """
    files = files_of(path)
    if files is None:
        raise FsrcacheError(
            f"{path} is not FER2013's CSV with {_VOTES_FILE} beside it.", "Put both files into one folder."
        )
    pixels = fer2013.PixelRows(files[0])
    splits = np.array([split for _, split in pixels.rows()], np.uint8)
    counts, vote_splits = _read_votes(files[1])
    if len(counts) != len(splits) or not np.array_equal(vote_splits, splits):
        raise FsrcacheError(
            f"{files[1]} ({len(counts)} rows) does not match {files[0]} ({len(splits)} rows) row by row.",
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
        left_out=dict(left_out.counts),
        left_out_names=left_out.names,
        notes=pixels.table.notes(len(rows)),
        soft_labels=expressions / expressions.sum(axis=1, keepdims=True) if votes == "soft" else None,
    )


def _decide(counts: NDArray[np.int64], votes: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_], LeftOut]:
    """Return labels ``[n]``, whether each row is usable ``[n]``, and the reasons for the others."""
    best = counts.max(axis=1)
    winner = counts.argmax(axis=1)
    named = (winner < len(_CLASSES)) & (best > 0)
    alone = (counts == best[:, None]).sum(axis=1) == 1
    clear = 2 * best > counts.sum(axis=1) if votes == "majority" else alone
    left_out = LeftOut()
    for reason, rows in (
        ("most votes are for unknown or NF (not a face)", ~named),
        ("no majority" if votes == "majority" else "a tie of votes", named & ~clear),
    ):
        for row in np.flatnonzero(rows):
            left_out.add(reason, f"row-{row + 1:06d}")
    return winner.astype(np.uint8), named & clear, left_out


def _read_votes(path: Path) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the votes ``[n, 10]`` (eight expressions, unknown, NF) and the splits ``[n]``."""
    names, table = (*_CLASSES, *_NOT_EXPRESSIONS), open_table(path)
    columns, usage = [table.column(name) for name in names], table.split_column()
    missing = [name for name, column in zip((*names, "Usage"), (*columns, usage), strict=True) if column is None]
    if missing:
        raise FsrcacheError(f"{path} has no column {', '.join(missing)}.", "Use FERPlus's own fer2013new.csv.")
    counts, splits = [], bytearray()
    for line, row in table.rows():
        splits.append(table.split(row, usage, line))
        votes = [row[column] for column in columns if column is not None]
        for name, vote in zip(names, votes, strict=True):
            if not (vote.isascii() and vote.isdecimal() and len(vote) <= _DIGITS):
                raise line_error(path, line, f"has the vote {vote[:40]!r} for {name}", "A vote is a number from 0.")
        counts.append([int(vote) for vote in votes])
    return np.array(counts, np.int64).reshape(-1, len(names)), np.frombuffer(bytes(splits), np.uint8)


def files_of(path: Path) -> tuple[Path, Path] | None:
    """Return the CSV of pixels and the file of votes, or None."""
    has_votes = path.name.lower() in [_VOTES_FILE + packed for packed in PACKED]
    pixels = fer2013.csv_of(path.parent if has_votes else path)
    votes = path if has_votes else pixels and text_file(pixels.parent, _VOTES_FILE)
    return (pixels, votes) if pixels and votes else None
