"""Files that are there whole or not at all, with the permissions that the umask says, and never through a link."""

import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from fsrcache.errors import FsrcacheError, RequestError

if sys.platform != "win32":
    import fcntl

PARTIAL = ".partial"  # ends the name of a file while it is written
_KEPT = 50  # characters of the file's name that the partial one begins with: a name has 255 bytes at most
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has none of these, but the last
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def as_path(path: object, *, name: str = "path") -> Path:
    """Return a path from text or a path, ``~`` being the home folder.

    Parameters
    ----------
    path
        The argument: text, or ``os.PathLike`` of text.
    name
        Its name, for the error.

    Raises
    ------
    RequestError
        If it is neither, it is empty or has a NUL, or there is no such home folder.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        shown = repr(path)[:60]
        raise RequestError(f"{name} is {shown}.", "It should be the path of a file or folder, as text or as a Path.")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise RequestError(f"There is no home folder for {text!r}.", "Name the whole path.") from None


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the machine stops.

    Raises
    ------
    FsrcacheError
        If it cannot be written.
    """
    with whole_file(path) as partial:
        _fill(str(partial), data)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of an empty file to fill, which takes the name ``path`` afterwards; a link there is replaced.

    Raises
    ------
    FsrcacheError
        If it cannot be written.
    """
    path = as_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _replacing(str(path)) as partial:
            yield Path(partial)
        sync_folder(path.parent)
    except OSError as error:
        raise FsrcacheError(
            f"{path} cannot be written: {error.strerror or error}.", "Check the folder and the space left."
        ) from error


def write_whole_in(folder: int, name: str, data: bytes | bytearray) -> None:
    """Write a file in an open folder, whole or not at all.

    Parameters
    ----------
    folder
        Descriptor of the folder.
    name
        Name in that folder; a link of that name is replaced.
    data
        Bytes of the file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with _replacing(name, folder) as partial:
        _fill(partial, data, folder)
    os.fsync(folder)


def read_regular(path: Path, *, most: int) -> bytes:
    """Return the bytes of a small file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    FsrcacheError
        If it is no file, has more than ``most`` bytes, or cannot be read.
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
        Flags of ``os.open``; a new file gets the permissions of the umask.

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
        descriptor = os.open(path, flags | _NO_WAIT | _BINARY | (_NO_LINK if writing else 0), 0o666)
        return os.fdopen(descriptor, "ab" if writing else "rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FsrcacheError(f"{path} cannot be opened: {error.strerror}.", "Check it and its permissions.") from error


def sync_folder(path: Path) -> None:
    """Have the names in a folder written to disk, where the system can."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _replacing(name: str, folder: int | None = None) -> Iterator[str]:
    """Yield the name of a new, empty file; once it is filled and on the disk it takes the place of ``name``.

    Both are names in the open folder, or paths where there is none. Whatever is raised, the new file goes.
    """
    above, last = os.path.split(name)
    new = f".{last[:_KEPT]}.{secrets.token_hex(8)}{PARTIAL}"
    partial = os.path.join(above, new)  # noqa: PTH118  maybe in a descriptor
    mode = _create(partial, folder)
    try:
        yield partial
        _sync(partial, folder, mode)
        os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial, dir_fd=folder)
        raise


def _create(name: str, folder: int | None) -> int:
    """Make an empty file where there is none; return its permissions, which are those of the umask."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666, dir_fd=folder)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def lock_within(descriptor: int, seconds: float) -> None:
    """Lock an open folder for this process alone, on a system that has such locks.

    Raises
    ------
    BlockingIOError
        If another process has it for longer than so many seconds.
    OSError
        If its file system has no locks.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _fill(name: str, data: bytes | bytearray, folder: int | None = None) -> None:
    descriptor = os.open(name, os.O_WRONLY | _NO_LINK | _BINARY, dir_fd=folder)
    try:
        rest = memoryview(data)
        while len(rest):
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def _sync(name: str, folder: int | None, mode: int) -> None:
    """Have a file written to disk, with these permissions: a library may have made it anew."""
    descriptor = os.open(name, os.O_RDWR | _NO_LINK, dir_fd=folder)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
            os.chmod(name, mode, dir_fd=folder)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = {"a folder": stat.S_ISDIR, "a pipe": stat.S_ISFIFO, "a device": stat.S_ISCHR, "a socket": stat.S_ISSOCK}
    return next((words for words, test in kinds.items() if test(mode)), "a device")
