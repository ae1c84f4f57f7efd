"""The table: one frozen record per row, head and scale, made from predictions, with the answers to a reviewer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.arguments import check_array
from fsrcache.evaluation.confusion import Confusion, confusion
from fsrcache.evaluation.examples import Example, first_examples
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
from fsrcache.records import Between, Seed, check_value

BICUBIC, FROZEN = "bicubic", "frozen"  # the row that others are compared with, and the head that is never re-fitted
HEADS = {
    FROZEN: "the extractor's own, trained with it and never again",
    "refit-mlp": "the frozen head's architecture, re-trained on the row's training features of all scales",
    "refit-linear": "logistic regression, fitted on the row's training features of all scales",
}
Key = tuple[str, str, Annotated[int, Between(1, 1 << 16)], Seed | None]  # row, head, scale, seed of the training
Trainings = dict[tuple[str, str, int], dict[int | None, Classes]]  # predictions int [n] by row, head, scale; by seed


@dataclass(frozen=True, kw_only=True)
class Score:
    """Scores of one row with one head at one scale; percent, ``mcnemar_p`` and ``deviation`` excepted.

    Attributes
    ----------
    row, head, scale, n
        Names, the scale (1 is full resolution), and the number of pictures.
    accuracy, mean_class_accuracy, macro_f1
        Means over the seeds.
    low, high, standard_error
        The 95 % Wilson interval of ``accuracy`` over pictures, and its standard error.
    gap_closed
        (accuracy - bicubic) / (HR - bicubic) with the same head on the same pictures, mean over the seeds; None without
        a bicubic row or without a gap.
    mcnemar_p
        The exact paired test against bicubic, likewise, the largest over the seeds.
    seed
        Random seed of the training; None where there are several, or none.
    seeds
        All of them.
    deviation
        Sample standard deviation of the accuracy over the seeds, in points; None with fewer than two.
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
    seed: int | None = None
    seeds: tuple[int, ...] = ()
    deviation: float | None = None


@dataclass(frozen=True, kw_only=True)
class Context:
    """Answers to a reviewer's questions about a table, one sentence each; shown under it in every format.

    Attributes
    ----------
    data
        The data, and the part of them that is trained on.
    degradation
        Resize, form and border, and the JPEG in between.
    extractor, generator
        The models, with the length and data of their trainings.
    checkpoint
        The step that is shown, and the pictures that chose it.
    seeds
        Seeds of the trainings, by row, and of the re-fitted heads.
    settings
        Preset of every training, and what differs from it, as ``name=value``; empty where nothing is trained.
    rows
        One line on each row, by name.
    notes
        Further sentences.
    """

    data: str
    degradation: str
    extractor: str
    generator: str
    checkpoint: str
    seeds: str
    settings: str = ""
    rows: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class Table:
    """The scores of a split, and what is needed to show them; a notebook shows it as Markdown.

    Attributes
    ----------
    split, pictures, pictures_with_twins
        The split, the number of its pictures, and of those with a pixel-identical twin in training.
    context
        The answers to a reviewer.
    rows, rows_without_twins
        Scores on all pictures, and on those without a twin; ordered by head, row and scale.
    order
        Names of rows in their order; a row's position fixes its colour and marker.
    classes
        The K names of the classes, or empty where they are unknown.
    confusions
        A confusion matrix for each of ``rows``, in their order.
    side
        Pixels of a face at full resolution, or None where it is unknown.
    examples
        A few faces, and what the rows say of them with the frozen head.
    """

    split: str
    context: Context
    rows: tuple[Score, ...]
    rows_without_twins: tuple[Score, ...]
    pictures: int
    pictures_with_twins: int
    order: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    side: int | None = None
    examples: tuple[Example, ...] = ()

    def __repr__(self) -> str:
        parts = {
            name: ", ".join(dict.fromkeys(str(getattr(score, name)) for score in self.rows))
            for name in ("row", "head", "scale")
        }
        subjects = "; ".join(f"{name}s {values}" for name, values in parts.items())
        return f"<Table of {self.split}: {self.pictures:,} pictures; {subjects}>"

    def _repr_markdown_(self) -> str:
        from fsrcache.evaluation.formats import to_markdown

        return to_markdown(self)


