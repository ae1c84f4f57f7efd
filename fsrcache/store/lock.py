"""One local writer of a part of a store at a time: a lock that the system takes away when its holder dies."""

import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsrcache.errors import FsrcacheError

if sys.platform != "win32":
    import fcntl

_PATIENCE = 60.0  # seconds
_NAME = re.compile(r"\.writer-(\d+)-of-(\d+)")


@contextmanager
def writer_lock(folder: Path, part: tuple[int, int]) -> Iterator[None]:
    """Hold the lock of a part; parts of one division may be held together, those of different divisions may not.

    Parameters
    ----------
    folder
        The store's, which exists.
    part
        ``(i, n)``, i from 1.

    Raises
    ------
    FsrcacheError
        If another process holds it; the message says which.
    """
    if sys.platform == "win32":  # no such lock: writes of a block are whole and repeatable, two writers waste time
        yield
        return
    path = folder / f".writer-{part[0]}-of-{part[1]}"
    with alone(folder):
        for other, (i, n) in _locks(folder):
            if (n != part[1] or i == part[0]) and (holder := _holder(other)) is not None:
                raise FsrcacheError(
                    f"{folder} is being written by {holder}.",
                    "Wait for it or stop it. Several writers share the work by --part 1/n ... n/n.",
                )
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        who = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({**who, "part": f"{part[0]}/{part[1]}"}).encode())
        except OSError:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder itself, for a moment; not inside itself.

    Raises
    ------
    FsrcacheError
        If somebody else holds it for longer than it takes to complete a store.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    until = time.monotonic() + _PATIENCE
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise FsrcacheError(
                        f"The folder {folder} has been locked by another process for {_PATIENCE:.0f} s.",
                        "Another part may be completing the store: wait for it. Do not lock the folder by other means.",
                    ) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def remove_stale_locks(folder: Path) -> None:
    """Remove the locks of writers that died; the caller holds the folder alone."""
    if sys.platform == "win32":
        return
    for path, _ in _locks(folder):
        if _holder(path) is None:
            path.unlink(missing_ok=True)


def _locks(folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    found = [(path, _NAME.fullmatch(path.name)) for path in sorted(folder.glob(".writer-*"))]
    return [(path, (int(match[1]), int(match[2]))) for path, match in found if match]


def _holder(path: Path) -> str | None:
    """Return who holds a lock, in words; None if nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
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
