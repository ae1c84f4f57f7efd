"""The temperature of every row at each scale, and what it makes of the calibration error on other faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.device import fp32_precision
from fsrcache.evaluation.calibration import (
    Probabilities,
    at_bound,
    calibration_error,
    fit_temperature,
    with_temperature,
)
from fsrcache.evaluation.ensembles import mean_probabilities
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.scores import FROZEN, MAJORITY, Ensemble
from fsrcache.evaluation.scoring import Scoring
from fsrcache.evaluation.splits import HELD_OUT, split_labels, stored_rows
from fsrcache.evaluation.tables import Key, Table
from fsrcache.evaluation.twins import twins
from fsrcache.progress import ProgressCallback, counted
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import UNLABELLED

MOST_FACES = 2000  # of a fit: one number is fitted
_WHERE = {"val": "of val", HELD_OUT: "of the held-out tenth of train"}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The expected calibration error of one row at one scale, from 0 to 1.

    Attributes
    ----------
    error
        Of the probabilities as they are.
    error_after, temperature
        At the temperature of the scale, and that temperature; None without faces to fit it on.
    """

    error: float
    error_after: float | None = None
    temperature: float | None = None


def fit_split(store: FeatureStore, *, scored: str | None = None) -> str | None:
    """Return the split that temperatures are fitted on: val, unless it is scored, else the held-out tenth of train.

    None where the store has no faces of either.

    Parameters
    ----------
    store
        The features.
    scored
        Split that is scored; None where none is.
    """
    if "val" in store.splits and scored != "val":
        return "val"
    return HELD_OUT if "train" in store.splits and store.held_out().any() else None


def fit_rows(store: FeatureStore, split: str, *, scored: str | None = None) -> NDArray[np.int64]:
    """Return which rows of a split temperatures are fitted on, int [m]: at most 2,000, evenly spaced.

    None of their pictures, pixel for pixel, was trained on or is scored.

    Parameters
    ----------
    store, split, scored
        The features, the split, and the one that is scored, as for ``fit_split``.
    """
    name, rows = stored_rows(store, split)
    hashes = store.hashes(name)[rows]
    others = [] if scored is None else [store.hashes(scored)]
    if "train" in store.splits:
        others.append(store.hashes("train")[~store.held_out()])
    if UNLABELLED in store.spec.extra:
        others.append(store.hashes(UNLABELLED))
    apart = np.flatnonzero(~twins(hashes, np.concatenate(others))) if others else np.arange(len(hashes))
    return apart[:: max(1, -(-len(apart) // MOST_FACES))]


def calibrate(
    probabilities: Probabilities,
    labels: NDArray[np.integer[Any]],
    *,
    fit: tuple[Probabilities, NDArray[np.integer[Any]]] | None,
) -> Calibration:
    """Return the calibration error before and after a temperature.

    Parameters
    ----------
    probabilities, labels
        [n, K] and int [n], of the faces that the error is measured on.
    fit
        [m, K] and int [m], of those that the temperature is fitted on; None or none of them where there are none.
    """
    error = calibration_error(probabilities, labels)
    if fit is None or not len(fit[1]):
        return Calibration(error=error)
    temperature = fit_temperature(*fit)
    after = calibration_error(with_temperature(probabilities, temperature), labels)
    return Calibration(error=error, error_after=after, temperature=temperature)


@fp32_precision(tf32=False)
def with_calibration(
    table: Table,
    outputs: Mapping[Key, NDArray[np.float32]],
    store: FeatureStore,
    predictors: Sequence[Predictor],
    *,
    ensembles: Mapping[str, Ensemble],
    device: torch.device,
    folder: Path | None,
    on_progress: ProgressCallback,
) -> Table:
    """Return a table whose scores with the frozen head have calibration errors and temperatures, means over the seeds.

    The row ``majority``, whose probabilities are the same for every face, has none.

    Parameters
    ----------
    table, outputs
        The table, and the probabilities fp32 [n, K] that it scores, of all labels or of some.
    store, predictors, ensembles
        The features, and trainings and networks behind these labels.
    device, folder, on_progress
        As for ``evaluate_predictors``.
    """
    if all(head != FROZEN for _, head, *_ in outputs):
        return replace(table, calibration="the frozen head was not scored")
    split, labels = fit_split(store, scored=table.split), store.labels(table.split).astype(np.int64)
    fitted: dict[Key, NDArray[np.float32]] = {}
    fit_labels = labels[:0]
    if split is not None:
        rows = fit_rows(store, split, scored=table.split)
        fit_labels = split_labels(store, split)[rows].astype(np.int64)
        known = [one for one in predictors if one.has(split) and one.row != MAJORITY]
        for predictor in counted(known, "calibrating", "rows", on_progress):
            scoring = Scoring(store, predictor, split, 0, device, folder, on_progress)
            there = scoring.kept(FROZEN)
            for scale, values in (scoring.compute(FROZEN) if there is None else there).items():
                fitted[predictor.row, FROZEN, scale, predictor.seed] = values[rows]
        fitted |= mean_probabilities(fitted, ensembles)
    measured: dict[tuple[str, str, int], list[Calibration]] = {}
    for key, values in outputs.items():
        if key[1] == FROZEN and key[0] != MAJORITY:
            fit = (fitted[key], fit_labels) if key in fitted else None
            measured.setdefault(key[:3], []).append(calibrate(values, labels, fit=fit))
    scores = tuple(
        replace(score, **_means(measured.get((score.label, score.head, score.scale), []))) for score in table.rows
    )
    temperatures = [
        one.temperature for of_label in measured.values() for one in of_label if one.temperature is not None
    ]
    where = ""
    if split is not None and len(fit_labels):
        where = f"temperatures fitted on {len(fit_labels):,} faces {_WHERE[split]}, none of them trained on or scored"
    if ends := sum(map(at_bound, temperatures)):
        where += f"; {ends} of {len(temperatures)} are at a bound of the fit, 1/20 or 20: better ones may lie beyond"
    return replace(table, rows=scores, calibration=where or "no faces to fit temperatures on")


def _means(seeds: Sequence[Calibration]) -> dict[str, Any]:
    """Return the fields of a score, errors in percent; None where nothing was measured."""
    errors, after = [one.error for one in seeds], [one.error_after for one in seeds if one.error_after is not None]
    temperatures = [one.temperature for one in seeds if one.temperature is not None]
    return {
        "calibration_error": 100 * fmean(errors) if errors else None,
        "calibration_error_after": 100 * fmean(after) if after else None,
        "temperature": fmean(temperatures) if temperatures else None,
    }
