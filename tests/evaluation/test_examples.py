"""Example faces: the first of each class, right and wrong answers told apart without colour, grey faces too."""

from dataclasses import replace

import numpy as np
import pytest

from fsrcache.evaluation.example_sheet import example_sheet
from fsrcache.evaluation.examples import first_examples
from fsrcache.faces.degrade import SCALE_FORM

ROWS = ("bicubic", "FSR-FER")


def test_the_first_face_of_each_class_in_the_order_of_the_split():
    labels = np.array([5, 5, 2, 5, 0, 2, 1, 3], np.uint8)
    examples = first_examples(labels, {("bicubic", 1): np.arange(8), ("bicubic", 2): labels})
    assert [(one.number, one.label) for one in examples] == [(0, 5), (2, 2), (4, 0), (6, 1)]
    assert examples[1].answers == {("bicubic", 1): 2, ("bicubic", 2): 2}


def test_a_table_has_the_answers_of_the_frozen_head(table):
    assert [one.number for one in table.examples] == [0, 1, 2, 3]
    assert {key for one in table.examples for key in one.answers} == {
        (row, scale) for row in ROWS for scale in (1, 2, 4)
    }
    assert all(answer == one.label for one in table.examples for answer in one.answers.values())


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_is_narrow_and_shows_every_scale(table, channels):
    table = replace(table, classes=("surprise", "fear", "disgust", "happiness"))
    pictures = [np.full((24, 24, channels), 40 * number, np.uint8) for number in range(1, 5)]
    sheet = example_sheet(table, pictures, rows=ROWS, degradation=SCALE_FORM)
    assert sheet.width < 800
    seen = np.asarray(sheet)
    for number in range(1, 5):  # a face fills three squares, one for each scale
        assert 0.9 < (seen == 40 * number).all(2).sum() / (3 * 150 * 150) < 1.1


def test_a_wrong_answer_has_another_sign(table):
    table = replace(table, classes=("surprise", "surprise", "surprise", "surprise"))  # equal texts
    pictures = [np.zeros((24, 24, 3), np.uint8)] * 4
    right = np.asarray(example_sheet(table, pictures, rows=ROWS, degradation=SCALE_FORM).convert("L")) < 200
    first = replace(table.examples[0], answers=table.examples[0].answers | {("FSR-FER", 4): 1})
    table = replace(table, examples=(first, *table.examples[1:]))
    wrong = np.asarray(example_sheet(table, pictures, rows=ROWS, degradation=SCALE_FORM).convert("L")) < 200
    assert (right != wrong).any()
    rows, columns = np.nonzero(right != wrong)
    assert np.ptp(rows) < 30  # one line of one face
    assert np.ptp(columns) < 150
