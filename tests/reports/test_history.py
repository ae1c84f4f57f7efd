"""The history of a training that may still be written."""

from fsrcache.reports.history import read_history


def test_whole_lines_are_read(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text(
        '{"step": 1, "l2": 0.5}\n[]\n{"l2": 0.4}\n{"step": 2, "held_out_accuracy": {"2": 50.0}}\n{"step": 3, "l'
    )
    assert read_history(path) == [{"step": 1, "l2": 0.5}, {"step": 2, "held_out_accuracy": {"2": 50.0}}]


def test_there_may_be_none(tmp_path):
    assert read_history(tmp_path / "history.jsonl") == []
