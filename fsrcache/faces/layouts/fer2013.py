"""FER2013 as one CSV of pixels: fer2013.csv or icml_face_data.csv, plain, .gz or .xz."""

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import isqrt
from pathlib import Path
from typing import IO

import numpy as np

from fsrcache.errors import FsrcacheError
from fsrcache.faces.decode import PictureError, Pictures
from fsrcache.faces.expressions import EXPRESSIONS
from fsrcache.faces.layouts.rows import Table, is_table, open_table
from fsrcache.faces.layouts.text import line_error, text_file
from fsrcache.faces.listing import Listing, string_array

NAME = "fer2013"
TITLE = "FER2013 (CSV of pixels)"
NUMBERS = dict(enumerate(("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")))
_FILES = ("fer2013.csv", "icml_face_data.csv")
_CODES = {str(number): EXPRESSIONS.index(name) for number, name in NUMBERS.items()}
_VALUES = {str(value): value for value in range(256)}


def recognises(path: Path) -> bool:
    """Return whether a file is such a CSV, or a folder holds one under its usual name."""
    return csv_of(path) is not None


def csv_of(path: Path) -> Path | None:
    """Return the CSV of a path: itself, or the one in that folder or its ``fer2013`` folder."""
    if path.is_file():
        return path if is_table(path) and None not in _columns(open_table(path)) else None
    files = (text_file(folder, name) for folder in (path, path / "fer2013") for name in _FILES)
    return next((file for file in files if file is not None), None)


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the rows. A row is named by its number, so that the file may be renamed and packed."""
    csv = csv_of(path)
    if csv is None:
        raise FsrcacheError(f"{path} is no CSV with the columns emotion and pixels.", "Name fer2013.csv itself.")
    pixels = PixelRows(csv)
    labels, splits = bytearray(), bytearray()
    for label, split in pixels.rows():
        labels.append(label)
        splits.append(split)
    return Listing(
        layout=NAME,
        classes=EXPRESSIONS,
        names=string_array(f"row-{i + 1:06d}" for i in range(len(labels))),
        labels=np.frombuffer(bytes(labels), np.uint8),
        splits=np.frombuffer(bytes(splits), np.uint8),
        load=pixels.load,
        where=pixels.where,
        mapping={str(number): name for number, name in NUMBERS.items()},
        notes=pixels.table.notes(len(labels)),
    )


def _columns(table: Table) -> tuple[int | None, int | None]:
    """Return the indices of the columns emotion and pixels."""
    return table.column("emotion"), table.column("pixels")


@dataclass
class PixelRows:
    """The pictures of one CSV, unpacked once into an unnamed temporary file and mapped from there.

    Text is 3.6 times as large as the pixels and cannot be entered in the middle when packed; a mapped file
    has random access, and its memory belongs to the page cache.

    Attributes
    ----------
    csv
        The file.
    sides, starts
        Side of each picture in pixels, and its start in ``pixels``.
    problems
        Row -> reason why it has no picture.
    pixels
        uint8, all pictures one after another; mapped once ``rows`` has been iterated.
    """

    csv: Path
    sides: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    pixels: Pictures = field(default_factory=lambda: np.empty(0, np.uint8))

    @cached_property
    def table(self) -> Table:
        """The CSV's header."""
        return open_table(self.csv)

    def rows(self) -> Iterator[tuple[int, int]]:
        """Read the file once; yield each row's label, an index in ``EXPRESSIONS``, and split."""
        (emotion, pixels), usage = _columns(self.table), self.table.split_column()
        if emotion is None or pixels is None:
            header = ", ".join(self.table.header)
            raise FsrcacheError(f"{self.csv} has the columns {header}.", "It needs emotion and pixels.")
        with tempfile.TemporaryFile() as spill:
            for line, row in self.table.rows():
                if row[emotion] not in _CODES:
                    understood = ", ".join(f"{number} {name}" for number, name in NUMBERS.items())
                    raise line_error(
                        self.csv, line, f"has the emotion {row[emotion][:40]!r}", f"Understood: {understood}."
                    )
                yield _CODES[row[emotion]], self.table.split(row, usage, line)
                _put(spill, self._picture(row[pixels]))
            _put(spill, b"")
            if spill.tell():
                self.pixels = np.memmap(spill, np.uint8, mode="r")

    def load(self, i: int) -> Pictures:
        """Return picture ``i``, uint8 ``[H, W]``."""
        if i in self.problems:
            raise PictureError(self.problems[i])
        side, start = self.sides[i], self.starts[i]
        return np.array(self.pixels[start : start + side * side]).reshape(side, side)

    def where(self, i: int) -> str:
        """Return the file and row of picture ``i``, counted from 1."""
        return f"{self.csv}: row {i + 1}"

    def _picture(self, text: str) -> bytes:
        """Add the next row's side, or why it has no picture, and return its pixels."""
        row, packed = len(self.sides), b""
        try:
            packed = _packed(text)
            if not packed or isqrt(len(packed)) ** 2 != len(packed):
                self.problems[row] = f"{len(packed)} pixels are not a square"
                packed = b""
        except KeyError as error:
            self.problems[row] = f"pixel value {error.args[0][:40]!r} is not in 0..255"
        self.starts.append(self.starts[-1] + self.sides[-1] ** 2 if self.sides else 0)
        self.sides.append(isqrt(len(packed)))
        return packed


def _packed(text: str) -> bytes:
    """Return the pixel values of a text, read by NumPy where it is plain numbers with one space between them.

    Raises
    ------
    KeyError
        With a value that is none.
    """
    with suppress(ValueError):
        values = np.fromstring(text, np.int64, sep=" ")
        if len(values) == text.count(" ") + 1 and values.min() >= 0 and values.max() <= 255:
            return values.astype(np.uint8).tobytes()
    return bytes(map(_VALUES.__getitem__, text.split()))


def _put(spill: IO[bytes], pixels: bytes) -> None:
    """Write pixels; without any, flush the file."""
    try:
        spill.write(pixels) if pixels else spill.flush()
    except OSError as error:
        raise FsrcacheError(
            f"The unpacked pixels cannot be written to {tempfile.gettempdir()}: {error.strerror}.",
            "Set TMPDIR to a folder with space.",
        ) from None
