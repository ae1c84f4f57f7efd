"""The table: one frozen record per row, head and scale, made from predictions, with the answers to a reviewer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.arguments import check_array
from fsrcache.evaluation.by_distance import DistanceScore, score_distances
from fsrcache.evaluation.confusion import Confusion, confusion
from fsrcache.evaluation.cost import Cost
from fsrcache.evaluation.examples import Example, first_examples
from fsrcache.evaluation.metrics import Classes
from fsrcache.evaluation.native_size import SizeScore, score_sizes
from fsrcache.evaluation.scores import BICUBIC, FROZEN, Ensemble, Score, Trainings, score_trainings, seeds_of
from fsrcache.records import Between, Seed, check_value, shortened

HEADS = {
    FROZEN: "the extractor's own, trained with it and never again",
    "refit-mlp": "the frozen head's architecture, re-trained on the row's training features of all scales",
    "refit-linear": "logistic regression, fitted on the row's training features of all scales",
}
_CEILING = (
    "(accuracy - bicubic) / (specialists - bicubic), frozen head, same pictures; the specialists as one network a scale"
)
_DISTANCE = (
    "Euclidean, of a face's standardised feature at full resolution to the nearest one that is trained on; data often "
    "have the same photograph on both sides of a split, cut or compressed otherwise"
)
_CALIBRATION = "expected calibration error of the most probable class, 15 bins, frozen head"
_MEMBERS = "mean of 3: the mean of the probabilities of three trainings, those of the lowest seeds"
SHOWN_DIGITS = 12  # of a digest, 48 bits
Key = tuple[str, str, Annotated[int, Between(1, 1 << 16)], Seed | None]  # label, head, scale, seed of the training


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
    digests
        First digits of SHA-256: of the extractor, the store, and the file of every generator.
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
    digests: str = ""
    rows: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, repr=False)
class Table:
    """The scores of a split, and what is needed to show them; a notebook shows it as Markdown.

    Attributes
    ----------
    split, pictures, pictures_with_twins
        The split, the number of its pictures, and of those with a pixel-identical twin in the training split, its
        held-out tenth too.
    context
        The answers to a reviewer.
    rows, rows_without_twins
        Scores on all pictures, and on those without a twin; ordered by head, row and scale.
    order
        Names of rows in their order, but for parts of others; a row's position fixes its colour and marker.
    against
        Label of the row that McNemar's test compares with.
    classes
        The K names of the classes, or empty where they are unknown.
    confusions
        A confusion matrix for each of ``rows``, in their order.
    side
        Pixels of a face at full resolution, or None where it is unknown.
    examples
        A few faces, and what the rows say of them with the frozen head.
    by_size
        Scores at full resolution by the native size of the faces; empty where nobody asked.
    by_distance
        Scores by the distance to the nearest trained face; empty where nobody asked.
    cost
        Cost of every row; empty where nobody asked.
    calibration
        Which faces temperatures were fitted on, and how many are at a bound; empty where nobody asked.
    """

    split: str
    context: Context
    rows: tuple[Score, ...]
    rows_without_twins: tuple[Score, ...]
    pictures: int
    pictures_with_twins: int
    order: tuple[str, ...] = ()
    against: str = BICUBIC
    classes: tuple[str, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    side: int | None = None
    examples: tuple[Example, ...] = ()
    by_size: tuple[SizeScore, ...] = ()
    by_distance: tuple[DistanceScore, ...] = ()
    cost: tuple[Cost, ...] = ()
    calibration: str = ""

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
    sizes: NDArray[np.int32] | None = None,
    distances: NDArray[np.float32] | None = None,
    order: Sequence[str] = (),
    ensembles: Mapping[str, Ensemble] | None = None,
    against: str = BICUBIC,
    classes: Sequence[str] = (),
    side: int | None = None,
) -> Table:
    """Score every prediction of a split; predictions that differ in their seed alone make one score.

    Parameters
    ----------
    predictions
        {(label, head, scale, seed): int [n]}; scale 1 is full resolution, and the row ``bicubic`` at scale 1 the
        unprocessed picture. The label is the row's name, or that of one of ``ensembles``. The seed is None where
        nothing is trained.
    labels
        int [n].
    split
        The name of the split that the pictures come from.
    context
        The answers to print under the table.
    twins
        bool [n], the pictures that also stand in training; None where nobody looked, like none at all.
    sizes
        int32 [n], pixels of the faces' longer sides before they were resized; None to leave out scores by size.
    distances
        fp32 [n], of each face to the nearest one that is trained on; None to leave out scores by distance.
    order
        Names of rows in their order; others come after them, as in ``predictions``.
    ensembles
        The networks by label; a label without any is a row of one network.
    against
        Label of the row that McNemar's test compares with.
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
        If anything is of another type, a class beyond 4,095, or there is no row to compare with.
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
    networks = {label: Ensemble(label) for label, *_ in predictions} | dict(ensembles or {})
    refuse_unknown_row(against, networks)
    names = tuple(dict.fromkeys((*order, *(networks[label].row for label, *_ in predictions))))
    trainings = _trainings(predictions, networks, names)
    answers = {
        (label, scale): next(iter(seeds.values()))
        for (label, head, scale), seeds in trainings.items()
        if head == FROZEN
    }
    apart = {key: {seed: one[~with_twins] for seed, one in seeds.items()} for key, seeds in trainings.items()}
    return Table(
        split=split,
        context=context,
        rows=score_trainings(trainings, labels, ensembles=networks, against=against),
        rows_without_twins=()
        if with_twins.all()
        else score_trainings(apart, labels[~with_twins], ensembles=networks, against=against),
        pictures=len(labels),
        pictures_with_twins=int(with_twins.sum()),
        order=tuple(name for name in names if not networks.get(name, Ensemble(name)).part),
        against=against,
        classes=tuple(classes),
        confusions=_confusions(trainings, labels, classes, networks),
        side=side,
        examples=first_examples(labels, answers) if answers else (),
        by_size=() if sizes is None else score_sizes(trainings, labels, sizes, ensembles=networks),
        by_distance=() if distances is None else score_distances(trainings, labels, distances, ensembles=networks),
    )


