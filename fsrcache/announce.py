"""Announces how long work takes on this machine, by its own first seconds."""

import time
from typing import NamedTuple

from fsrcache.progress import ProgressCallback, note

_MEASURED, _PIECES = 2.0, 3  # seconds and pieces of work, at least
_SLOW = 10.0  # seconds, after which any number of pieces is enough
_SHORT = 20.0  # seconds, below which nothing is announced


class Pace(NamedTuple):
    """The pace of work: the number of measured pieces, and the seconds of each."""

    pieces: int
    seconds_each: float


class FirstSeconds:
    """Measures the pace of work once, by its first seconds, from now on.

    The first piece chooses algorithms and is left out, unless it is slow.
    """

    def __init__(self) -> None:
        self._pending, self._warm = True, False
        self._began, self._before = time.perf_counter(), 0

    def measured(self, pieces: int) -> Pace | None:
        """Return the pace as soon as it is known, and None before and ever after.

        Parameters
        ----------
        pieces
            Number of pieces that are done since the beginning.
        """
        if not self._pending or pieces <= self._before:
            return None
        now = time.perf_counter()
        if not self._warm and now - self._began < _SLOW:
            self._warm, self._began, self._before = True, now, pieces
            return None
        count = pieces - self._before
        if now - self._began < (_MEASURED if count >= _PIECES else _SLOW):
            return None
        self._pending = False
        return Pace(count, (now - self._began) / count)


def announce(on_progress: ProgressCallback, seconds: float, work: str, *, by: str) -> None:
    """Say how long work takes, unless it is short.

    Parameters
    ----------
    on_progress
        Callback that gets the note.
    seconds
        Expected duration of what is left.
    work, by
        The work in words, and what was measured: ``30 epochs of 224 steps``, ``the first 12 steps``.
    """
    if seconds >= _SHORT:
        on_progress(note(f"About {duration(seconds)} for {work}, by {by}."))


def several(count: int, thing: str) -> str:
    """Return a number of things in words: ``1 step``, ``1,200 steps``."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """Return a duration in words, two units at most: ``25 s``, ``2 min 10 s``, ``18 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 595:
        minutes, tens = divmod(round(seconds / 10), 6)
        return f"{minutes} min {10 * tens} s" if tens else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} days {hours} h" if hours else f"{days} days"
