"""FER2013 as one CSV of pixels: fer2013.csv or icml_face_data.csv, plain, .gz or .xz."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path

import numpy as np

from fsrcache.errors import FsrcacheError
from fsrcache.faces.decode import PictureError, Pictures
from fsrcache.faces.expressions import EXPRESSIONS, SPLIT_NAMES, SPLITS, split_named
from fsrcache.faces.layouts.text import header_of, is_table, open_bytes
from fsrcache.faces.listing import Listing, string_array

NAME = "fer2013"
TITLE = "FER2013 (CSV of pixels)"
NUMBERS = dict(enumerate(("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")))
_FILES = ("fer2013.csv", "icml_face_data.csv")
_VALUES = {str(value).encode(): value for value in range(256)}


def recognises(path: Path) -> bool:
    """Tell whether a file is such a CSV, or a folder holds one under its usual name."""
    return csv_of(path) is not None


def csv_of(path: Path) -> Path | None:
    """Return the CSV that a path means: itself, or the one in that folder or its ``fer2013`` folder."""
    if path.is_file():
        return path if is_table(path) and {"emotion", "pixels"} <= set(header_of(path)) else None
    folders = [folder for folder in (path, path / "fer2013") if folder.is_dir()]
    names = [name + packed for name in _FILES for packed in ("", ".gz", ".xz")]
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the rows. A row is named by its number, so that the file may be renamed and packed."""
    csv = csv_of(path)
    if csv is None:
        raise FsrcacheError(f"{path} is no CSV with the columns emotion and pixels.", "Give fer2013.csv itself.")
    pixels = PixelRows(csv)
    labels, splits = bytearray(), bytearray()
    for emotion, split in pixels.rows():
        labels.append(EXPRESSIONS.index(NUMBERS[emotion]))
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
    )


@dataclass
class PixelRows:
    """The pictures of one CSV, unpacked once into an unnamed temporary file and mapped from there.

    Text is 3.6 times as large as the pixels and cannot be entered in the middle when packed; a mapped file
    gives any picture at any time, and its memory belongs to the page cache.
    """

    csv: Path
    sides: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)
    pixels: Pictures = field(default_factory=lambda: np.empty(0, np.uint8))

    def rows(self) -> Iterator[tuple[int, int]]:
        """Read the file once; yield each row's emotion, 0..6, and split."""
        header = header_of(self.csv)
        if not {"emotion", "pixels"} <= set(header):
            raise FsrcacheError(f"{self.csv} has the columns {header}.", "It needs emotion and pixels.")
        emotion, pixels = header.index("emotion"), header.index("pixels")
        usage = header.index("Usage") if "Usage" in header else None
        with open_bytes(self.csv) as lines, tempfile.TemporaryFile() as spill:
            next(lines)
            for number, line in enumerate(lines, start=2):
                fields = line.strip().replace(b'"', b"").split(b",")
                if fields == [b""]:
                    continue
                if len(fields) != len(header):
                    raise self._error(number, f"has {len(fields)} columns, the header {len(header)}")
                yield self._emotion(fields[emotion], number), self._split(fields, usage, number)
                spill.write(self._picture(fields[pixels]))
            spill.flush()
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

    def _picture(self, text: bytes) -> bytes:
        """Enter the next row's pixels, or why it has none, and return what is to be kept of it."""
        row, packed = len(self.sides), b""
        try:
            packed = bytes(map(_VALUES.__getitem__, text.split()))
            if not packed or isqrt(len(packed)) ** 2 != len(packed):
                self.problems[row] = f"{len(packed)} pixels are not a square"
                packed = b""
        except KeyError as error:
            self.problems[row] = f"pixel value {error.args[0].decode(errors='replace')!r} is not in 0..255"
        self.starts.append(self.starts[-1] + self.sides[-1] ** 2 if self.sides else 0)
        self.sides.append(isqrt(len(packed)))
        return packed

    def _emotion(self, text: bytes, line: int) -> int:
        if not text.strip().isdigit() or int(text) not in NUMBERS:
            understood = ", ".join(f"{number} {name}" for number, name in NUMBERS.items())
            raise self._error(line, f"has the emotion {text.decode(errors='replace')!r}", f"Understood: {understood}.")
        return int(text)

    def _split(self, fields: list[bytes], usage: int | None, line: int) -> int:
        if usage is None:
            return SPLITS.index("train")
        split = split_named(fields[usage].decode(errors="replace"))
        if split is None:
            found = fields[usage].decode(errors="replace")
            raise self._error(line, f"has the Usage {found!r}", f"Understood: {SPLIT_NAMES}.")
        return split

    def _error(self, line: int, what: str, remedy: str = "Check the file.") -> FsrcacheError:
        return FsrcacheError(f"Line {line} of {self.csv} {what}.", remedy)
