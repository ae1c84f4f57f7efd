"""What a score is compared with: the ceiling, McNemar's row, and what the measures leave out."""

import numpy as np
import pytest

from fsrcache.errors import RequestError
from fsrcache.evaluation.formats import to_json, to_markdown
from fsrcache.evaluation.layout import blocks
from fsrcache.evaluation.metrics import mcnemar
from fsrcache.evaluation.tables import footnotes, score_table

LABELS = np.array([0, 1, 2, 3] * 5, np.uint8)


def right(n):
    """Return predictions of which the first n of twenty are right."""
    return np.where(np.arange(20) < n, LABELS, (LABELS + 1) % 4)


@pytest.fixture
def rivals(predictions):
    """Return predictions with a majority row and two seeds of specialists, 18 and 16 of twenty right at scale 4."""
    predictions |= {("majority", "frozen", scale, None): right(5) for scale in (1, 2, 4)}
    predictions |= {("specialists", "frozen", 4, seed): right(18 - 2 * seed) for seed in (0, 1)}
    predictions |= {("specialists", "frozen", 1, seed): right(16) for seed in (0, 1)}
    return predictions | {("FSR-FER", "refit-linear", 2, 0): right(12)}


@pytest.fixture
def scored(rivals, context):
    def score(**changes):
        return score_table(rivals, LABELS, split="val", context=context, **changes)

    return score


def pick(table, row, head, scale):
    return next(score for score in table.rows if (score.label, score.head, score.scale) == (row, head, scale))


def test_the_share_of_the_ceiling_by_hand(scored):
    table = scored()
    assert pick(table, "FSR-FER", "frozen", 4).ceiling_reached == pytest.approx(100 * (13 - 6) / (17 - 6))
    assert pick(table, "bicubic", "frozen", 4).ceiling_reached == 0
    assert pick(table, "specialists", "frozen", 4).ceiling_reached == 100
    assert pick(table, "FSR-FER", "frozen", 2).ceiling_reached is None  # no specialist of this scale
    assert pick(table, "FSR-FER", "frozen", 1).ceiling_reached is None  # the extractor itself: no way up
    assert pick(table, "FSR-FER", "refit-linear", 2).ceiling_reached is None  # specialists have the frozen head alone
    assert "one network a scale" in footnotes(table)["ceiling reached"]


def test_there_is_no_ceiling_at_full_resolution_whatever_the_specialists_answer(rivals, context):
    other = {("specialists", "frozen", 1, seed): right(17) for seed in (0, 1)}  # one more, by another rounding
    table = score_table({**rivals, **other}, LABELS, split="val", context=context)
    assert {score.ceiling_reached for score in table.rows if score.scale == 1} == {None}


def test_without_specialists_there_is_no_ceiling(table):
    assert {score.ceiling_reached for score in table.rows} == {None}
    assert "ceiling reached" not in footnotes(table)
    assert "specialists" not in to_markdown(table)


def test_who_looks_at_no_face_or_is_an_end_of_the_scale_has_no_share(scored):
    rows = {
        block.title: {line.row for line in block.lines}
        for block in blocks(scored(), measures=("accuracy", "gap_closed", "ceiling_reached"))
    }
    assert rows == {
        "Total accuracy, %": {"majority", "bicubic", "FSR-FER", "specialists"},
        "Share of the gap from bicubic to HR closed, %": {"FSR-FER", "specialists"},
        "Share of the way from bicubic to the specialists reached, %": {"FSR-FER"},
    }


def test_another_row_to_compare_with(scored):
    table = scored(against="specialists")
    seeds = [mcnemar(np.arange(20) < 13, np.arange(20) < n) for n in (18, 16)]
    assert pick(table, "FSR-FER", "frozen", 4).mcnemar_p == max(seeds) > min(seeds)
    assert pick(table, "bicubic", "frozen", 4).mcnemar_p == mcnemar(np.arange(20) < 6, np.arange(20) < 16)
    assert pick(table, "specialists", "frozen", 4).mcnemar_p is None
    assert pick(table, "FSR-FER", "refit-linear", 2).mcnemar_p is None  # no such head
    titles = {block.title: block.legend for block in blocks(table, measures=("accuracy", "mcnemar_p"))}
    assert "McNemar's p-value against specialists" in titles
    assert "not told apart from specialists" in titles["Total accuracy, %"]
    assert footnotes(table)["statistics"].split(";")[1] == " exact paired McNemar test against specialists"
    assert (table.against, to_json(table)["against"], scored().against) == ("specialists", "specialists", "bicubic")


def test_a_row_that_is_not_there_is_refused_with_the_list(scored):
    with pytest.raises(RequestError, match="no row 'ridge' to compare with") as caught:
        scored(against="ridge")
    assert caught.value.remedy == "Choose from FSR-FER; bicubic; majority; specialists."
