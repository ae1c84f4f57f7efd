"""When the next checkpoint and the next report of a training are due, by the clock."""

import math
import time
from pathlib import Path

from fsrcache.training.run.spent import Stopwatch

_CHECKPOINT_SECONDS = 30.0  # between two checkpoints at most
_CHECKPOINT_SHARE = 0.02  # of the time, that they may take to be made oftener
_REPORT_SECONDS = 1.0


class CheckpointDue:
    """Whether a checkpoint is due; as a context it measures what one costs, and keeps the training's time after it.

    Parameters
    ----------
    seconds
        Time between two checkpoints; None is 30 s, and less where they are cheap.
    folder
        The training's folder.
    """

    def __init__(self, seconds: float | None, folder: Path) -> None:
        self.stopwatch = Stopwatch(folder)
        self.asked, self.cost, self.made = seconds, 0.0, time.perf_counter()

    def __bool__(self) -> bool:
        between = min(_CHECKPOINT_SECONDS, self.cost / _CHECKPOINT_SHARE) if self.asked is None else self.asked
        return time.perf_counter() - self.made >= between

    def __enter__(self) -> None:
        self.made = time.perf_counter()

    def __exit__(self, error: object, *_: object) -> None:
        if error is None:
            self.stopwatch.keep()
        now = time.perf_counter()
        self.cost, self.made = now - self.made, now


class ReportDue:
    """Whether a report is due: the first one at once, then one a second.

    A report reads numbers from the device, and to read a number from a GPU is to wait for it.
    """

    def __init__(self) -> None:
        self.made = -math.inf

    def __bool__(self) -> bool:
        now = time.perf_counter()
        due = now - self.made >= _REPORT_SECONDS
        if due:
            self.made = now
        return due
