"""A report of sixty faces whose names would break a page that does not escape them."""

import dataclasses

import numpy as np
import pytest

from fsrcache.evaluation.cost import Cost
from fsrcache.evaluation.tables import Context, score_table
from fsrcache.faces.degrade import Degradation
from fsrcache.presets import TRAINING
from fsrcache.reports.data import ReportData, Training

ROW, NASTY = "FSR-FER", "<b>'sad\" & x</b>"
CLASSES = ("happiness", NASTY, "anger")
SCALES = (1, 2, 4)
FACES = 60
RIGHT = {"bicubic": {1: 54, 2: 40, 4: 20}, ROW: {1: 54, 2: 52, 4: 40}}  # of sixty
LABELS = np.arange(FACES) % len(CLASSES)


def outputs(right):
    """Return probabilities [60, 3] of which the first ``right`` faces have the largest at their class."""
    answers = np.where(np.arange(FACES) < right, LABELS, (LABELS + 1) % len(CLASSES))
    sure = np.linspace(0.9, 0.5, FACES, dtype=np.float32)[:, None]
    return np.where(np.eye(len(CLASSES), dtype=bool)[answers], sure, (1 - sure) / 2)


def features(row, scale):
    random = np.random.default_rng(0)
    fine = random.standard_normal((FACES, 10)).astype(np.float16) + np.eye(10)[LABELS].astype(np.float16)
    return fine + np.float16({1: 0, 2: 1, 4: 2}[scale] if row == "bicubic" else 0.5)


def training(name, **changes):
    history = [
        {"step": step, "l2": 1 / step, "held_out_accuracy": {"1": 90.0, "2": 50.0 + step, "4": 40.0 + step}}
        for step in (1, 2, 3)
    ]
    config = TRAINING["tiny"]
    return Training(name=name, config=type(config)(**{**vars(config), **changes}), seed=0, history=history)


@pytest.fixture(scope="session")
def probabilities():
    return {row: {scale: outputs(right) for scale, right in scales.items()} for row, scales in RIGHT.items()}


@pytest.fixture(scope="session")
def table(probabilities):
    predictions = {
        (row, "frozen", scale, None if row == "bicubic" else 0): values.argmax(1)
        for row, scales in probabilities.items()
        for scale, values in scales.items()
    }
    context = Context(
        data=f"{NASTY}, 60 pictures", degradation="bicubic", extractor=NASTY, generator="tiny", checkpoint="last",
        seeds="FSR-FER 0",
    )  # fmt: skip
    order = ("bicubic", ROW)
    table = score_table(predictions, LABELS, split="val", context=context, order=order, classes=CLASSES, side=24)
    measured = {"calibration_error": 12.34, "calibration_error_after": 5.67, "temperature": 1.25}
    rows = tuple(dataclasses.replace(score, **measured) for score in table.rows)
    costs = tuple(
        Cost(
            row=row, label=row, members=1, parameters=4_830_000, gmac=0.13, training_seconds=60.0,
            training_cpu_seconds=None,
        )
        for row in order
    )  # fmt: skip
    return dataclasses.replace(table, rows=rows, calibration="temperatures fitted on 7 faces", cost=costs)


@pytest.fixture(scope="session")
def data(table, probabilities):
    random = np.random.default_rng(1)
    pictures = {number: random.integers(0, 256, (24, 24, 1), dtype=np.uint8) for number in range(FACES)}
    return ReportData(
        table=table,
        row=ROW,
        labels=LABELS,
        probabilities=probabilities,
        features=features,
        pictures=pictures,
        enlarged={"rcan": {(0, 2): pictures[1], (1, 2): pictures[2]}},
        degradation=Degradation(),
        trainings=[training("default"), training("other", reweight="none")],
        facts={NASTY: {"path": f"/{NASTY}"}},
        commands=[f"fsrcache extract --data '{NASTY}'"],
    )
