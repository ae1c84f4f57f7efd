"""One local writer of a part of a store at a time: a lock that the system takes away when its holder dies."""

import json
import os
import re
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsrcache.errors import FsrcacheError, Remedy, arguments, call
from fsrcache.files import lock_within
from fsrcache.store.local import Odd, remove_at

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = re.compile(r"\.writer-(\d+)-of-(\d+)")
_PATIENCE = 600.0  # seconds; whoever completes a large store on a slow disk reads the end of every file


@contextmanager
def writer_lock(folder: Path, part: tuple[int, int]) -> Iterator[None]:
    """Hold the lock of a part; parts of one division may be held together, those of different divisions may not.

    The lock is a file of its own, made new each time: what stands under its name is never opened for writing. Whoever
    asks for it holds the folder ``alone`` meanwhile.

    Parameters
    ----------
    folder
        Folder of the store, which exists.
    part
        ``(i, n)``, i from 1.

    Raises
    ------
    FsrcacheError
        If another process holds it; the message says which. If something that is no file stands under the name of a
        lock, or the system has no locks.
    """
    name = f".writer-{part[0]}-of-{part[1]}"
    with _opened(folder) as inside:
        for other, (i, n) in _locks(inside):
            if not stat.S_ISREG(_mode(inside, other)):
                raise FsrcacheError(
                    f"{folder / other} is no regular file, as a writer's lock is.",
                    Remedy(
                        "`{}` removes it, and nothing that it points to.",
                        call("verify", store=str(folder), repair=True),
                    ),
                )
            if (n != part[1] or i == part[0]) and (holder := _holder(inside, other)) is not None:
                raise FsrcacheError(
                    f"{folder} is being written by {holder}.",
                    Remedy(
                        "Wait for it or stop it. Two writers share the work as `{}` and `{}`, more likewise.",
                        arguments(part=(1, 2)),
                        arguments(part=(2, 2)),
                    ),
                )
        descriptor = _new_lock(inside, name, part)
        try:
            yield
        finally:
            with suppress(OSError):
                os.unlink(name, dir_fd=inside)
            os.close(descriptor)


def other_writer(folder: Path, part: tuple[int, int]) -> str | None:
    """Return who holds the lock of another part, in words; None if nobody does."""
    with _opened(folder) as inside:
        holders = (_holder(inside, name) for name, other in _locks(inside) if other != part)
        return next((holder for holder in holders if holder is not None), None)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder itself, for a moment; it cannot be held twice.

    Raises
    ------
    FsrcacheError
        If somebody else holds it for longer than it takes to complete a store, or the system has no locks.
    """
    if fcntl is None:
        raise FsrcacheError(
            f"{folder} cannot be written: this system ({sys.platform}) has no `fcntl`, by which a store's writers keep "
            "out of each other's way.",
            "Use Linux or macOS; Windows has the former as WSL.",
        )
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            lock_within(descriptor, _PATIENCE)
        except BlockingIOError:
            raise FsrcacheError(
                f"The folder {folder} has been locked by another process for {_PATIENCE:.0f} s.",
                "Another part may be completing the store: wait for it. Do not lock the folder by other means.",
            ) from None
        yield
    finally:
        os.close(descriptor)


def remove_stale_locks(folder: Path) -> None:
    """Remove the locks of writers that died; the caller holds the folder alone."""
    with _opened(folder) as inside:
        for name, _ in _locks(inside):
            if stat.S_ISREG(_mode(inside, name)) and _holder(inside, name) is None:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=inside)


def remove_odd_locks(folder: Path) -> dict[str, Odd]:
    """Remove what has the name of a lock and is no file, never what it points to; return what it was, by name."""
    removed: dict[str, Odd] = {}
    with _opened(folder) as inside, alone(folder):
        for name, _ in _locks(inside):
            mode = _mode(inside, name)
            if not stat.S_ISREG(mode):
                removed[name] = "link" if stat.S_ISLNK(mode) else "irregular"
                remove_at(inside, name)
    return removed


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _new_lock(inside: int, name: str, part: tuple[int, int]) -> int:
    """Make a lock and hold it; one that a dead writer left is replaced."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=inside)
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=inside)
    who = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, json.dumps({**who, "part": f"{part[0]}/{part[1]}"}).encode())
    except OSError:
        os.unlink(name, dir_fd=inside)
        os.close(descriptor)
        raise
    return descriptor


def _locks(inside: int) -> list[tuple[str, tuple[int, int]]]:
    matches = [(name, LOCK_NAME.fullmatch(name)) for name in sorted(os.listdir(inside))]
    return [(name, (int(match[1]), int(match[2]))) for name, match in matches if match]


def _mode(inside: int, name: str) -> int:
    """Return the mode of an entry of a folder; that of a regular file where it has just gone."""
    try:
        return os.stat(name, dir_fd=inside, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return stat.S_IFREG


def _holder(inside: int, name: str) -> str | None:
    """Return who holds a lock, in words; None if nobody does."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.pread(descriptor, 4096, 0).decode(errors="replace")
        try:
            who = json.loads(text)
            return f"process {who['process']} on {who['host']} since {who['since']} (part {who['part']})"
        except (ValueError, TypeError, LookupError):
            return "another process"
    finally:
        os.close(descriptor)
