"""Runs the parts, each in a process of its own, wave after wave, within a budget; whatever becomes of one is recorded.

A part that ends by itself before its last check (a crash, or a GPU that answers nothing any more) is started again and
goes on after the check it was at, while it has time.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from studies.gpu.checks import LOST, part_file, read_part, write_json
from studies.gpu.parts import Part

_GRACE = 10.0  # seconds between the end of a part's time, which it sees itself, and its end by force
_LOOK = 0.05  # seconds between two looks at a process
_TAIL = 1500  # characters of what a process said that are kept

Command = Callable[[Part, float], list[str]]


class Outcome(NamedTuple):
    """What became of a part.

    Attributes
    ----------
    part
        Its name.
    state
        ``right``, ``wrong`` (a check is, or failed), ``failed`` (it did not come to its end), ``cut`` (checks at its
        end had no time) or ``skipped`` (it was not begun).
    seconds
        It took.
    reason
        Of a state that is not about a check, in words.
    checks
        By name: ``state``, ``seconds``, ``found``, ``error``.
    """

    part: str
    state: str
    seconds: float
    reason: str
    checks: dict[str, Any]


def run_parts(
    parts: Sequence[Part],
    folder: Path,
    *,
    budget: float,
    command: Command,
    environment: Mapping[str, str],
    on_progress: Callable[[list[Outcome]], None],
) -> list[Outcome]:
    """Run parts in order.

    Parameters
    ----------
    parts
        Which, in order; those of a wave, which are neighbours, run side by side.
    folder
        Where each writes its file. What lies there of an earlier run is removed.
    budget
        Seconds for all; parts that it does not reach are skipped.
    command
        What runs a part for so many seconds.
    environment
        Variables of these processes.
    on_progress
        Called with all outcomes so far after every part.
    """
    began, outcomes = time.monotonic(), []
    for part in parts:
        part_file(folder, part.name).unlink(missing_ok=True)
    stopped = Event()
    for _, wave in groupby(parts, key=attrgetter("wave")):
        left, members = budget - (time.monotonic() - began), list(wave)
        with ThreadPoolExecutor(len(members)) as pool:
            try:
                for outcome in pool.map(partial(_reached, folder, left, command, environment, stopped), members):
                    outcomes.append(outcome)
                    on_progress(outcomes)
            except BaseException:  # Ctrl-C among others: the pool would wait for its processes
                stopped.set()
                raise
    return outcomes


def _reached(
    folder: Path, left: float, command: Command, environment: Mapping[str, str], stopped: Event, part: Part
) -> Outcome:
    """Run a part if the budget reaches it."""
    if left > part.least:
        return _run(part, folder, min(left, part.most), command, environment, stopped)
    reason = f"{max(left, 0):.0f} s of the budget were left; it is not begun with {part.least:.0f} s or less."
    return Outcome(part.name, "skipped", 0.0, reason, {})


def _run(
    part: Part, folder: Path, seconds: float, command: Command, environment: Mapping[str, str], stopped: Event
) -> Outcome:
    """Run a part to its end."""
    began, path, reason = time.monotonic(), part_file(folder, part.name), ""
    while (left := seconds - (time.monotonic() - began)) > 0 and not stopped.is_set():
        code, said = _process(command(part, left), left + _GRACE, folder / f"{part.name}.txt", environment, stopped)
        if code == 0:
            break
        how = "was ended: its time was over" if code is None else _exit(code)
        buried = _bury(path, f"The process {how}.\n{said}")
        if not buried and code != LOST:  # between two checks: it would end there again
            reason = f"The process {how}. {said}"
            break
    record = read_part(path) or {"ended": False, "checks": {}}
    states = {check["state"] for check in record["checks"].values()}
    if not record["ended"]:
        state, reason = "failed", reason or "Its time was over before its last check."
    else:
        state = "wrong" if states & {"wrong", "failed"} else "cut" if "skipped" in states else "right"
    return Outcome(part.name, state, round(time.monotonic() - began, 1), reason, record["checks"])


def _process(
    words: Sequence[str], seconds: float, log: Path, environment: Mapping[str, str], stopped: Event
) -> tuple[int | None, str]:
    """Run a process to its end; return its exit code, None if it had to be ended, and the end of what it said."""
    until = time.monotonic() + seconds
    with log.open("ab") as file:
        start = file.tell()
        process = subprocess.Popen(
            words, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        while process.poll() is None and time.monotonic() < until and not stopped.wait(_LOOK):
            pass
        code = process.poll()
        with suppress(ProcessLookupError):  # what it had started goes too
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return code, log.read_bytes()[start:].decode(errors="replace").strip()[-_TAIL:]


def _bury(path: Path, error: str) -> bool:
    """Record the check that a process was at as failed; tell whether there was one."""
    record = read_part(path)
    running = [check for check in (record or {"checks": {}})["checks"].values() if check["state"] == "running"]
    for check in running:
        check |= {"state": "failed", "error": error}
    if record is not None:
        write_json(path, record)
    return bool(running)


def _exit(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with the exit code {code}"
