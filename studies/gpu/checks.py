"""Runs the checks of a part one after another, and records each in the part's file as it ends.

A check that raises, or whose numbers are wrong, is recorded, and the next one is run. One that takes too long ends the
process with a traceback of where it was; so does one after which the GPU does not answer any more. The same command
then goes on with the check after it.
"""

import faulthandler
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fsrcache.errors import FsrcacheError
from fsrcache.files import write_whole

LOST = 3  # exit code of a part whose device does not answer any more
_TAIL = 1500  # characters of a traceback that are kept
_BETWEEN = 0.5  # seconds between two writes while a check runs


class Setting(NamedTuple):
    """Device, sizes, folder and deadline of a part.

    Attributes
    ----------
    device
        The GPU; in a rehearsal the CPU.
    rehearsal
        Whether sizes are tiny: to see that it works.
    folder
        Folder with the results of all parts.
    until
        Deadline by ``time.monotonic``; no check starts after it.
    """

    device: torch.device
    rehearsal: bool
    folder: Path
    until: float

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.until - time.monotonic()


class Limited(NamedTuple):
    """A number that is right up to a limit; one that is not finite is wrong."""

    value: float
    limit: float


class Failure(NamedTuple):
    """The failure of one of several things, in words."""

    error: str


class NotRunError(FsrcacheError):
    """Something that a check needs is missing on this machine."""


class Check(NamedTuple):
    """A check of a part.

    Attributes
    ----------
    name
        Name in words, unique in its part.
    work
        Generator of results by name: :class:`Limited` numbers, a :class:`Failure`, or any other JSON value as a figure.
    seconds
        Time limit in seconds.
    """

    name: str
    work: Callable[[], Iterable[tuple[str, Any]]]
    seconds: float = 60.0


def run_checks(part: str, checks: Iterable[Check], setting: Setting) -> None:
    """Run the checks that are not in the part's file yet, and write each into it.

    If the device does not answer any more, the process ends with ``LOST``.
    """
    path = part_file(setting.folder, part)
    record = read_part(path) or {"part": part, "ended": False, "checks": {}}
    known: set[str] = set()
    for check in checks:
        if check.name in known:
            raise ValueError(f"Two checks of {part} are called {check.name!r}.")
        known.add(check.name)
        if check.name in record["checks"]:
            continue
        entry: dict[str, Any] = {"state": "running", "seconds": 0.0, "found": {}}
        record["checks"][check.name] = entry
        if setting.left <= 0:
            entry |= {"state": "skipped", "error": "The time of its part was over."}
            continue
        write_json(path, record)
        faulthandler.dump_traceback_later(min(check.seconds, setting.left + 5), exit=True)
        _run(check, entry, setting.device, save=lambda: write_json(path, record))
        faulthandler.cancel_dump_traceback_later()
        write_json(path, record)
        if entry["state"] == "failed" and (lost := _trouble(setting.device)):
            entry["error"] += f"\nThe device answers nothing any more: {lost}"
            write_json(path, record)
            sys.stderr.flush()
            os._exit(LOST)  # an orderly end would wait for the device
    record["ended"] = True
    write_json(path, record)


def _run(check: Check, entry: dict[str, Any], device: torch.device, *, save: Callable[[], None]) -> None:
    """Run a check and fill its entry."""
    began = last = time.monotonic()
    wrong, failed = [], []
    try:
        for name, value in check.work():
            entry["found"][name] = value._asdict() if isinstance(value, Limited | Failure) else value
            if isinstance(value, Failure):
                failed.append(f"{name}: {value.error}")
            elif isinstance(value, Limited) and not value.value <= value.limit:
                wrong.append(f"{name}: {value.value:.2g}, more than {value.limit:.2g}")
            if time.monotonic() - last > _BETWEEN:
                save()
                last = time.monotonic()
        synchronise(device)  # what went wrong on the device is this check's
    except NotRunError as error:
        entry |= {"state": "not run", "error": error.what}
    except Exception as error:
        entry |= {"state": "failed", "error": f"{type(error).__name__}: {error}"[:_TAIL],
                  "traceback": traceback.format_exc()[-_TAIL:]}  # fmt: skip
    else:
        entry["state"] = "failed" if failed else "wrong" if wrong else "right"
        if failed or wrong:
            entry["error"] = "; ".join([*failed, *wrong])
    entry["seconds"] = round(time.monotonic() - began, 3)


def _trouble(device: torch.device) -> str:
    """Return the device's error, empty if it still works."""
    try:
        synchronise(device)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return ""


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def distance(got: Tensor, expected: Tensor) -> float:
    """Return the relative distance (Frobenius); infinite if shapes differ or a value is not finite."""
    if got.shape != expected.shape or not bool(got.isfinite().all()):
        return float("inf")
    expected = expected.double()
    return float((got.double() - expected).norm() / expected.norm().clamp(min=1e-300))


def unequal(*tensors: Tensor) -> Limited:
    """Return 1 if a tensor differs from the first in any bit, else 0, with the limit 0; NaN is equal to NaN."""
    first, *others = (tensor.contiguous().flatten().view(torch.uint8) for tensor in tensors)
    return Limited(float(not all(torch.equal(first, other) for other in others)), 0)


def part_file(folder: Path, part: str) -> Path:
    """Return the path of a part's record."""
    return folder / f"{part}.json"


def read_part(path: Path) -> dict[str, Any] | None:
    """Return a part's record; None if there is none."""
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record atomically; NaN and infinity become words."""
    write_whole(path, (json.dumps(_plain(record), indent=1, ensure_ascii=False) + "\n").encode())


def _plain(value: Any) -> Any:
    """Return a value of JSON's types alone."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
