"""Equal ensembling: means of three trainings by hand, their names everywhere, and who has none."""

import csv

import numpy as np
import pytest

from fsrcache.evaluation.ensembles import ensembles_of, mean_probabilities
from fsrcache.evaluation.formats import confusion_csv, to_csv, to_json, to_markdown
from fsrcache.evaluation.plots import accuracy_figure
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.scores import Ensemble
from fsrcache.evaluation.tables import footnotes, score_table

LABELS = np.array([0, 1])
# Each training is right on one face of two and sure of it, so that their mean is right on both.
FIRST, SECOND = np.float32([[0.9, 0.1], [0.6, 0.4]]), np.float32([[0.4, 0.6], [0.1, 0.9]])


def predictor(row, seed, **changes):
    return Predictor(row=row, name=f"{row}/{seed}", source={}, seed=seed, probabilities=lambda *_: FIRST, **changes)


def predictors():
    return [
        predictor("bicubic", None),
        *(predictor("distilled", seed) for seed in (4, 1, 0, 2)),
        *(predictor("ridge", seed) for seed in (0, 1)),
        *(predictor("FSR-FER", seed, members=3) for seed in (0, 1, 2)),
        *(predictor("FSR-FER, one of 3", seed, part=True) for seed in (0, 1, 2)),
    ]


@pytest.fixture
def table(context):
    outputs = {(one.row, "frozen", 2, one.seed): FIRST for one in predictors()}
    outputs |= {("distilled", head, 2, seed): SECOND for head in ("frozen", "refit-mlp") for seed in (1, 2, 4)}
    outputs["distilled", "refit-mlp", 2, 0] = FIRST
    ensembles = ensembles_of(predictors())
    outputs |= mean_probabilities(outputs, ensembles)
    predictions = {key: values.argmax(1) for key, values in outputs.items()}
    return score_table(predictions, LABELS, split="val", context=context, ensembles=ensembles)


def test_three_seeds_of_single_networks_have_a_mean():
    assert ensembles_of(predictors()) == {
        "bicubic": Ensemble("bicubic"),
        "distilled": Ensemble("distilled"),
        "ridge": Ensemble("ridge"),
        "FSR-FER": Ensemble("FSR-FER", 3),
        "FSR-FER, one of 3": Ensemble("FSR-FER, one of 3", part=True),
        "distilled, mean of 3": Ensemble("distilled", 3, (0, 1, 2)),
    }


def test_probabilities_are_averaged_and_not_votes():
    outputs = {("a", "frozen", 2, seed): values for seed, values in enumerate((FIRST, FIRST, SECOND))}
    ensembles = {"a": Ensemble("a"), "a, mean of 3": Ensemble("a", 3, (0, 1, 2))}
    ((key, mean),) = mean_probabilities(outputs, ensembles).items()
    assert key == ("a, mean of 3", "frozen", 2, None)
    np.testing.assert_allclose(mean, [[2.2 / 3, 0.8 / 3], [1.3 / 3, 1.7 / 3]], rtol=1e-6)
    assert mean.argmax(1).tolist() == LABELS.tolist()  # though two of three say 0 of the second face
    del outputs["a", "frozen", 2, 1]
    assert mean_probabilities(outputs, ensembles) == {}  # a scale that one of them does not know


def test_a_mean_is_a_row_of_the_same_name_with_every_head(table):
    rows = [(one.label, one.head, one.members, one.seeds) for one in table.rows if one.row == "distilled"]
    assert rows == [
        ("distilled", "frozen", 1, (0, 1, 2, 4)),
        ("distilled, mean of 3", "frozen", 3, (0, 1, 2)),
        ("distilled", "refit-mlp", 1, (0, 1, 2, 4)),
        ("distilled, mean of 3", "refit-mlp", 3, (0, 1, 2)),
    ]
    assert {one.label: one.members for one in table.rows if one.row.startswith("FSR-FER")} == {
        "FSR-FER": 3, "FSR-FER, one of 3": 1
    }  # fmt: skip
    mean = next(one for one in table.rows if one.label == "distilled, mean of 3")
    assert (mean.accuracy, mean.deviation) == (100, None)  # two of its three say 1 of both faces


def test_members_stand_in_every_format(table):
    assert [one["members"] for one in to_json(table)["rows"]] == [one.members for one in table.rows]
    read = list(csv.DictReader(line for line in to_csv(table).splitlines() if not line.startswith("#")))
    assert ("distilled", "distilled, mean of 3", "3") in {(one["row"], one["label"], one["members"]) for one in read}
    matrices = list(csv.DictReader(confusion_csv(table).splitlines()))
    assert {(one["row"], one["members"]) for one in matrices} >= {("distilled", "1"), ("distilled", "3")}
    assert "| frozen | distilled, mean of 3 | " in to_markdown(table)
    assert "lowest seeds" in footnotes(table)["members"]


def test_figures_show_the_rows_alone(table):
    assert table.order == ("bicubic", "distilled", "ridge", "FSR-FER")
    panels = accuracy_figure(table).axes
    lines = [[line.get_label() for line in panel.lines if line.get_label() in table.order] for panel in panels]
    assert lines[:2] == [list(table.order), ["distilled"]]
    assert not [line for panel in panels for line in panel.lines if "of 3" in line.get_label()]
