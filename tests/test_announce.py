"""How long work takes is announced once, by its first seconds, and only where it is long."""

from types import SimpleNamespace

import pytest

from fsrcache.announce import FirstSeconds, Pace, announce, duration, several


@pytest.fixture
def now(monkeypatch):
    clock = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr("fsrcache.announce.time", SimpleNamespace(perf_counter=lambda: clock.seconds))
    return clock


def paces(now, *pieces):
    """Return what is known after each (second, piece)."""
    first, began = FirstSeconds(), now.seconds
    known = []
    for seconds, done in pieces:
        now.seconds = began + seconds
        known.append(first.measured(done))
    return known


def test_the_first_piece_is_left_out_and_the_pace_is_measured_once(now):
    assert paces(now, (3, 1), (4, 4), (5, 5), (9, 50)) == [None, None, Pace(4, 0.5), None]


def test_a_pace_is_that_of_a_few_pieces_unless_they_are_slow(now):
    assert paces(now, (0, 1), (3, 3), (6, 4)) == [None, None, Pace(3, 2.0)]
    assert paces(now, (4, 1), (14, 2)) == [None, Pace(1, 10.0)]


def test_slow_pieces_are_measured_from_the_first_on(now):
    assert paces(now, (60, 2), (120, 4)) == [Pace(2, 30.0), None]


def test_without_work_there_is_no_pace(now):
    assert paces(now, (60, 0), (61, 0)) == [None, None]


def test_short_work_is_not_announced():
    notes = []
    announce(notes.append, 19.9, "3 steps", by="the first 2")
    assert notes == []
    announce(notes.append, 20, "3 steps", by="the first 2")
    assert [one.note for one in notes] == ["About 20 s for 3 steps, by the first 2."]
    assert notes[0].phase == ""


@pytest.mark.parametrize(("count", "words"), [(0, "0 steps"), (1, "1 step"), (1200, "1,200 steps")])
def test_numbers_of_things_in_words(count, words):
    assert several(count, "step") == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (25.4, "25 s"),
        (91, "1 min 30 s"),
        (239, "4 min"),
        (596, "10 min"),
        (18 * 60 + 20, "18 min"),
        (2 * 3600 + 5 * 60, "2 h 5 min"),
        (3 * 3600, "3 h"),
        (76.4 * 3600, "3 days 4 h"),
        (72 * 3600, "3 days"),
    ],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words
