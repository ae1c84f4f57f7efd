"""An extraction that is killed again and again ends in the same bytes as one that nobody disturbed."""

import pytest

from studies.soak import soak


@pytest.mark.slow
def test_twenty_five_kills_leave_no_trace(tmp_path):
    record = soak(tmp_path, kills=25, faces=280, seed=7)
    assert record["kills"] == 25
    assert record["equal"]
    assert record["touched"] == []
    assert len(set(record["killed_with"])) > 3  # the moments do differ
    assert record["finished"] > 1 or record["resumed_from"] > 0  # and runs do resume
