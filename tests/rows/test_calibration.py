"""The table's calibration errors: of every row with probabilities, by temperatures of faces that are not scored."""

import csv
import io

import numpy as np
import pytest

from fsrcache.evaluation.calibration import calibration_error, fit_temperature, with_temperature
from fsrcache.evaluation.formats import to_csv, to_json, to_markdown
from fsrcache.evaluation.layout import blocks
from fsrcache.store.reader import FeatureStore
from fsrcache.verbs.evaluate import evaluate


def calibrated(workspace, **options):
    return evaluate(workspace, names=["a", "b"], heads=["frozen", "refit-linear"], calibration=True, device="cpu",
                    **options)  # fmt: skip


def of_row(table, label, scale, head="frozen"):
    (score,) = (one for one in table.rows if (one.label, one.scale, one.head) == (label, scale, head))
    return score


@pytest.mark.parametrize("split", ["test", "val"])
def test_bicubic_is_calibrated_by_faces_that_are_not_scored(workspace, split):
    store = FeatureStore(workspace.store)
    table = calibrated(workspace, split=split)
    held_out = np.flatnonzero(store.held_out())
    fit, rows = ("val", slice(None)) if split == "test" else ("train", held_out)
    count = len(store.labels(fit)[rows])
    where = "of val" if split == "test" else "of the held-out tenth of train"
    sentence, end = table.calibration.split("; ")  # the extractor is untrained
    assert sentence == f"temperatures fitted on {count} faces {where}, none of them trained on or scored"
    assert end.endswith(" are at a bound of the fit, 1/20 or 20: better ones may lie beyond")
    for scale in (1, 2, 4):
        temperature = fit_temperature(store.probabilities(fit, scale)[:][rows], store.labels(fit)[rows])
        scored, labels = store.probabilities(split, scale)[:], store.labels(split)
        score = of_row(table, "bicubic", scale)
        assert score.temperature == pytest.approx(temperature, rel=1e-2)  # fp16 features
        assert score.calibration_error == pytest.approx(100 * calibration_error(scored, labels), abs=0.1)
        after = calibration_error(with_temperature(scored, temperature), labels)
        assert score.calibration_error_after == pytest.approx(100 * after, abs=0.5)


def test_every_row_with_probabilities_and_the_frozen_head_alone(workspace):
    table = calibrated(workspace)
    for score in table.rows:
        values = score.calibration_error, score.calibration_error_after, score.temperature
        calibrated_row = score.head == "frozen" and score.label != "majority"  # which has no probabilities of a face
        assert [value is not None for value in values] == 3 * [calibrated_row], score
    assert {one.label for one in table.rows} >= {"majority", "bicubic", "FSR-FER", "FSR-FER, one of 2"}
    one = evaluate(workspace, names=["a"], heads=["frozen"], calibration=True, device="cpu")
    other = evaluate(workspace, names=["b"], heads=["frozen"], calibration=True, device="cpu")
    for name in ("calibration_error", "calibration_error_after", "temperature"):
        seeds = [getattr(of_row(each, "FSR-FER", 2), name) for each in (one, other)]
        assert getattr(of_row(table, "FSR-FER", 2), name) == pytest.approx(sum(seeds) / 2)
    bare = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    assert of_row(bare, "bicubic", 1).temperature is None
    assert bare.calibration == ""


def test_every_format_has_it(workspace):
    table = calibrated(workspace)
    score = of_row(table, "FSR-FER", 4)
    titles = [block.title for block in blocks(table, measures=["calibration"])][:3]
    assert [title[:12] for title in titles] == ["Expected cal", "The same at ", "Temperature "]
    text = to_markdown(table, measures=["accuracy", "calibration"])
    assert all(f"**{title}**" in text for title in titles)
    assert f"- calibration: {to_json(table)['context']['calibration']}" in text
    lines = csv.DictReader(io.StringIO(to_csv(table)))
    (line,) = (
        one for one in lines
        if (one["twins"], one["label"], one["head"], one["scale"]) == ("with", "FSR-FER", "frozen", "4")
    )  # fmt: skip
    (row,) = (
        one for one in to_json(table)["rows"] if (one["label"], one["head"], one["scale"]) == ("FSR-FER", "frozen", 4)
    )
    for name in ("calibration_error", "calibration_error_after", "temperature"):
        assert float(line[name]) == row[name] == getattr(score, name)
