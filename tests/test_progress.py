"""Reports of work that is counted, by the clock."""

from types import SimpleNamespace

from fsrcache.progress import Progress, counted, named, note


def test_counted_work_is_reported_at_once_and_every_second(monkeypatch):
    now = iter([0.0, 0.4, 0.9, 1.2, 1.9, 2.2])
    monkeypatch.setattr("fsrcache.progress.time", SimpleNamespace(perf_counter=lambda: next(now)))
    seen = []
    assert list(counted("abcdef", "reading", "letters", seen.append)) == list("abcdef")
    assert seen == [Progress("reading", done, 6, "letters") for done in (0, 3, 5)]


def test_counted_work_may_be_a_part():
    seen = []
    assert list(counted(iter("ab"), "reading", "letters", seen.append, before=3, total=9)) == ["a", "b"]
    assert seen == [Progress("reading", 3, 9, "letters")]


def test_a_name_is_put_before_phases_and_not_before_notes():
    seen = []
    on_progress = named(seen.append, "bicubic")
    on_progress(Progress("reading", 1, 2, "parts"))
    on_progress(note("A note."))
    assert [(one.phase, one.note) for one in seen] == [("bicubic: reading", ""), ("", "A note.")]
