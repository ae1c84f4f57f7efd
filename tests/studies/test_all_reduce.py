"""The cost of averaging gradients: one file for every number of processes, and a table of them."""

import json

import pytest
from click.testing import CliRunner

from studies.all_reduce import as_markdown, main

ROW = {"subject": "best", "processes": 2, "batch": 8, "step_ms": 40.0, "exchange_ms": 10.0, "megabytes": 38.2}


def test_the_table():
    other = {**ROW, "processes": 1, "exchange_ms": 0.0}
    lines = as_markdown({"steps": [ROW, other]}).splitlines()
    assert lines[2:] == ["| best | 1 | 40.0 | 0.0 | 0 % | 38.2 |", "| best | 2 | 40.0 | 10.0 | 25 % | 38.2 |"]


@pytest.mark.slow
def test_other_numbers_of_processes_stay_in_the_file(tmp_path):
    out = tmp_path / "all_reduce.json"
    before = {**ROW, "processes": 1, "subject": "replaced"}
    out.write_text(json.dumps({"steps": [ROW, before]}))
    done = CliRunner().invoke(main, ["--quick", "--steps", "1", "--device", "cpu", "--out", str(out)])
    assert done.exit_code == 0, done.output
    rows = json.loads(out.read_text())["steps"]
    assert rows[0] == ROW
    assert [row["processes"] for row in rows] == [2, 1, 1]
    assert all(row["exchange_ms"] < row["step_ms"] and row["megabytes"] > 0 for row in rows)
