"""The time that a training took over all of its calls, in a file beside its checkpoint.

Weights and checkpoints hold no times, so that their bytes depend on the training alone.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from fsrcache.files import read_regular, write_whole
from fsrcache.records import Between, parse_json, value_from
from fsrcache.training.run.checkpoint import has_checkpoint

TIME = "time.json"  # in a training's folder
_MOST_BYTES = 1 << 12
_Seconds = Annotated[float, Between(0, 1e12)]


@dataclass(frozen=True)
class Spent:
    """Time of a training.

    Attributes
    ----------
    seconds
        Duration in seconds.
    cpu_seconds
        Seconds of the processor, summed over the threads of the process; of several processes the first's alone.
    """

    seconds: _Seconds = 0.0
    cpu_seconds: _Seconds = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)


class Stopwatch:
    """Measures a training from now on, and adds that to what earlier calls took.

    What came after the last checkpoint of an interrupted call does not count. Where a checkpoint is there without any
    time, as one that was copied alone, the time stays unknown.

    Parameters
    ----------
    folder
        The training's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.began = folder, _now()
        self.before = read_spent(folder) if has_checkpoint(folder) else Spent()

    def keep(self) -> None:
        """Write the time so far."""
        if self.before is not None:
            now = _now()
            call = Spent(now.seconds - self.began.seconds, now.cpu_seconds - self.began.cpu_seconds)
            write_spent(self.folder, self.before + call)


def write_spent(folder: Path, spent: Spent) -> None:
    """Write the time of a training into its folder."""
    write_whole(folder / TIME, (json.dumps(asdict(spent)) + "\n").encode())


def read_spent(folder: Path) -> Spent | None:
    """Return the time of a training; None where it is unknown.

    Raises
    ------
    FsrcacheError
        If the file is damaged.
    """
    path = folder / TIME
    try:
        record = parse_json(read_regular(path, most=_MOST_BYTES), where=path, remedy="Remove it.")
    except FileNotFoundError:
        return None
    spent: Spent = value_from(Spent, record, where=path, remedy="Remove it.")
    return spent


def total_spent(folders: Iterable[Path]) -> tuple[float, float] | None:
    """Return duration and processor time of several trainings; None where one's are unknown, or there is none."""
    each = [read_spent(folder) for folder in folders]
    known = [spent for spent in each if spent is not None]
    if not known or len(known) < len(each):
        return None
    return sum(one.seconds for one in known), sum(one.cpu_seconds for one in known)


def _now() -> Spent:
    return Spent(time.perf_counter(), time.process_time())
