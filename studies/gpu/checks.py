"""What a part of the run is made of: checks one after another, each recorded in the part's file as it ends.

A check that raises, or whose numbers are wrong, is recorded and the next one is made. One that takes too long ends the
process, with a traceback of where it was, and so does one after which the GPU answers nothing any more; the same
command then goes on with the check after it.
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

LOST = 3  # the exit code of a part after which its device answers nothing any more
_TAIL = 1500  # characters of a traceback that are kept
_BETWEEN = 0.5  # seconds between two writes while a check is at work


class Setting(NamedTuple):
    """Where a part runs.

    Attributes
    ----------
    device
        A GPU; in a rehearsal the CPU.
    rehearsal
        Whether sizes are tiny: to see that it works.
    folder
        Where results of this and other parts lie.
    until
        Of ``time.monotonic``: no check is begun after it.
    """

    device: torch.device
    rehearsal: bool
    folder: Path
    until: float

    @property
    def left(self) -> float:
        """Seconds until then."""
        return self.until - time.monotonic()


class Limited(NamedTuple):
    """A number that is right up to a limit; one that is not finite is wrong."""

    value: float
    limit: float


class Failure(NamedTuple):
    """Something of several that failed, in words."""

    error: str


class NotRunError(FsrcacheError):
    """What a check needs is not on this machine."""


class Check(NamedTuple):
    """One thing to look at.

    Attributes
    ----------
    name
        In words, different from every other one of its part.
    work
        Yields what it found by name: :class:`Limited` numbers, a :class:`Failure`, or any other JSON value as a figure.
    seconds
        The most it may take.
    """

    name: str
    work: Callable[[], Iterable[tuple[str, Any]]]
    seconds: float = 60.0


def run_checks(part: str, checks: Iterable[Check], setting: Setting) -> None:
    """Make the checks that are not in the part's file yet, and write each into it.

    If the device does not answer any more the process ends with ``LOST``.
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
        _make(check, entry, setting.device, written=lambda: write_json(path, record))
        faulthandler.cancel_dump_traceback_later()
        write_json(path, record)
        if entry["state"] == "failed" and (lost := _trouble(setting.device)):
            entry["error"] += f"\nThe device answers nothing any more: {lost}"
            write_json(path, record)
            sys.stderr.flush()
            os._exit(LOST)  # an orderly end would wait for the device
    record["ended"] = True
    write_json(path, record)


def _make(check: Check, entry: dict[str, Any], device: torch.device, *, written: Callable[[], None]) -> None:
    """Make a check and fill its entry."""
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
                written()
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
    """Return what is wrong with a device, empty if it can be gone on with."""
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
    """Return the relative distance (Frobenius); infinite if a shape differs, or there is something not finite."""
    if got.shape != expected.shape or not bool(got.isfinite().all()):
        return float("inf")
    expected = expected.double()
    return float((got.double() - expected).norm() / expected.norm().clamp(min=1e-300))


def unequal(*tensors: Tensor) -> Limited:
    """Return whether tensors differ from the first in any bit, as a number that must be 0; NaN is equal to NaN."""
    first, *others = (tensor.contiguous().flatten().view(torch.uint8) for tensor in tensors)
    return Limited(float(not all(torch.equal(first, other) for other in others)), 0)


def part_file(folder: Path, part: str) -> Path:
    """Return where a part is recorded."""
    return folder / f"{part}.json"


def read_part(path: Path) -> dict[str, Any] | None:
    """Return what is recorded of a part; None if nothing is."""
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record that is there whole or not at all, whenever the process ends; NaN and infinity become words."""
    write_whole(path, (json.dumps(_plain(record), indent=1, ensure_ascii=False) + "\n").encode())


def _plain(value: Any) -> Any:
    """Return JSON values alone."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
