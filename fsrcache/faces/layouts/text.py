"""Text files, read line by line: plain, gzip or xz, with or without BOM, any line ends, bounded lines."""

import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from fsrcache.errors import FsrcacheError

LINE_LIMIT = 1 << 20  # characters of a line, or of a row of several lines; a row of FER2013 has 9,000
PACKED = ("", ".gz", ".xz")
_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHUNK = 1 << 16
_BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error)


def text_file(folder: Path, name: str) -> Path | None:
    """Return the file of that name in a folder, in any case and packed or not, the plain one first."""
    plain = folder / name
    if plain.is_file() or not folder.is_dir():
        return plain if plain.is_file() else None
    children = {child.name.lower(): child for child in sorted(folder.iterdir(), reverse=True)}
    files = (children.get(name.lower() + packed) for packed in PACKED)
    return next((file for file in files if file is not None and file.is_file()), None)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its number from 1, without its end.

    UTF-16 and UTF-32 are recognised by their byte order mark, the rest is UTF-8. LF, CRLF and CR end a line.

    Raises
    ------
    FsrcacheError
        If the file cannot be read or unpacked, is empty, is of another encoding (with the byte's offset), has NUL
        bytes, or a line of more than ``LINE_LIMIT`` characters. No more than one line is in memory.
    """
    with _unpacked(path) as file:
        text = io.TextIOWrapper(file, encoding=_encoding(path, file))
        number = 0
        while line := _next_line(path, text, number + 1):
            number += 1
            if len(line) > LINE_LIMIT and not line.endswith("\n"):
                raise line_error(
                    path, number, f"has more than {LINE_LIMIT:,} characters", "It is not a line of a table."
                )
            if "\0" in line:
                raise line_error(
                    path, number, "has NUL bytes", "If it is UTF-16 without a byte order mark, save it as UTF-8."
                )
            yield number, line.removesuffix("\n")
        if not number:
            raise FsrcacheError(f"{path} is empty.", "Use a file with text in it.")


def line_error(path: Path, line: int, what: str, remedy: str = "Check the file.") -> FsrcacheError:
    """Return the error of one line of a file."""
    return FsrcacheError(f"Line {line} of {path} {what}.", remedy)


def _next_line(path: Path, text: io.TextIOWrapper, number: int) -> str:
    try:
        return text.readline(LINE_LIMIT + 1)
    except UnicodeError:
        raise _undecodable(path) from None
    except _BROKEN as error:
        raise _unreadable(path, error, f" after line {number - 1}" if number > 1 else "") from None


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a file, unpacked if its first bytes are those of gzip or xz, whatever its name."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from None
    with file:
        magic = file.read(6)
        file.seek(0)
        if magic.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast(BinaryIO, unpacked)
        elif magic == b"\xfd7zXZ\0":
            with lzma.LZMAFile(file) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield file


def _encoding(path: Path, file: BinaryIO) -> str:
    try:
        head = file.read(4)
        file.seek(0)
    except _BROKEN as error:
        raise _unreadable(path, error) from None
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), "utf-8-sig")


def _unreadable(path: Path, error: Exception, where: str = "") -> FsrcacheError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return FsrcacheError(
        f"{path} cannot be read{where}: {reason.rstrip('.')}.", "Check the file, or unpack it yourself."
    )


def _undecodable(path: Path) -> FsrcacheError:
    """Return the error of a file in another encoding, with the first wrong byte's line and offset."""
    with _unpacked(path) as file:
        encoding = _encoding(path, file)
        decoder = codecs.getincrementaldecoder(encoding)()
        offset, line, last, chunk, where = 0, 1, "", b"-", "it changed meanwhile"
        try:
            while chunk:
                chunk = file.read(_CHUNK)
                text = last + decoder.decode(chunk, final=not chunk)
                last = text[-1:] if text.endswith("\r") else ""  # perhaps half of a CRLF
                line += _ends(text.removesuffix("\r"))
                offset += len(chunk)
        except UnicodeDecodeError as error:
            start = offset + len(chunk) - len(error.object) + error.start  # its end is that of the chunk
            line += _ends(last + error.object[: error.start].decode(encoding, "ignore"))
            where = f"byte 0x{error.object[error.start]:02X} at offset {start}"
        except _BROKEN as error:
            return _unreadable(path, error)
    known = "UTF-8" if encoding == "utf-8-sig" else encoding.upper()
    return FsrcacheError(
        f"Line {line} of {path} is not {known}: {where}.", "Save it as UTF-8 (it may be cp1252 or latin-1)."
    )


def _ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")
