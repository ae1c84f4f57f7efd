"""Files in a local folder, which may itself be reached through a link; below it no link is ever followed."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from fsrcache.files import write_whole_in

Odd = Literal["link", "irregular"]
Entry = Odd | Literal["file", "folder"]

_DEEPEST = 16  # folders in each other; a store has five
_READ_ONLY = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # a pipe is not waited for
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_IRREGULAR = (errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.ENXIO, errno.EOPNOTSUPP)  # links and sockets, by system


class IrregularError(OSError):
    """Something else stands where a file or a folder belongs.

    Parameters
    ----------
    key
        Path below the folder.
    kind
        ``link``, or ``irregular``: a pipe, a socket, a device, a folder for a file or a file for a folder.
    """

    def __init__(self, key: str, kind: Odd) -> None:
        what = "a symbolic link" if kind == "link" else "no regular file or folder where one belongs"
        super().__init__(errno.ELOOP, f"{key} is {what}")
        self.key, self.kind = key, kind


class LocalObjects:
    """Files in a folder, each written whole or not at all.

    Parameters
    ----------
    folder
        Any path; ``~`` is expanded, and a relative one is below the working folder as it is now.
    """

    def __init__(self, folder: Path) -> None:
        self.root = Path(os.path.expanduser(folder)).absolute()  # noqa: PTH111  # which raises for an unknown ~user
        self.folder: Path | None = self.root
        self.name = str(folder)

    def read(self, key: str, *, start: int = 0, length: int | None = None, most: int | None = None) -> bytes | None:
        """Return bytes of a file."""
        length = length if most is None else most + 1
        try:
            descriptor = open_file(self.root, key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            size = os.fstat(descriptor).st_size
            start = max(0, size + start) if start < 0 else start
            rest = max(0, size - start)
            return _read_all(descriptor, start, rest if length is None else min(length, rest))
        finally:
            os.close(descriptor)

    def write(self, key: str, data: bytes | bytearray) -> None:
        """Write a file whole."""
        folder, _, name = key.rpartition("/")
        with _folder(self.root, folder, create=True) as parent:
            try:
                write_whole_in(parent, name, data)
            except IsADirectoryError:
                raise IrregularError(key, "irregular") from None

    def remove(self, key: str) -> None:
        """Remove an entry if there is one: of a link the link, of a folder everything in it."""
        folder, _, name = key.rpartition("/")
        with suppress(FileNotFoundError), _folder(self.root, folder) as parent:
            remove_at(parent, name)
            os.fsync(parent)

    def keys(self) -> Iterator[str]:
        """Yield the keys of all files, folder by folder, each sorted."""
        yield from (key for key, entry in self.entries().items() if entry == "file")

    def entries(self) -> dict[str, Entry]:
        """Return the kind of every entry below the folder, by key; nothing where there is no such folder."""
        try:
            descriptor = os.open(self.root, _FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        try:
            return dict(_walk(descriptor, []))
        finally:
            os.close(descriptor)


def open_file(root: Path, key: str) -> int:
    """Return a descriptor of a regular file below a folder, for reading.

    Raises
    ------
    IrregularError
        If it, or a folder above it, is a link or something else.
    OSError
        If it is not there or cannot be opened.
    """
    folder, _, name = key.rpartition("/")
    with _folder(root, folder) as parent:
        try:
            descriptor = os.open(name, _READ_ONLY, dir_fd=parent)
        except OSError as error:
            raise _irregular(error, parent, name, key) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise IrregularError(key, "irregular")
        return descriptor


def remove_at(parent: int, name: str) -> None:
    """Remove an entry of an open folder by its name, following no link."""
    if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        shutil.rmtree(name, dir_fd=parent)
    else:
        os.unlink(name, dir_fd=parent)


@contextmanager
def _folder(root: Path, key: str, *, create: bool = False) -> Iterator[int]:
    """Open a folder below the root, created if asked; a root that has vanished is never created."""
    descriptor = os.open(root, _FOLDER)
    try:
        parts = key.split("/") if key else []
        for depth, name in enumerate(parts, 1):
            inner = _inner(descriptor, name, "/".join(parts[:depth]), create=create)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _inner(parent: int, name: str, key: str, *, create: bool) -> int:
    """Open a folder in an open one; a new one is synced into the one above."""
    flags = _FOLDER | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    except OSError as error:
        raise _irregular(error, parent, name, key) from None
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    os.fsync(parent)
    try:
        return os.open(name, flags, dir_fd=parent)
    except OSError as error:  # somebody was faster, with something else
        raise _irregular(error, parent, name, key) from None


def _irregular(error: OSError, parent: int, name: str, key: str) -> OSError:
    """Return what an error of opening a name means."""
    if error.errno not in _IRREGULAR:
        return error
    linked = stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    return IrregularError(key, "link" if linked else "irregular")


def _walk(descriptor: int, above: Sequence[str]) -> Iterator[tuple[str, Entry]]:
    """Yield every key below an open folder and the kind of its entry, a folder before its contents."""
    with os.scandir(descriptor) as scanned:
        children = sorted((each.name, _entry(each)) for each in scanned)
    for name, entry in children:
        parts = [*above, name]
        yield "/".join(parts), entry
        if entry != "folder" or len(parts) == _DEEPEST:
            continue
        try:
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
        except (FileNotFoundError, NotADirectoryError):  # gone in the meantime
            continue
        try:
            yield from _walk(inner, parts)
        finally:
            os.close(inner)


def _entry(each: "os.DirEntry[str]") -> Entry:
    if each.is_symlink():
        return "link"
    if each.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if each.is_file(follow_symlinks=False) else "irregular"


def _read_all(descriptor: int, start: int, length: int) -> bytes:
    parts, count = [], 0
    while count < length and (part := os.pread(descriptor, length - count, start + count)):
        parts.append(part)
        count += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
