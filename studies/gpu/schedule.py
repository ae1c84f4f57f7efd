"""Runs the parts, each in a process of its own, wave after wave, within a budget, and records the result of each.

A part that ends by itself before its last check (a crash, or a GPU that answers nothing any more) is started again and
goes on after the check that it was running, while it has time.
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
_TAIL = 1500  # characters of a process's output that are kept

Command = Callable[[Part, float], list[str]]


class Outcome(NamedTuple):
    """The result of a part.

    Attributes
    ----------
    part
        Name of the part.
    state
        ``right``, ``wrong`` (a check is, or failed), ``failed`` (it did not come to its end), ``cut`` (checks at its
        end had no time) or ``skipped`` (it was not begun).
    seconds
        Duration of the part.
    reason
        Reason of a state that no check explains, in words; else empty.
    checks
        Records of the checks by name: ``state``, ``seconds``, ``found`` (the results), ``error``.
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
        Parts in order; those of a wave are neighbours and run side by side.
    folder
        Folder of the parts' files; those of an earlier run are removed.
    budget
        Seconds for all parts; those that it does not reach are skipped.
    command
        Function of a part and its seconds that returns a command line.
    environment
        Environment variables of the parts' processes.
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
        code, output = _process(command(part, left), left + _GRACE, folder / f"{part.name}.txt", environment, stopped)
        if code == 0:
            break
        how = "was ended: its time was over" if code is None else _exit(code)
        buried = _bury(path, f"The process {how}.\n{output}")
        if not buried and code != LOST:  # between two checks: it would end there again
            reason = f"The process {how}. {output}"
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
    """Run a process to its end; return its exit code, None if it had to be ended, and the end of its output."""
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
    """Record the check that a process was running as failed; return whether there was one."""
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
