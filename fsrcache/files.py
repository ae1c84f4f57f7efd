"""Files that are there whole or not at all, with the permissions that the umask says, and never through a link."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fsrcache.errors import FsrcacheError

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has none of these, but the last
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the machine stops.

    Raises
    ------
    FsrcacheError
        If it cannot be written.
    """
    with whole_file(path) as partial:
        partial.write_bytes(data)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield where to write a file, which gets its name once it is written down; a link of that name is replaced.

    Raises
    ------
    FsrcacheError
        If it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            partial.unlink()
        mode = _create(partial)
        yield partial
        partial.chmod(mode)  # whoever writes it may have made it anew
        _sync(partial, os.O_RDWR | _NO_LINK)
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise FsrcacheError(
            f"{path} cannot be written: {error.strerror or error}.", "Check the folder and the space left."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def read_regular(path: Path, *, most: int) -> bytes:
    """Return what a small file holds.

    Raises
    ------
    FileNotFoundError
        If there is none.
    FsrcacheError
        If it is no file, or larger than so many bytes, or cannot be read.
    """
    with open_regular(path, os.O_RDONLY) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise FsrcacheError(f"{path} has {size:,} bytes; {most:,} are the most.", "Move it away.")
        return file.read()


def open_regular(path: Path, flags: int) -> IO[bytes]:
    """Open a file without waiting for anybody: no pipe, device or folder, and for writing nothing behind a link.

    Parameters
    ----------
    path
        The file.
    flags
        As for ``os.open``; one that is made is as the umask says.

    Raises
    ------
    FileNotFoundError
        If there is none, and the flags do not make one.
    FsrcacheError
        If there is something else of that name, or it cannot be opened.
    """
    writing = flags & (os.O_WRONLY | os.O_RDWR)
    try:
        if writing and path.is_symlink():
            raise FsrcacheError(f"{path} is a link, and nothing is written through one.", "Move it away.")
        if path.exists() and not path.is_file():
            raise FsrcacheError(f"{path} is no file: {_kind(path)} stands there.", "Move it away.")
        descriptor = os.open(path, flags | _AT_ONCE | _BINARY | (_NO_LINK if writing else 0), 0o666)
        return os.fdopen(descriptor, "ab" if writing else "rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FsrcacheError(f"{path} cannot be opened: {error.strerror}.", "Check it and its permissions.") from error


def sync_folder(path: Path) -> None:
    """Have the names in a folder written down, where the system can."""
    with suppress(OSError):
        _sync(path, os.O_RDONLY)


def _create(path: Path) -> int:
    """Make an empty file where there is none; return its permissions, which are those of the umask."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = {"a folder": stat.S_ISDIR, "a pipe": stat.S_ISFIFO, "a device": stat.S_ISCHR, "a socket": stat.S_ISSOCK}
    return next((words for words, test in kinds.items() if test(mode)), "a device")