def score_table(
    predictions: Mapping[Key, Classes],
    labels: Classes,
    *,
    split: str,
    context: Context,
    twins: NDArray[np.bool_] | None = None,
    order: Sequence[str] = (),
    classes: Sequence[str] = (),
    side: int | None = None,
) -> Table:
    """Score every prediction of a split; predictions that differ in their seed alone make one score.

    Parameters
    ----------
    predictions
        {(row, head, scale, seed): int [n]}; scale 1 is full resolution, and the row ``bicubic`` at scale 1 the
        unprocessed picture. The seed is None where nothing is trained.
    labels
        int [n].
    split
        The name of the split that the pictures come from.
    context
        The answers to print under the table.
    twins
        bool [n], the pictures that also stand in training; None where nobody looked, like none at all.
    order
        Names of rows in their order; others come after them, as in ``predictions``.
    classes, side
        As in ``Table``; where no names are known, the classes of the confusion matrices are numbered.

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
    names = tuple(dict.fromkeys((*order, *(row for row, *_ in predictions))))
    trainings = _trainings(predictions, names)
    answers = {
        (row, scale): next(iter(seeds.values())) for (row, head, scale), seeds in trainings.items() if head == FROZEN
    }
    return Table(
        split=split,
        context=context,
        rows=_scores(trainings, labels, np.ones(len(labels), bool)),
        rows_without_twins=_scores(trainings, labels, ~with_twins),
        pictures=len(labels),
        pictures_with_twins=int(with_twins.sum()),
        order=names,
        classes=tuple(classes),
        confusions=_confusions(trainings, labels, classes),
        side=side,
        examples=first_examples(labels, answers),
    )


def footnotes(table: Table) -> dict[str, str]:
    """Return {subject: sentence}: the table's context, its pictures, heads and statistics."""
    check_value(Table, table, name="table")
    context = table.context
    left_out = f"{table.pictures_with_twins:,} with a pixel-identical twin in training"
    heads = dict.fromkeys(score.head for score in table.rows)
    statistics = "95 % Wilson intervals over pictures, not over seeds; exact paired McNemar test against bicubic"
    if any(score.deviation is not None for score in table.rows):
        statistics += (
            "; of several seeds: means, ± their standard deviation, the interval of the mean accuracy, and the largest "
            "p-value"
        )
    return {
        "data": context.data,
        "split": f"{table.split}: {table.pictures:,} pictures, {left_out}",
        "resize": context.degradation,
        "extractor": context.extractor,
        "generator": context.generator,
        "checkpoint": context.checkpoint,
        **({"settings": context.settings} if context.settings else {}),
        "seeds": context.seeds,
        **{f"row {row}": says for row, says in context.rows.items()},
        **{f"head {head}": HEADS[head] for head in heads if head in HEADS},
        "statistics": statistics,
        "gap closed": "(accuracy - bicubic) / (HR - bicubic), same head, same pictures",
        **({"notes": " ".join(context.notes)} if context.notes else {}),
    }


def _trainings(predictions: Mapping[Key, Classes], rows: tuple[str, ...]) -> Trainings:
    """Return the predictions by row, head and scale, ordered by head, row and scale."""
    heads = tuple(HEADS)
    trainings: Trainings = {}
    for (row, head, scale, seed), predicted in predictions.items():
        trainings.setdefault((row, head, scale), {})[seed] = predicted

    def position(key: tuple[str, str, int]) -> tuple[int, str, int, int]:
        row, head, scale = key
        return heads.index(head) if head in heads else len(heads), head, rows.index(row), scale

    return {key: trainings[key] for key in sorted(trainings, key=position)}


def _scores(trainings: Trainings, labels: Classes, chosen: NDArray[np.bool_]) -> tuple[Score, ...]:
    if not chosen.any():
        return ()
    kept = {key: {seed: one[chosen] for seed, one in seeds.items()} for key, seeds in trainings.items()}

    def bicubic(head: str, scale: int) -> Classes | None:
        return next(iter(kept.get((BICUBIC, head, scale), {}).values()), None)

    return tuple(
        _score(key, seeds, labels[chosen], bicubic=bicubic(key[1], key[2]), hr=bicubic(key[1], 1))
        for key, seeds in kept.items()
    )


def _confusions(trainings: Trainings, labels: Classes, classes: Sequence[str]) -> tuple[Confusion, ...]:
    if not classes:
        largest = max(
            int(one.max()) for one in (labels, *(one for seeds in trainings.values() for one in seeds.values()))
        )
        classes = [str(index) for index in range(largest + 1)]
    return tuple(
        confusion(key, list(seeds.values()), labels, classes=classes, seeds=_seeds(seeds))
        for key, seeds in trainings.items()
    )


def _seeds(trainings: Mapping[int | None, Classes]) -> tuple[int, ...]:
    return tuple(sorted(seed for seed in trainings if seed is not None))


def _score(
    key: tuple[str, str, int],
    trainings: Mapping[int | None, Classes],
    labels: Classes,
    *,
    bicubic: Classes | None,
    hr: Classes | None,
) -> Score:
    """Return the score of one row, head and scale; its predictions int [n] are given by seed."""
    row, head, scale = key
    n, predictions = len(labels), list(trainings.values())
    accuracies = [total_accuracy(labels, predicted) for predicted in predictions]
    accuracy = _mean(accuracies)
    low, high = wilson_interval(_mean([int((predicted == labels).sum()) for predicted in predictions]), n)
    share, p = None, None
    if bicubic is not None and hr is not None:  # at scale 1 they are the same, and no gap
        share = gap_closed(accuracy, bicubic=total_accuracy(labels, bicubic), hr=total_accuracy(labels, hr))
    if bicubic is not None and row != BICUBIC:
        p = max(mcnemar(predicted == labels, bicubic == labels) for predicted in predictions)
    seeds = _seeds(trainings)
    return Score(
        row=row,
        head=head,
        scale=scale,
        n=n,
        accuracy=100 * accuracy,
        mean_class_accuracy=100 * _mean([mean_class_accuracy(labels, predicted) for predicted in predictions]),
        macro_f1=100 * _mean([macro_f1(labels, predicted) for predicted in predictions]),
        low=100 * low,
        high=100 * high,
        standard_error=100 * standard_error(accuracy, n),
        gap_closed=None if share is None else 100 * share,
        mcnemar_p=p,
        seed=seeds[0] if len(seeds) == 1 else None,
        seeds=seeds,
        deviation=100 * stdev(accuracies) if len(accuracies) > 1 else None,
    )


def _mean(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else fmean(values)