def refuse_unknown_row(against: str, labels: Collection[str]) -> None:
    """Raise if there is no row to compare with; bicubic may be missing.

    Raises
    ------
    RequestError
        With the labels that there are.
    """
    if against != BICUBIC and against not in labels:
        raise RequestError(
            f"The table has no row {shortened(against)} to compare with.", f"Choose from {'; '.join(labels)}."
        )


def footnotes(table: Table) -> dict[str, str]:
    """Return {subject: sentence}: the table's context, its pictures, heads and statistics."""
    check_value(Table, table, name="table")
    context = table.context
    left_out = f"{table.pictures_with_twins:,} with a pixel-identical twin in the training split"
    heads = dict.fromkeys(score.head for score in table.rows)
    labels = [score.label for score in table.rows if score.label != score.row]
    statistics = (
        f"95 % Wilson intervals over pictures, not over seeds; exact paired McNemar test against {table.against}"
    )
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
        **({"digests": context.digests} if context.digests else {}),
        **{f"row {row}": says for row, says in context.rows.items()},
        **{f"head {head}": HEADS[head] for head in heads if head in HEADS},
        "statistics": statistics,
        "gap closed": "(accuracy - bicubic) / (HR - bicubic), same head, same pictures",
        **({"ceiling reached": _CEILING} if any(score.ceiling_reached is not None for score in table.rows) else {}),
        **({"members": _MEMBERS} if labels else {}),
        **({"distance": _DISTANCE} if table.by_distance else {}),
        **({"calibration": f"{_CALIBRATION}; {table.calibration}"} if table.calibration else {}),
        **({"notes": " ".join(context.notes)} if context.notes else {}),
    }


def _trainings(predictions: Mapping[Key, Classes], networks: Mapping[str, Ensemble], rows: Sequence[str]) -> Trainings:
    """Return the predictions by label, head and scale, ordered by head, row and scale; a row before its variants."""
    heads = tuple(HEADS)
    trainings: Trainings = {}
    for (label, head, scale, seed), predicted in predictions.items():
        trainings.setdefault((label, head, scale), {})[seed] = predicted

    def position(key: tuple[str, str, int]) -> tuple[int, str, int, bool, str, int]:
        label, head, scale = key
        row = networks[label].row
        return heads.index(head) if head in heads else len(heads), head, rows.index(row), label != row, label, scale

    return {key: trainings[key] for key in sorted(trainings, key=position)}


def _confusions(
    trainings: Trainings, labels: Classes, classes: Sequence[str], networks: Mapping[str, Ensemble]
) -> tuple[Confusion, ...]:
    if not classes:
        largest = max(
            int(one.max()) for one in (labels, *(one for seeds in trainings.values() for one in seeds.values()))
        )
        classes = [str(index) for index in range(largest + 1)]
    return tuple(
        confusion(key, list(seeds.values()), labels, classes=classes, seeds=seeds_of(seeds), ensemble=networks[key[0]])
        for key, seeds in trainings.items()
    )
