"""All rows of the table in their order, and rows by name."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import fsrcache.rows.bicubic as bicubic
import fsrcache.rows.distilled as distilled
import fsrcache.rows.distilled_unlabelled as distilled_unlabelled
import fsrcache.rows.fine_tuned as fine_tuned
import fsrcache.rows.fsr as fsr
import fsrcache.rows.fsr_fer as fsr_fer
import fsrcache.rows.fsr_fer_unweighted as fsr_fer_unweighted
import fsrcache.rows.fsr_fer_without_critic as fsr_fer_without_critic
import fsrcache.rows.generated as generated
import fsrcache.rows.majority as majority
import fsrcache.rows.meta_sr as meta_sr
import fsrcache.rows.meta_sr_retrained as meta_sr_retrained
import fsrcache.rows.pictures as pictures
import fsrcache.rows.rcan as rcan
import fsrcache.rows.ridge as ridge
import fsrcache.rows.ridge_per_scale as ridge_per_scale
import fsrcache.rows.specialists as specialists
from fsrcache.errors import Remedy, RequestError, arguments
from fsrcache.evaluation.predictor import Predictor
from fsrcache.extractors.extractor import Extractor
from fsrcache.records import shortened
from fsrcache.rows.row import Row, RowContext

ROWS: tuple[Row, ...] = (
    majority,
    bicubic,
    rcan,
    meta_sr,
    meta_sr_retrained,
    fsr,
    fsr_fer,
    fsr_fer_unweighted,
    fsr_fer_without_critic,
    ridge,
    ridge_per_scale,
    fine_tuned,
    distilled,
    distilled_unlabelled,
    specialists,
    pictures,
    generated,
)
_NAMED_AFTER = {fsr_fer_unweighted.NAME: "reweight", fsr_fer_without_critic.NAME: "critic"}  # settings, by variant
_RESERVED = ("HR", "mean")  # words of the tables that are no rows
PAPER: tuple[Row, ...] = (rcan, meta_sr, meta_sr_retrained, fsr, fsr_fer, fsr_fer_unweighted, fsr_fer_without_critic)


def rows_to_train(names: Sequence[str]) -> list[Row]:
    """Return the rows that are trained by ``fsrcache baselines``, by name.

    ``all`` alone stands for every one, and ``paper`` alone for the paper's rivals and its own system.

    Raises
    ------
    RequestError
        If there is no such row, it is not trained, or it is named twice.
    """
    known = {row.NAME: row for row in ROWS if row.train is not None}
    groups = {"paper": list(PAPER), "all": list(known.values())}
    if len(names) == 1 and names[0] in groups:
        return groups[names[0]]
    remedy = f"Choose from {', '.join(known)}, or {' or '.join(groups)} alone."
    if not names or isinstance(names, str):
        raise RequestError(f"The rows are {shortened(names)}.", remedy)
    for name in names:
        if name not in known:
            untrained = any(name == row.NAME for row in ROWS)
            what = f"The row {name} needs no training here" if untrained else f"There is no row {shortened(name)}"
            raise RequestError(f"{what}.", remedy)
        if list(names).count(name) > 1:
            raise RequestError(f"The row {name} is named twice.", "Name it once.")
    return [known[name] for name in names]


def refuse_row_name(name: str) -> None:
    """Raise if a row of pictures cannot be called so.

    Raises
    ------
    RequestError
        With the name.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", name):
        raise RequestError(
            f"{shortened(name)} is no name for a row.",
            "Use up to 64 letters, digits, '.', '_' and '-', no '.' or '-' first.",
        )
    if any(name.casefold() == row.NAME.casefold() for row in ROWS):
        raise RequestError(f"{name} is a row of the table already.", "Call the pictures otherwise.")
    if any(name.casefold() == word.casefold() for word in _RESERVED):
        raise RequestError(f"{name} has another meaning in the table.", "Call the pictures otherwise.")


class ReadyRows(NamedTuple):
    """What a table is made from.

    Attributes
    ----------
    predictors
        The trainings that are ready, row by row.
    order
        Names of all rows in the table's order, those of further runs behind the first.
    left_out
        Sentences on the rows that there cannot be with the extractor and the store's scales.
    """

    predictors: list[Predictor]
    order: list[str]
    left_out: list[str]


def ready_rows(context: RowContext, runs: Sequence[str]) -> ReadyRows:
    """Return all rows that are ready; the arguments and errors are those of ``Row.predictors``."""
    ready = ReadyRows([], [], [])
    for row in ROWS:
        if obstacle := row.obstacle(context.extractor, context.store.scales):
            ready.left_out.append(f"No row {row.NAME}: {obstacle}")
            continue
        predictors = row.predictors(context, runs)
        ready.predictors.extend(predictors)
        ready.order.extend(dict.fromkeys([row.NAME, *(one.row for one in predictors)]))
    return ready


def refuse_obstacle(row: Row, extractor: Extractor, scales: Sequence[int]) -> None:
    """Raise if there can be no such row with an extractor and a store's scales.

    Raises
    ------
    RequestError
        With the reason.
    """
    if obstacle := row.obstacle(extractor, scales):
        raise RequestError(
            f"The row {row.NAME} cannot be trained: {obstacle}",
            Remedy("Leave it out, or use `{}`.", arguments(rows=["all"])),
        )


def refuse_other_row(row: Row, settings: Any) -> None:
    """Raise if a variant of a row, trained with these settings, would not be what its name says.

    Raises
    ------
    RequestError
        With the setting that the variant is named after.
    """
    name = _NAMED_AFTER.get(row.NAME)
    if name is not None and getattr(settings, name) != getattr(row.SETTINGS, name):
        raise RequestError(
            f"The row {row.NAME} is {fsr_fer.NAME} with {name}=none, and {name} is set otherwise.",
            Remedy("Leave out the row, or the setting; `{}` may have it.", arguments(rows=[fsr_fer.NAME])),
        )
