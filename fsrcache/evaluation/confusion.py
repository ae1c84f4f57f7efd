"""What is taken for what: the confusion matrix of a row, head and scale, and the scores of every class in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fsrcache.evaluation.metrics import Classes, confusion_matrix
from fsrcache.evaluation.scores import Ensemble


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """Scores of one class, percent; None where undefined.

    Attributes
    ----------
    name, support
        The class, and the number of its pictures.
    recall
        Share of its pictures that are recognised; None without pictures.
    precision
        Share of the pictures taken for it that are; None where none is.
    f1
        Their harmonic mean, 0 where no picture is recognised; None where both are None.
    """

    name: str
    support: int
    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """The confusion matrix of one row with one head at one scale, on all pictures of the split.

    Attributes
    ----------
    row, head, scale, members, label
        As in ``Score``.
    seeds
        Seeds that the counts are summed over.
    counts
        [K, K], pictures by true class (rows) and predicted class (columns), summed over the seeds.
    per_class
        The scores of the K classes, from these counts; the support is that of one seed.
    """

    row: str
    head: str
    scale: int
    seeds: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]
    per_class: tuple[ClassScore, ...]
    members: int
    label: str


def confusion(
    key: tuple[str, str, int],
    predictions: Sequence[Classes],
    labels: Classes,
    *,
    classes: Sequence[str],
    seeds: tuple[int, ...] = (),
    ensemble: Ensemble | None = None,
) -> Confusion:
    """Count the predictions of one row, head and scale.

    Parameters
    ----------
    key
        Label, head and scale.
    predictions
        int [n], one a seed.
    labels
        int [n].
    classes
        The K names.
    seeds
        Seeds of the trainings.
    ensemble
        Networks behind the label; None for a row of one network.

    Raises
    ------
    RequestError
        If a label or a prediction is not below K.
    """
    label, head, scale = key
    networks = ensemble or Ensemble(label)
    counts = np.sum([confusion_matrix(labels, one, classes=len(classes)) for one in predictions], axis=0)
    true, taken, right = counts.sum(1).tolist(), counts.sum(0).tolist(), counts.diagonal().tolist()
    per_class = tuple(
        ClassScore(
            name=name,
            support=true[i] // len(predictions),
            recall=_percent(right[i], true[i]),
            precision=_percent(right[i], taken[i]),
            f1=_percent(2 * right[i], true[i] + taken[i]),
        )
        for i, name in enumerate(classes)
    )
    matrix = tuple(map(tuple, counts.tolist()))
    return Confusion(
        row=networks.row, head=head, scale=scale, seeds=seeds, counts=matrix, per_class=per_class,
        members=networks.members, label=label,
    )  # fmt: skip


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
