"""Confusion matrices and the scores of every class: by hand, by scikit-learn, over seeds, and in every format."""

import csv
import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from fsrcache.errors import RequestError
from fsrcache.evaluation.confusion import ClassScore, confusion
from fsrcache.evaluation.formats import confusion_csv, to_json, to_markdown
from fsrcache.evaluation.layout import blocks
from fsrcache.evaluation.tables import score_table
from fsrcache.evaluation.terminal import terminal_table

CLASSES = ("happiness", "anger", "fear", "as, it is")
LABELS = np.array([0, 0, 0, 0, 1, 1, 2], np.uint8)
PREDICTED = np.array([0, 0, 0, 1, 1, 0, 1])
KEY = "FSR-FER", "frozen", 2


def test_by_hand():
    matrix = confusion(KEY, [PREDICTED], LABELS, classes=CLASSES, seeds=(3,))
    assert (matrix.row, matrix.head, matrix.scale, matrix.seeds) == (*KEY, (3,))
    assert matrix.counts == ((3, 1, 0, 0), (1, 1, 0, 0), (0, 1, 0, 0), (0, 0, 0, 0))
    assert matrix.per_class == (
        ClassScore(name="happiness", support=4, recall=75, precision=75, f1=75),
        ClassScore(name="anger", support=2, recall=50, precision=100 / 3, f1=40),
        ClassScore(name="fear", support=1, recall=0, precision=None, f1=0),
        ClassScore(name="as, it is", support=0, recall=None, precision=None, f1=None),
    )


@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_scikit_learn(seed):
    from sklearn import metrics

    generator = np.random.default_rng(seed)
    labels = generator.choice(7, 400, p=[0.4, 0.3, 0.1, 0.1, 0.06, 0.04, 0])  # one class without pictures
    predictions = [np.where(generator.random(400) < 0.6, labels, generator.integers(0, 5, 400)) for _ in range(3)]
    matrix = confusion(KEY, predictions, labels, classes=tuple("abcdefg"), seeds=(0, 1, 2))
    truth, predicted = np.tile(labels, 3), np.concatenate(predictions)
    assert np.array_equal(matrix.counts, metrics.confusion_matrix(truth, predicted, labels=range(7)))
    theirs = metrics.precision_recall_fscore_support(truth, predicted, labels=range(7), zero_division=np.nan)
    for index, ours in enumerate(matrix.per_class):
        assert 3 * ours.support == theirs[3][index]
        values = zip((ours.precision, ours.recall, ours.f1), (part[index] for part in theirs[:3]), strict=True)
        for value, expected in values:
            assert value is None if np.isnan(expected) else value == pytest.approx(100 * expected, rel=1e-13)


def test_a_class_beyond_the_names_is_named():
    with pytest.raises(RequestError, match="the class 2"):
        confusion(KEY, [PREDICTED], LABELS, classes=("a", "b"))


@pytest.fixture
def seeded(predictions, context):
    """A table whose FSR-FER has two seeds at scale 2."""
    predictions["FSR-FER", "frozen", 2, 1] = predictions["bicubic", "frozen", 4, None]
    labels = np.array([0, 1, 2, 3] * 5)
    return score_table(predictions, labels, split="val", context=context, order=("bicubic",), classes=CLASSES)


def test_a_table_has_one_for_every_score(seeded, table):
    for one in (seeded, table):
        keys = [(score.row, score.head, score.scale, score.seeds) for score in one.rows]
        assert [(each.row, each.head, each.scale, each.seeds) for each in one.confusions] == keys
    for score, matrix in zip(seeded.rows, seeded.confusions, strict=True):
        counts, trainings = np.array(matrix.counts), max(1, len(matrix.seeds))
        assert counts.sum() == 20 * trainings
        assert 100 * np.trace(counts) / counts.sum() == pytest.approx(score.accuracy)
        assert [one.support for one in matrix.per_class] == [5] * 4
    assert [one.name for one in table.confusions[0].per_class] == ["0", "1", "2", "3"]  # no names are known


def test_json_has_them(seeded):
    record = json.loads(json.dumps(to_json(seeded), allow_nan=False))
    assert record["classes"] == list(CLASSES)
    one = next(one for one in record["confusion"] if (one["row"], one["head"], one["scale"]) == KEY)
    assert one["seeds"] == [0, 1]
    assert np.sum(one["counts"]) == 40
    assert set(one["per_class"][0]) == {"name", "support", "recall", "precision", "f1"}


def test_csv_has_a_line_a_class(seeded):
    lines = list(csv.DictReader(StringIO(confusion_csv(seeded))))
    assert len(lines) == len(seeded.confusions) * 4
    for number, line in enumerate(lines):
        matrix, index = seeded.confusions[number // 4], number % 4
        assert [line["row"], line["head"], line["scale"]] == [matrix.row, matrix.head, str(matrix.scale)]
        assert line["seeds"] == " ".join(map(str, matrix.seeds))
        assert line["class"] == CLASSES[index]
        assert [int(line[f"as {name}"]) for name in CLASSES] == list(matrix.counts[index])
        assert int(line["support"]) == 5
        for name in ("recall", "precision", "f1"):
            value = getattr(matrix.per_class[index], name)
            assert line[name] == ("" if value is None else str(value))


def printed(table, width=80):
    console = Console(width=width, file=StringIO())
    console.print(terminal_table(table, width=width, measures=("per_class",)), crop=False)
    return console.file.getvalue()


def test_the_terminal_shows_every_class_with_the_frozen_head(seeded):
    made = blocks(seeded, measures=("per_class",))
    assert [block.title.split()[0] for block in made] == ["Recall", "Precision", "F1"]
    by_key = {(one.row, one.scale): one for one in seeded.confusions if one.head == "frozen"}
    for block, name in zip(made, ("recall", "precision", "f1"), strict=True):
        assert block.columns == ("HR", "x2", "x4")
        assert [(line.group, line.row) for line in block.lines] == [
            (group, row) for group in CLASSES for row in ("bicubic", "FSR-FER")
        ]
        for number, line in enumerate(block.lines):
            scores = [by_key[line.row, scale].per_class[number // 2] for scale in (1, 2, 4)]
            assert [cell.text for cell in line.cells] == [f"{getattr(score, name):.1f}" for score in scores]
    text = printed(seeded)
    assert "Recall of every class, head frozen, %" in text
    assert "class     row" in text
    legend = "pictures: happiness 5, anger 5, fear 5, as, it is 5; counts are summed over seeds"
    assert legend in " ".join(text.split())
    assert "| class | row | HR | x2 | x4 |" in to_markdown(seeded, measures=("per_class",))


def test_the_best_row_of_a_class_is_marked(seeded):
    recall = blocks(seeded, measures=("per_class",))[0]
    happiness = {line.row: [cell.best for cell in line.cells] for line in recall.lines if line.group == "happiness"}
    values = {line.row: [float(cell.text) for cell in line.cells] for line in recall.lines if line.group == "happiness"}
    for column in range(3):
        most = max(values[row][column] for row in values)
        assert [happiness[row][column] for row in values] == [values[row][column] == most for row in values]


def test_without_the_frozen_head_the_first_is_shown(predictions, context):
    alone = {key: values for key, values in predictions.items() if key[1] == "refit-linear"}
    table = score_table(alone, np.array([0, 1, 2, 3] * 5), split="val", context=context)
    assert "Recall of every class, head refit-linear, %" in printed(table)
