"""Shows the progress of long work on standard error: one line with rate, time left and the latest values."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import BarColumn, Task, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from fsrcache.progress import Progress, ProgressCallback

_SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def shown(console: Console) -> Iterator[ProgressCallback]:
    """Yield a function that shows records: a moving bar on a terminal, else a line now and then."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), _Count(), _Rate())
    with Bars(*columns, console=console, transient=True) as bars:
        tasks: dict[str, int] = {}

        def on_progress(progress: Progress) -> None:
            if progress.note:
                console.print(Text(progress.note), soft_wrap=True)
            if progress.phase not in tasks:
                for earlier in tasks.values():
                    bars.update(earlier, visible=False)  # type: ignore[arg-type]  # rich's TaskID is an int
                tasks[progress.phase] = bars.add_task(progress.phase, completed=progress.done)
            bars.update(
                tasks[progress.phase],  # type: ignore[arg-type]  # rich's TaskID is an int
                completed=progress.done, total=progress.total, unit=progress.unit, values=progress.values,
            )  # fmt: skip

        yield on_progress


class _Lines:
    """One line at the beginning of a phase and then every half minute; work does not end where none can be written."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.phase = ""
        self.began = self.said = 0.0
        self.first = 0

    def __call__(self, progress: Progress) -> None:
        if progress.note:
            self._say(progress.note)
        now = time.monotonic()
        if progress.phase != self.phase:
            self.phase, self.began, self.first = progress.phase, now, progress.done
        elif now - self.said < _SECONDS_BETWEEN_LINES:
            return
        self.said = now
        text = f"{progress.phase}: {progress.done:,} of {progress.total:,} {progress.unit}"
        if progress.done > self.first:
            rate = (progress.done - self.first) / max(now - self.began, 1e-9)
            text += f", {rate:,.1f}/s, {_clock((progress.total - progress.done) / rate)} left"
        self._say(f"{text}{_values(progress.values)}")

    def _say(self, line: str) -> None:
        with suppress(OSError):  # a full device
            self.console.print(Text(line), soft_wrap=True)


class _Count(TextColumn):
    """Done of total, with the unit."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        """Return the count as text."""
        return Text(f"{int(task.completed):,} of {int(task.total or 0):,} {task.fields.get('unit', '')}")


class _Rate(TextColumn):
    """Rate, time left and the latest values."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        """Return rate and values as text."""
        left = "?" if task.time_remaining is None else _clock(task.time_remaining)
        return Text(f"{task.speed or 0:,.1f}/s, {left} left{_values(task.fields.get('values', {}))}")


def _values(values: dict[str, float] | object) -> str:
    assert isinstance(values, dict)
    return "".join(f", {name} {value:.4g}" for name, value in values.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
