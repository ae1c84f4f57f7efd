"""A small table whose numbers can be counted on fingers."""

import numpy as np
import pytest

from fsrcache.evaluation.tables import Context, score_table

ROWS = ("bicubic", "fine-tuned", "FSR-FER")
LABELS = np.array([0, 1, 2, 3] * 5, np.uint8)


def right(n):
    """Return predictions of which the first n of twenty are right."""
    return np.where(np.arange(20) < n, LABELS, (LABELS + 1) % 4)


@pytest.fixture
def context():
    return Context(
        data="FER2013 | 28,709 pictures",
        degradation="MATLAB bicubic, side ceil(48 / s), no JPEG",
        extractor="CovPoolFER, *HR only*",
        generator="best, 16,000 steps",
        checkpoint="last step",
        seeds="FSR-FER 0",
        rows={"bicubic": "as it is"},
        notes=("A note.",),
    )


@pytest.fixture
def predictions():
    return {
        ("FSR-FER", "frozen", 2, 0): right(14),
        ("FSR-FER", "frozen", 1, 0): right(17),
        ("bicubic", "frozen", 4, None): right(6),
        ("bicubic", "frozen", 1, None): right(16),
        ("bicubic", "frozen", 2, None): right(12),
        ("FSR-FER", "frozen", 4, 0): right(13),
        ("bicubic", "refit-linear", 2, None): right(11),
    }


@pytest.fixture
def table(predictions, context):
    twins = np.arange(20) < 4
    return score_table(predictions, LABELS, split="val", context=context, twins=twins, order=ROWS)
