"""Shows the progress of long work on standard error: one line with rate, time left and the latest values."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from fsrcache.cli.printing import visible
from fsrcache.progress import Progress, ProgressCallback

_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_OF_RATE = 3.0  # after which a phase's rate is worth a line
_SECONDS_OF_ONE_LINE = 3.0  # after a line, in which a phase that begins is not worth one
_BAR, _ROOM = 24, 100  # characters of the bar, and of a line that has room for one


@contextmanager
def shown(console: Console) -> Iterator[ProgressCallback]:
    """Yield a function that shows records: a moving bar on a terminal, else a line now and then."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    bar = (BarColumn(bar_width=_BAR),) if console.width >= _ROOM else ()
    with Bars(*bar, _Words(), console=console, transient=True, expand=True) as bars:
        tasks: dict[str, int] = {}
        done: dict[str, int] = {}

        def on_progress(progress: Progress) -> None:
            if progress.note:
                console.print(Text(visible(progress.note)), soft_wrap=True)
            if not progress.phase:
                return
            if progress.phase in tasks and progress.done < done[progress.phase]:  # it begins again
                bars.remove_task(tasks.pop(progress.phase))  # type: ignore[arg-type]  # rich's TaskID is an int
            done[progress.phase] = progress.done
            if progress.phase not in tasks:
                tasks[progress.phase] = bars.add_task(
                    progress.phase, completed=progress.done, total=progress.total, unit=progress.unit,
                    values=progress.values,
                )  # fmt: skip
            for phase, task in tasks.items():
                bars.update(task, visible=phase == progress.phase)  # type: ignore[arg-type]  # rich's TaskID is an int
            bars.update(
                tasks[progress.phase],  # type: ignore[arg-type]  # rich's TaskID is an int
                completed=progress.done, total=progress.total, unit=progress.unit, values=progress.values,
            )  # fmt: skip

        yield on_progress


class _Lines:
    """A line at the beginning of a phase, one with its rate after 3 s and then one every half minute.

    A phase that begins within 3 s of a line waits for the end of that time: short ones say nothing.

    Work does not end where no line can be written.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.shown = -math.inf
        self.began: dict[str, tuple[float, int]] = {}  # when a phase began, and how much of it was done then
        self.done: dict[str, int] = {}  # of a phase at its last record
        self.lined: set[str] = set()  # phases that had a line
        self.rated: set[str] = set()  # phases whose rate was shown

    def __call__(self, progress: Progress) -> None:
        if progress.note:
            self._say(visible(progress.note))
        if not progress.phase:
            return
        now = time.monotonic()
        if progress.done < self.done.get(progress.phase, 0):  # it begins again
            del self.began[progress.phase]
        self.done[progress.phase] = progress.done
        began, first = self.began.setdefault(progress.phase, (now, progress.done))
        fresh = progress.phase not in self.rated and progress.done > first and now - began >= _SECONDS_OF_RATE
        pause = _SECONDS_BETWEEN_LINES if progress.phase in self.lined else _SECONDS_OF_ONE_LINE
        if not fresh and now - self.shown < pause:
            return
        self.shown = now
        self.lined.add(progress.phase)
        text = f"{progress.phase}: {progress.done:,} of {progress.total:,} {progress.unit}"
        if progress.done > first:
            rate = (progress.done - first) / max(now - began, 1e-9)
            self.rated.add(progress.phase)
            text += f", {rate:,.1f}/s, {clock((progress.total - progress.done) / rate)} left"
        self._say(f"{text}{_values(progress.values)}")

    def _say(self, line: str) -> None:
        with suppress(OSError):  # a full device
            self.console.print(Text(line), soft_wrap=True)


class _Words(TextColumn):
    """All beside the bar in one text, the most important first: a narrow console cuts its end."""

    def __init__(self) -> None:
        super().__init__("", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        """Return phase, count, rate, time left and the latest values."""
        left = "?" if task.time_remaining is None else clock(task.time_remaining)
        return Text(
            f"{task.description}: {int(task.completed):,} of {int(task.total or 0):,} {task.fields.get('unit', '')}, "
            f"{task.speed or 0:,.1f}/s, {left} left{_values(task.fields.get('values', {}))}"
        )


def _values(values: dict[str, float] | object) -> str:
    assert isinstance(values, dict)
    return "".join(f", {name} {value:.4g}" for name, value in values.items())


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
