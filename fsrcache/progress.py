"""What long work says while it runs: a record that whoever called it may show."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, replace
from typing import TypeVar

Item = TypeVar("Item")
_REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class Progress:
    """Where a piece of work stands.

    Attributes
    ----------
    phase
        What is being done, such as ``pretraining``.
    done, total
        How much of it, in ``unit``.
    unit
        What is counted: ``pictures``, ``steps``.
    values
        What is worth seeing beside it, such as the loss.
    note
        What is worth saying once, as a sentence.
    """

    phase: str
    done: int
    total: int
    unit: str
    values: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


ProgressCallback = Callable[[Progress], object]


def note(text: str) -> Progress:
    """Return a record that is a note alone: nothing is counted."""
    return Progress("", 0, 0, "", note=text)


def counted(
    items: Iterable[Item],
    phase: str,
    unit: str,
    on_progress: ProgressCallback,
    *,
    before: int = 0,
    total: int | None = None,
) -> Iterator[Item]:
    """Yield items one by one, and report how many are done: at once, then every second.

    Parameters
    ----------
    items
        The items.
    phase, unit
        Phase and unit of the reports.
    on_progress
        Callback for the reports.
    before, total
        Number of items done before these, and of all; None for the length of ``items``.
    """
    if total is None:
        assert isinstance(items, Sized)
        total = len(items)
    reported = -math.inf
    for done, item in enumerate(items, before):
        now = time.perf_counter()
        if now - reported >= _REPORT_SECONDS:
            reported = now
            on_progress(Progress(phase, done, total, unit))
        yield item


def named(on_progress: ProgressCallback, name: str) -> ProgressCallback:
    """Return a callback that puts a name before every phase."""
    return lambda one: on_progress(replace(one, phase=f"{name}: {one.phase}") if one.phase else one)


def no_progress(progress: Progress) -> None:
    """Show nothing."""
