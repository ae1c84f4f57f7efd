"""The table: one frozen record per row, head and scale, made from predictions, with the answers to a reviewer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.arguments import check_array
from fsrcache.evaluation.metrics import (
    Classes,
    gap_closed,
    macro_f1,
    mcnemar,
    mean_class_accuracy,
    standard_error,
    total_accuracy,
    wilson_interval,
)
from fsrcache.records import Between, check_value

ROWS = ("bicubic", "fine-tuned", "FSR-FER")
HEADS = {
    "frozen": "the extractor's own, trained with it and never again",
    "refit-mlp": "the frozen head's architecture, re-trained on the row's training features of all scales",
    "refit-linear": "logistic regression, fitted on the row's training features of all scales",
}
Key = tuple[str, str, Annotated[int, Between(1, 1 << 16)]]  # row, head, scale


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one row reaches with one head at one scale; percent, ``mcnemar_p`` excepted.

    ``scale`` 1 is full resolution. ``low`` and ``high`` are the 95 % Wilson interval of ``accuracy``. ``gap_closed``
    is (accuracy - bicubic) / (HR - bicubic) and ``mcnemar_p`` the exact paired test against bicubic, both with the
    same head on the same pictures; None where there is no bicubic row to compare with, or no gap.
    """

    row: str
    head: str
    scale: int
    n: int
    accuracy: float
    mean_class_accuracy: float
    macro_f1: float
    low: float
    high: float
    standard_error: float
    gap_closed: float | None
    mcnemar_p: float | None


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a reviewer asks about a table, one sentence each; shown under it in every format.

    Attributes
    ----------
    data
        Which data, and what was trained on.
    degradation
        Which resize, form and border, and whether there is JPEG in between.
    extractor, generator
        Which models, how long and on what they were trained.
    checkpoint
        Which step is shown, and which pictures chose it.
    seeds
        How many trainings stand behind a number, and their seeds.
    notes
        Whatever else must be said.
    """

    data: str
    degradation: str
    extractor: str
    generator: str
    checkpoint: str
    seeds: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """The scores on all pictures of a split, those on its pictures without a twin in training, and their context."""

    split: str
    context: Context
    rows: tuple[Score, ...]
    rows_without_twins: tuple[Score, ...]
    pictures: int
    pictures_with_twins: int


def score_table(
    predictions: Mapping[Key, Classes],
    labels: Classes,
    *,
    split: str,
    context: Context,
    twins: NDArray[np.bool_] | None = None,
) -> Table:
    """Score every prediction of a split.

    Parameters
    ----------
    predictions
        {(row, head, scale): int [n]}; scale 1 is full resolution, and the row ``bicubic`` at scale 1 the
        unprocessed picture.
    labels
        int [n].
    split
        The name of the split that the pictures come from.
    context
        The answers to print under the table.
    twins
        bool [n], the pictures that also stand in training; None where nobody looked, like none at all.

    Returns
    -------
    Table
        Scores ordered by head, row and scale; ``rows_without_twins`` is empty if every picture has a twin.

    Raises
    ------
    FsrcacheError
        If there are no pictures or predictions, or if predictions or twins are not one per label.
    RequestError
        If anything is of another type, or a class beyond 4,095.
    """
    check_value(str, split, name="split")
    check_value(Context, context, name="context")
    check_array(labels, "iu", None, name="labels", wanted="a NumPy array [n] of whole numbers, the classes")
    check_value(Mapping[Key, Any], predictions, name="predictions")
    if len(labels) == 0 or not predictions:
        missing = "predictions" if len(labels) else "pictures"
        raise FsrcacheError(f"The split {split!r} has no {missing} to score.", "Extract it, or choose another split.")
    with_twins = np.zeros(len(labels), bool) if twins is None else twins
    check_array(with_twins, "b", None, name="twins", wanted="a NumPy array [n] of booleans")
    for key, predicted in predictions.items():
        check_array(predicted, "iu", None, name=f"{key}", wanted="a NumPy array [n] of whole numbers, the classes")
    for name, values in (*predictions.items(), ("twins", with_twins)):
        if values.shape != labels.shape:
            raise FsrcacheError(
                f"{name} has shape {values.shape}, but the split {split!r} has {len(labels)} labels.",
                "Predict exactly the pictures of the split, in its order.",
            )
    return Table(
        split=split,
        context=context,
        rows=_scores(predictions, labels, np.ones(len(labels), bool)),
        rows_without_twins=_scores(predictions, labels, ~with_twins),
        pictures=len(labels),
        pictures_with_twins=int(with_twins.sum()),
    )


def position(name: str, known: tuple[str, ...]) -> int:
    """Return the place of a row or head in the table's order; names it does not know come last."""
    return known.index(name) if name in known else len(known)


def footnotes(table: Table) -> dict[str, str]:
    """Return {subject: sentence}: the table's context, its pictures, heads and statistics."""
    check_value(Table, table, name="table")
    context = table.context
    left_out = f"{table.pictures_with_twins:,} with a pixel-identical twin in training"
    heads = dict.fromkeys(score.head for score in table.rows)
    statistics = "95 % Wilson intervals over pictures, not over seeds; exact paired McNemar test against bicubic"
    return {
        "data": context.data,
        "split": f"{table.split}: {table.pictures:,} pictures, {left_out}",
        "resize": context.degradation,
        "extractor": context.extractor,
        "generator": context.generator,
        "checkpoint": context.checkpoint,
        "seeds": context.seeds,
        **{f"head {head}": HEADS[head] for head in heads if head in HEADS},
        "statistics": statistics,
        "gap closed": "(accuracy - bicubic) / (HR - bicubic), same head, same pictures",
        **({"notes": " ".join(context.notes)} if context.notes else {}),
    }


def _scores(predictions: Mapping[Key, Classes], labels: Classes, chosen: NDArray[np.bool_]) -> tuple[Score, ...]:
    if not chosen.any():
        return ()
    found = {key: predicted[chosen] for key, predicted in predictions.items()}
    heads = tuple(HEADS)
    order = sorted(found, key=lambda key: (position(key[1], heads), key[1], position(key[0], ROWS), key[0], key[2]))
    return tuple(_score(key, found, labels[chosen]) for key in order)


def _score(key: Key, predictions: Mapping[Key, Classes], labels: Classes) -> Score:
    row, head, scale = key
    predicted = predictions[key]
    correct = predicted == labels
    n, accuracy = len(labels), total_accuracy(labels, predicted)
    low, high = wilson_interval(int(correct.sum()), n)
    bicubic, hr = predictions.get(("bicubic", head, scale)), predictions.get(("bicubic", head, 1))
    share = None
    if bicubic is not None and hr is not None:  # at scale 1 they are the same, and no gap
        share = gap_closed(accuracy, bicubic=total_accuracy(labels, bicubic), hr=total_accuracy(labels, hr))
    p = None if row == "bicubic" or bicubic is None else mcnemar(correct, bicubic == labels)
    return Score(
        row=row,
        head=head,
        scale=scale,
        n=n,
        accuracy=100 * accuracy,
        mean_class_accuracy=100 * mean_class_accuracy(labels, predicted),
        macro_f1=100 * macro_f1(labels, predicted),
        low=100 * low,
        high=100 * high,
        standard_error=100 * standard_error(accuracy, n),
        gap_closed=None if share is None else 100 * share,
        mcnemar_p=p,
    )
