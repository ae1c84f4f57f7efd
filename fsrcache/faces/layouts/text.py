"""Tables as text: CSV or TSV, plain, .gz or .xz."""

import csv
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from fsrcache.errors import FsrcacheError


def is_table(path: Path) -> bool:
    """Tell by the name whether a file is a CSV or TSV, compressed or not."""
    name = path.name.lower()
    return name.endswith(tuple(kind + packed for kind in (".csv", ".tsv") for packed in ("", ".gz", ".xz")))


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, unpacked; a broken archive or file is an error that names it."""
    packed = path.suffix.lower()
    try:
        with gzip.open(path) if packed == ".gz" else lzma.open(path) if packed == ".xz" else path.open("rb") as file:
            yield cast(BinaryIO, file)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise FsrcacheError(f"{path} cannot be read: {error}.", "Check the file, or unpack it yourself.") from None


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a table as UTF-8 text, a byte order mark passed over."""
    with open_bytes(path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        try:
            yield text
        except (UnicodeDecodeError, csv.Error) as error:
            raise FsrcacheError(f"{path} is not a table of UTF-8 text: {error}.", "Save it as UTF-8.") from None


def header_of(path: Path) -> list[str]:
    """Return the names in a table's first line, without the spaces around them."""
    with open_bytes(path) as file:
        line = file.readline(1 << 16).decode("utf-8-sig", "replace")
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    return [name.strip() for name in next(csv.reader([line.strip("\r\n")], delimiter=delimiter), [])]
