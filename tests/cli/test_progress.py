"""The progress of work whose phases alternate, such as training and scoring."""

from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from fsrcache.cli.progress import shown
from fsrcache.progress import Progress


def training(done):
    return Progress("training", done, 100, "steps")


SCORING = Progress("scoring", 0, 50, "pictures")


def test_lines_have_a_rate_soon_and_phases_may_alternate(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("fsrcache.cli.progress.time", SimpleNamespace(monotonic=lambda: now.seconds))
    stream = StringIO()
    with shown(Console(file=stream)) as on_progress:
        for seconds, progress in (
            (0, training(0)),
            (1, training(1)),
            (4, training(4)),
            (5, SCORING),
            (6, training(6)),
            (7, SCORING),
            (33, training(33)),
            (38, training(40)),
        ):
            now.seconds = float(seconds)
            on_progress(progress)
    assert stream.getvalue().splitlines() == [
        "training: 0 of 100 steps",
        "training: 4 of 100 steps, 1.0/s, 1:36 left",
        "scoring: 0 of 50 pictures",
        "training: 40 of 100 steps, 1.1/s, 0:57 left",
    ]


def test_a_phase_that_begins_again_has_the_rate_of_its_own_time(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("fsrcache.cli.progress.time", SimpleNamespace(monotonic=lambda: now.seconds))
    stream = StringIO()
    with shown(Console(file=stream)) as on_progress:
        for seconds, done in ((0, 0), (10, 40), (1000, 0), (1010, 10)):
            now.seconds = float(seconds)
            on_progress(Progress("scoring", done, 50, "pictures"))
        now.seconds = 1041.0
        on_progress(Progress("scoring", 41, 50, "pictures"))
    assert stream.getvalue().splitlines() == [
        "scoring: 0 of 50 pictures",
        "scoring: 40 of 50 pictures, 4.0/s, 0:02 left",
        "scoring: 0 of 50 pictures",
        "scoring: 41 of 50 pictures, 1.0/s, 0:09 left",
    ]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (40, "training: 12,345 of 160,000 steps, 0.0/…"),
        (60, "training: 12,345 of 160,000 steps, 0.0/s, ? left, critic 0.…"),
        (90, "training: 12,345 of 160,000 steps, 0.0/s, ? left, critic 0.1235, generator -12.35"),
        (120, "training: 12,345 of 160,000 steps, 0.0/s, ? left, critic 0.1235, generator -12.35"),
    ],
)
def test_a_narrow_console_cuts_the_end_and_keeps_the_verb(width, expected):
    stream = StringIO()
    values = {"critic": 0.12345, "generator": -12.345}
    with shown(Console(file=stream, force_terminal=True, width=width, color_system=None)) as on_progress:
        on_progress(Progress("training", 12_345, 160_000, "steps", values))
    lines = [line.replace("\x1b[2K", "").rstrip() for line in stream.getvalue().splitlines()]
    shows = [line for line in lines if "training" in line]
    assert {line.lstrip(" ━╸╺") for line in shows} == {expected}
    assert max(map(len, shows)) <= width


def test_the_bar_of_a_phase_that_begins_again_begins_again(monkeypatch):
    bars = []
    monkeypatch.setattr(
        "fsrcache.cli.progress.Bars", lambda *of, **options: bars.append(Bars(*of, **options)) or bars[0]
    )
    with shown(Console(file=StringIO(), force_terminal=True)) as on_progress:
        for done in (5, 40, 3):
            on_progress(Progress("scoring", done, 50, "pictures"))
    assert [(task.id, task.completed) for task in bars[0].tasks] == [(1, 3)]


@pytest.mark.parametrize("again", [False, True])
def test_the_bar_is_that_of_the_phase_under_way(monkeypatch, again):
    made = []

    class Watched(Bars):
        def __init__(self, *columns, **options):
            super().__init__(*columns, **options)
            made.append(self)

    monkeypatch.setattr("fsrcache.cli.progress.Bars", Watched)
    with shown(Console(file=StringIO(), force_terminal=True)) as on_progress:
        for progress in [training(1), SCORING, *([training(2)] if again else [])]:
            on_progress(progress)
    assert [task.description for task in made[0].tasks if task.visible] == ["training" if again else "scoring"]


def test_phases_that_are_over_at_once_have_no_line_each(monkeypatch):
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr("fsrcache.cli.progress.time", SimpleNamespace(monotonic=lambda: now.seconds))
    stream = StringIO()
    with shown(Console(file=stream)) as on_progress:
        for seconds, phase, done in (
            (0, "a", 0),
            (0.1, "b", 0),
            (0.2, "c", 0),
            (2, "c", 1),
            (3.3, "c", 3),
            (7, "d", 0),
        ):
            now.seconds = float(seconds)
            on_progress(Progress(phase, done, 5, "parts"))
    assert stream.getvalue().splitlines() == [
        "a: 0 of 5 parts",
        "c: 3 of 5 parts, 1.0/s, 0:02 left",  # begun beside a, and long
        "d: 0 of 5 parts",
    ]
