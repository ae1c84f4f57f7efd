"""The profile of a step: its table and picture, and that its figures add up."""

import json

import pytest
from click.testing import CliRunner
from fsrcache.benchmarks.profile_step import main


@pytest.mark.slow
def test_the_profile(tmp_path):
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--quick", "--steps", "1", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "profile-step.json").read_text())
    assert [one["case"].split(",")[0] for one in record["profiles"]] == ["best", "best", "paper", "paper"]
    for one in record["profiles"]:
        assert sum(one["operations"].values()) == pytest.approx(one["ms"])
        assert one["parts"]["generator"] > one["parts"]["draw"] > 0
        assert (one["parts"]["critic"] > 0) == one["case"].startswith("paper")
    assert "### best" in (tmp_path / "profile-step.md").read_text()
    assert (tmp_path / "profile-step.png").read_bytes().startswith(b"\x89PNG")
