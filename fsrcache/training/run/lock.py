"""The lock of a training's folder: a folder has one training at a time."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.files import PARTIAL, lock_within

if sys.platform != "win32":
    import fcntl

_OWN = ("checkpoint.next.", ".checkpoint.", ".history.", ".map.")  # what only the holder of the lock writes
_WRITTEN = 60.0  # seconds after its last change in which any other file may still be written
_PATIENCE = 1.0  # seconds: whoever asks whether a training is under way has the lock for less


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a training's folder, which is made if it is not there; the system lets go of it when the holder dies.

    Raises
    ------
    FsrcacheError
        If another training holds it, or it can be no folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = -1 if sys.platform == "win32" else os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise FsrcacheError(
            f"{folder} can be no training's folder: {error.strerror}.", "Name another run or workspace."
        ) from None
    if sys.platform == "win32":  # no such lock: each checkpoint is whole all the same, two trainings waste time
        yield
        return
    try:
        try:
            lock_within(descriptor, _PATIENCE)
        except BlockingIOError:
            raise FsrcacheError(
                f"Another process is training in {folder}.", "Wait for it or stop it, or name another run or workspace."
            ) from None
        except OSError as error:
            raise FsrcacheError(
                f"{folder} cannot be locked: {error.strerror}.", "Use a workspace on a file system with locks."
            ) from None
        _remove_leftovers(folder)
        yield
    finally:
        os.close(descriptor)


def under_way(folder: Path) -> bool:
    """Tell whether a process is training in a folder; False where the system has no locks."""
    if sys.platform == "win32":
        return False
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove_leftovers(folder: Path) -> None:
    """Remove what trainings that were killed had begun to write; one that has just ended may still write weights."""
    for file in (*folder.glob(f".*{PARTIAL}"), folder / "checkpoint.next.safetensors"):
        with suppress(OSError):
            if file.name.startswith(_OWN) or time.time() - file.stat().st_mtime > _WRITTEN:
                file.unlink()
