"""The time that a training took over all of its calls, in a file beside what it made.

Weights and checkpoints hold no times, so that their bytes depend on the training alone. The time so far belongs to the
checkpoint, and becomes that of the weights when they are written: a run that is begun anew leaves both as they are.
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

TIME = "time.json"  # in a training's folder: of the weights that it made
SO_FAR = "checkpoint.time.json"  # of the checkpoint
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
        self.before = _read(folder / SO_FAR) if has_checkpoint(folder) else Spent()

    def keep(self) -> None:
        """Write the time so far; where it is unknown, that of the weights to come will be."""
        if self.before is None:
            (self.folder / TIME).unlink(missing_ok=True)
            return
        now = _now()
        call = Spent(now.seconds - self.began.seconds, now.cpu_seconds - self.began.cpu_seconds)
        _write(self.folder / SO_FAR, self.before + call)


def keep_with_weights(folder: Path) -> None:
    """Have the time so far of a training that has ended be that of its weights, which were just written."""
    if (folder / SO_FAR).exists():
        (folder / SO_FAR).replace(folder / TIME)


def write_spent(folder: Path, spent: Spent) -> None:
    """Write the time of a training that has ended into its folder."""
    _write(folder / TIME, spent)


def read_spent(folder: Path) -> Spent | None:
    """Return the time of the training that a folder's weights came from; None where it is unknown.

    Raises
    ------
    FsrcacheError
        If the file is damaged.
    """
    return _read(folder / TIME)


def _write(path: Path, spent: Spent) -> None:
    write_whole(path, (json.dumps(asdict(spent)) + "\n").encode())


def _read(path: Path) -> Spent | None:
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
