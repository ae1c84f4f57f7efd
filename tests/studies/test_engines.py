"""The engines beside each other: the ratios, that stores are compared, and that an interrupted study goes on."""

import json

import pytest
from click.testing import CliRunner

from studies import engines


def run_of(engine, seconds, beginning, store="a"):
    return {"engine": engine, "seconds": seconds, "beginning": beginning, "store": store}


def test_ratios():
    runs = [run_of("local", 10.5, 0.5), run_of("ray", 16.0, 5.0), run_of("local", 10.5, 0.5), run_of("ray", 18.0, 7.0)]
    found = engines.summary(runs, pictures=110)
    assert found["local"]["pictures_per_second"] == 11
    assert found["ray"]["pictures_per_second"] == 10
    assert found["ray"]["time_a_picture_times_local"] == pytest.approx(1.1)
    assert found["ray"]["seconds_times_local"] == pytest.approx(17 / 10.5)
    assert found["ray"]["beginning"] == 6


def test_another_store_is_an_error():
    with pytest.raises(SystemExit, match="differ"):
        engines.summary([run_of("local", 2, 1), run_of("ray", 2, 1, store="b")], pictures=1)


@pytest.mark.slow
def test_it_goes_on(tmp_path):
    words = ["--faces", "2000", "--out", str(tmp_path / "engines.json")]
    done = CliRunner().invoke(engines.main, words)
    assert done.exit_code == 0, done.output
    first = json.loads((tmp_path / "engines.json").read_text())
    assert [run["engine"] for run in first["runs"]] == list(engines.ENGINES)
    assert all(0 < run["beginning"] < run["seconds"] for run in first["runs"])
    first["runs"] = first["runs"][:2]
    (tmp_path / "engines.json").write_text(json.dumps(first))
    done = CliRunner().invoke(engines.main, words)
    assert done.exit_code == 0, done.output
    again = json.loads((tmp_path / "engines.json").read_text())
    assert again["runs"][:2] == first["runs"]
    assert [run["engine"] for run in again["runs"]] == list(engines.ENGINES)
    assert done.stdout.count("\n| ") == len(engines.ENGINES)
