"""Scores by hand, their order, what is undefined, and the errors."""

from dataclasses import replace

import numpy as np
import pytest

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.formats import to_csv, to_json, to_markdown
from fsrcache.evaluation.metrics import wilson_interval
from fsrcache.evaluation.tables import footnotes, score_table


def pick(scores, row, head, scale):
    return next(score for score in scores if (score.row, score.head, score.scale) == (row, head, scale))


def test_scores_by_hand(table):
    score = pick(table.rows, "FSR-FER", "frozen", 4)  # 13 of 20 right, bicubic 6, HR 16
    assert score.n == 20
    assert score.accuracy == pytest.approx(65)
    assert score.mean_class_accuracy == pytest.approx(100 * (4 / 5 + 3 / 5 * 3) / 4)
    assert score.gap_closed == pytest.approx(70)
    assert (score.low, score.high) == pytest.approx([100 * end for end in wilson_interval(13, 20)])
    assert score.mcnemar_p == 2 / 2**7  # seven won, none lost
    assert score.standard_error == pytest.approx(100 * (0.65 * 0.35 / 20) ** 0.5)


def test_what_is_undefined_is_none(table):
    assert pick(table.rows, "FSR-FER", "frozen", 1).gap_closed is None
    assert pick(table.rows, "FSR-FER", "frozen", 1).mcnemar_p == 1.0
    assert pick(table.rows, "bicubic", "frozen", 2).gap_closed == 0
    assert pick(table.rows, "bicubic", "frozen", 2).mcnemar_p is None
    assert pick(table.rows, "bicubic", "refit-linear", 2).gap_closed is None  # this head has no HR row


def test_no_gap_where_bicubic_is_as_good_as_hr(predictions, context):
    predictions["bicubic", "frozen", 2, None] = predictions["bicubic", "frozen", 1, None]
    scores = score_table(predictions, np.array([0, 1, 2, 3] * 5), split="val", context=context).rows
    assert pick(scores, "FSR-FER", "frozen", 2).gap_closed is None
    assert pick(scores, "FSR-FER", "frozen", 4).gap_closed is not None


def test_order_is_by_head_then_row_then_scale(table):
    order = [(score.head, score.row, score.scale) for score in table.rows]
    assert order == [
        ("frozen", "bicubic", 1),
        ("frozen", "bicubic", 2),
        ("frozen", "bicubic", 4),
        ("frozen", "FSR-FER", 1),
        ("frozen", "FSR-FER", 2),
        ("frozen", "FSR-FER", 4),
        ("refit-linear", "bicubic", 2),
    ]


def test_without_twins_counts_the_others_only(table):
    score = pick(table.rows_without_twins, "FSR-FER", "frozen", 4)
    assert (score.n, score.accuracy) == (16, pytest.approx(100 * 9 / 16))
    assert score.gap_closed == pytest.approx(100 * (9 - 2) / (12 - 2))
    assert table.pictures_with_twins == 4


def test_nothing_known_of_twins_is_no_twins(predictions, context):
    labels = np.array([0, 1, 2, 3] * 5)
    table = score_table(predictions, labels, split="val", context=context)
    assert table.rows == table.rows_without_twins
    everyone = score_table(predictions, labels, split="val", context=context, twins=np.ones(20, bool))
    assert everyone.rows == table.rows
    assert everyone.rows_without_twins == ()


def test_context_answers_the_reviewer(table):
    said = footnotes(table)
    assert said["split"] == "val: 20 pictures, 4 with a pixel-identical twin in the training split"
    assert {"data", "resize", "extractor", "generator", "checkpoint", "seeds", "statistics", "notes"} <= set(said)
    assert {subject for subject in said if subject.startswith("head ")} == {"head frozen", "head refit-linear"}


