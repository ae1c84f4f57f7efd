"""The study of variants: what its table says."""

import pytest

from studies.variants import _table


@pytest.mark.parametrize(("scales", "title"), [((1, 2, 4), "mean x2 to x4"), ((1, 4), "mean x4")])
def test_the_mean_is_over_the_coarse_scales_that_there_are(scales, title):
    accuracy = {str(scale): 100.0 / scale for scale in scales}
    record = {
        "bicubic": accuracy,
        "runs": [{"variant": "base", "accuracy": accuracy, "accuracy_seen": accuracy, "seconds": 3}],
        "faces": 10,
        "seen": 20,
        "steps": 30,
        "data": "drawn faces",
        "machine": {"processor": "one", "cores": 1},
    }
    head, _, *lines = (line.strip("| ").split(" | ") for line in _table(record).splitlines()[:4])
    column = head.index(title) - len(head)
    coarse = [100 / scale for scale in scales[1:]]
    assert lines[1][column] == f"{sum(coarse) / len(coarse):.2f}"
    assert "without early features" not in _table(record)
    record["runs"].append({**record["runs"][0], "variant": "generator told the scale"})
    assert "generator told the scale: without early features." in _table(record)
