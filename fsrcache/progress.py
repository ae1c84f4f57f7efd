"""What long work says while it runs: a record that whoever called it may show."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


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


def no_progress(progress: Progress) -> None:
    """Show nothing."""
