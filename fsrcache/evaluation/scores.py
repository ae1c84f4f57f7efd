"""The scores of predictions: one frozen record per row, head and scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

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

BICUBIC, FROZEN = "bicubic", "frozen"  # the row that others are compared with, and the head that is never re-fitted
SPECIALISTS = "specialists"  # the row that is the ceiling
MAJORITY = "majority"  # the row that looks at no face
Trainings = dict[tuple[str, str, int], dict[int | None, Classes]]  # predictions int [n] by label, head, scale; by seed


class Ensemble(NamedTuple):
    """The networks behind one label of the table.

    Attributes
    ----------
    row
        Name of the row.
    members
        Number of networks whose outputs are averaged.
    seeds
        Seeds of the trainings whose probabilities are averaged; empty where none are.
    part
        Whether they are a part of another row's networks.
    """

    row: str
    members: int = 1
    seeds: tuple[int, ...] = ()
    part: bool = False


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
    ceiling_reached
        (accuracy - bicubic) / (specialists - bicubic) at the same scale with the frozen head, likewise; the specialists
        are one network a scale, mean over their seeds. None with other heads, which specialists do not have, and at
        full resolution, where they are the extractor.
    mcnemar_p
        The exact paired test against another row, the largest over the seeds of both; None for that row itself, and
        where it has no predictions.
    seed
        Random seed of the training; None where there are several, or none.
    seeds
        All of them.
    deviation
        Sample standard deviation of the accuracy over the seeds, in points; None with fewer than two, and for a mean of
        their probabilities.
    members
        Number of networks whose outputs are averaged.
    label
        The row in tables: its name, and ``mean of 3`` where it is the mean of three trainings.
    calibration_error, calibration_error_after, temperature
        The expected calibration error before and after a temperature that other faces chose, and that temperature, not
        in percent; means over the seeds. None unless they are asked for, and with other heads than the frozen one.
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
    ceiling_reached: float | None
    mcnemar_p: float | None
    seed: int | None = None
    seeds: tuple[int, ...] = ()
    deviation: float | None = None
    members: int = 1
    label: str
    calibration_error: float | None = None
    calibration_error_after: float | None = None
    temperature: float | None = None


class _Rivals(NamedTuple):
    """Predictions int [n] that a score is compared with, one a seed; none where a row has no such head or scale."""

    bicubic: Sequence[Classes]
    hr: Sequence[Classes]
    specialists: Sequence[Classes]
    against: Sequence[Classes]


def score_trainings(
    trainings: Trainings, labels: Classes, *, ensembles: Mapping[str, Ensemble], against: str = BICUBIC
) -> tuple[Score, ...]:
    """Return a score for every label, head and scale, in their order.

    Parameters
    ----------
    trainings
        Predictions int [n].
    labels
        int [n].
    ensembles
        The networks by label; a label without any is a row of one network.
    against
        Label that McNemar's test compares with.
    """

    def predictions(label: str, head: str, scale: int) -> list[Classes]:
        return list(trainings.get((label, head, scale), {}).values())

    scores = []
    for (label, head, scale), seeds in trainings.items():
        rivals = _Rivals(
            bicubic=predictions(BICUBIC, head, scale),
            hr=predictions(BICUBIC, head, 1),
            specialists=predictions(SPECIALISTS, head, scale) if scale > 1 else [],
            against=[] if label == against else predictions(against, head, scale),
        )
        ensemble = ensembles.get(label, Ensemble(label))
        scores.append(_score((label, head, scale), seeds, labels, ensemble=ensemble, rivals=rivals))
    return tuple(scores)


def seeds_of(trainings: Mapping[int | None, Classes]) -> tuple[int, ...]:
    """Return the seeds of trainings, ascending."""
    return tuple(sorted(seed for seed in trainings if seed is not None))


def _score(
    key: tuple[str, str, int],
    trainings: Mapping[int | None, Classes],
    labels: Classes,
    *,
    ensemble: Ensemble,
    rivals: _Rivals,
) -> Score:
    label, head, scale = key
    n, predictions = len(labels), list(trainings.values())
    accuracies = [total_accuracy(labels, predicted) for predicted in predictions]
    accuracy = _mean(accuracies)
    low, high = wilson_interval(_mean([int((predicted == labels).sum()) for predicted in predictions]), n)
    seeds = seeds_of(trainings) or ensemble.seeds
    p_values = [mcnemar(one == labels, other == labels) for one in predictions for other in rivals.against]
    return Score(
        row=ensemble.row,
        head=head,
        scale=scale,
        n=n,
        accuracy=100 * accuracy,
        mean_class_accuracy=100 * _mean([mean_class_accuracy(labels, predicted) for predicted in predictions]),
        macro_f1=100 * _mean([macro_f1(labels, predicted) for predicted in predictions]),
        low=100 * low,
        high=100 * high,
        standard_error=100 * standard_error(accuracy, n),
        gap_closed=_share(accuracy, labels, rivals.bicubic, rivals.hr),  # at scale 1 they are the same, and no gap
        ceiling_reached=_share(accuracy, labels, rivals.bicubic, rivals.specialists),
        mcnemar_p=max(p_values, default=None),
        seed=seeds[0] if len(seeds) == 1 else None,
        seeds=seeds,
        deviation=100 * stdev(accuracies) if len(accuracies) > 1 else None,
        members=ensemble.members,
        label=label,
    )


def _share(accuracy: float, labels: Classes, bottom: Sequence[Classes], top: Sequence[Classes]) -> float | None:
    """Return the percent of the way between two rows that an accuracy is; None where there is no way."""
    if not bottom or not top:
        return None
    ends = [_mean([total_accuracy(labels, predicted) for predicted in row]) for row in (bottom, top)]
    share = gap_closed(accuracy, bicubic=ends[0], hr=ends[1])
    return None if share is None else 100 * share


def _mean(values: Sequence[float]) -> float:
    return values[0] if len(values) == 1 else fmean(values)