def test_errors_name_what_does_not_fit(predictions, context):
    labels = np.array([0, 1, 2, 3] * 5)
    with pytest.raises(FsrcacheError, match=r"'FSR-FER', 'frozen', 2, 0.*\(19,\).*20 labels"):
        score_table({("FSR-FER", "frozen", 2, 0): labels[:19]}, labels, split="val", context=context)
    with pytest.raises(FsrcacheError, match="twins has shape"):
        score_table(predictions, labels, split="val", context=context, twins=np.ones(3, bool))
    with pytest.raises(FsrcacheError, match="no pictures"):
        score_table({("bicubic", "frozen", 1, None): labels[:0]}, labels[:0], split="test", context=context)
    with pytest.raises(FsrcacheError, match="no predictions"):
        score_table({}, labels, split="test", context=context)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"predictions": [1]}, r"predictions is \[1\]"),
        ({"predictions": {("bicubic", "frozen", 1.5, None): np.zeros(20, int)}}, "predictions.* is 1.5"),
        ({"predictions": {("bicubic", "frozen", 1): np.zeros(20, int)}}, "predictions"),
        ({"predictions": {("bicubic", "frozen", 1, -3): np.zeros(20, int)}}, "predictions.* is -3"),
        ({"predictions": {("bicubic", "frozen", 1, 0): [0] * 20}}, r"\('bicubic', 'frozen', 1, 0\) is \[0, 0"),
        ({"predictions": {("bicubic", "frozen", 1, None): np.full(20, -1)}}, "predictions has the class -1"),
        ({"labels": [0] * 20}, r"labels is \[0, 0"),
        ({"twins": [True] * 20}, r"twins is \[True"),
        ({"split": None}, "split is None"),
        ({"context": "data"}, "context is 'data'"),
    ],
)
def test_what_is_no_such_argument_is_named(predictions, context, changes, words):
    given = {"predictions": predictions, "labels": np.array([0, 1, 2, 3] * 5), "split": "val", "context": context}
    given |= changes
    with pytest.raises(RequestError, match=words):
        score_table(given.pop("predictions"), given.pop("labels"), **given)


def test_seeds_are_averaged(predictions, context):
    labels = np.array([0, 1, 2, 3] * 5)
    predictions["FSR-FER", "frozen", 2, 3] = predictions["bicubic", "frozen", 4, None]  # 6 of 20 right, beside 14
    score = pick(score_table(predictions, labels, split="val", context=context).rows, "FSR-FER", "frozen", 2)
    assert (score.seed, score.seeds) == (None, (0, 3))
    assert score.accuracy == pytest.approx(100 * (14 + 6) / 40)
    assert score.deviation == pytest.approx(100 * (0.4**2 / 2) ** 0.5)
    assert (score.low, score.high) == pytest.approx([100 * end for end in wilson_interval(10, 20)])
    assert score.gap_closed == pytest.approx(100 * (10 - 12) / (16 - 12))
    assert score.mcnemar_p == 1 / 2  # of the seed that is 2 ahead, not 2 / 2**6 of the one that is 6 behind
    alone = pick(score_table(predictions, labels, split="val", context=context).rows, "FSR-FER", "frozen", 4)
    assert (alone.seed, alone.seeds, alone.deviation) == (0, (0,), None)
    for name in ("mean_class_accuracy", "macro_f1"):
        single = [
            getattr(pick(score_table(
                {key: value for key, value in predictions.items() if key[3] in (None, seed)},
                labels, split="val", context=context).rows, "FSR-FER", "frozen", 2), name)
            for seed in (0, 3)
        ]  # fmt: skip
        assert getattr(score, name) == pytest.approx(sum(single) / 2)


def test_an_interval_of_a_mean_lies_between_those_of_whole_counts():
    low, high = wilson_interval(13.5, 20)
    assert wilson_interval(13, 20)[0] < low < wilson_interval(14, 20)[0]
    assert wilson_interval(13, 20)[1] < high < wilson_interval(14, 20)[1]


def test_the_order_of_rows_is_what_was_asked_for(predictions, context):
    labels = np.array([0, 1, 2, 3] * 5)
    table = score_table(predictions, labels, split="val", context=context, order=("FSR-FER", "none", "bicubic"))
    assert [score.row for score in table.rows][:4] == ["FSR-FER"] * 3 + ["bicubic"]
    assert table.order == ("FSR-FER", "none", "bicubic")


def test_footnotes_say_what_seeds_and_rows_are(table, predictions, context):
    assert footnotes(table)["row bicubic"] == "as it is"
    assert "largest" not in footnotes(table)["statistics"]
    predictions["FSR-FER", "frozen", 2, 3] = predictions["FSR-FER", "frozen", 4, 0]
    several = score_table(predictions, np.array([0, 1, 2, 3] * 5), split="val", context=context)
    assert "the largest p-value" in footnotes(several)["statistics"]


def test_a_table_is_short_in_a_notebook(table):
    assert repr(table) == (
        "<Table of val: 20 pictures; rows bicubic, FSR-FER; heads frozen, refit-linear; scales 1, 2, 4>"
    )
    assert table._repr_markdown_() == to_markdown(table)


def test_the_settings_are_a_footnote_where_there_are_any(predictions, context):
    made = score_table(
        predictions, np.array([0, 1, 2, 3] * 5), split="val", context=replace(context, settings="preset best")
    )
    assert footnotes(made)["settings"] == to_json(made)["context"]["settings"] == "preset best"
    assert "# settings: preset best\n" in to_csv(made)
    assert "- settings: preset best\n" in to_markdown(made)
    assert "settings" not in footnotes(replace(made, context=context))
