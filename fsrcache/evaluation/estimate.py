"""How long missing predictions take, by a look at one scale and a few steps of every row."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fsrcache.announce import announce, several
from fsrcache.device import in_words
from fsrcache.evaluation.heads import Logits, linear_head, refit_mlp
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.scores import FROZEN
from fsrcache.evaluation.scoring import FITS, known_scales
from fsrcache.progress import ProgressCallback, counted
from fsrcache.store.reader import FeatureStore

_STEPS = 8  # of a fit that are measured


def announce_scoring(
    store: FeatureStore,
    missing: Sequence[tuple[Predictor, str]],
    *,
    split: str,
    device: torch.device,
    on_progress: ProgressCallback,
) -> None:
    """Say how long predictions take, unless that is short; rows without features are not counted.

    Parameters
    ----------
    store
        The features.
    missing
        Predictors and heads without predictions.
    split
        Split that is scored.
    device
        Device of the heads.
    on_progress
        Callback, every second, and for the note.
    """
    heads: dict[Predictor, list[str]] = {}
    for predictor, head in missing:
        if predictor.features is not None and known_scales(store, predictor):
            heads.setdefault(predictor, []).append(head)
    fitted = int((~store.held_out()).sum()) if "train" in store.splits else 0
    looks: dict[tuple[str, bool], tuple[float, dict[str, float]]] = {}
    seconds = 0.0
    for predictor, names in counted(heads.items(), "measuring", "predictors", on_progress):
        refits = [name for name in names if name != FROZEN and fitted]
        key = predictor.row, bool(refits)
        if key not in looks:
            looks[key] = _look(store, predictor, split, device, fits=bool(refits))
        of_features, of_fits = looks[key]
        pictures = len(store.labels(split)) + (len(store.labels("train")) if refits else 0)
        seconds_of_scale = pictures * of_features + fitted * sum(of_fits[name] for name in refits)
        seconds += len(known_scales(store, predictor)) * seconds_of_scale
    work = f"{several(len(missing), 'score')} of rows with heads on {in_words(device)}"
    announce(on_progress, seconds, work, by="a sample of each row")


def _look(
    store: FeatureStore, predictor: Predictor, split: str, device: torch.device, *, fits: bool
) -> tuple[float, dict[str, float]]:
    """Return the seconds of a picture's features, and by head those of a picture in the whole fit."""
    assert predictor.features is not None
    assert predictor.extractor is not None
    extractor = predictor.extractor
    began = time.perf_counter()
    values = predictor.features(split, known_scales(store, predictor)[-1])
    of_features = (time.perf_counter() - began) / max(1, len(values))

    def linear() -> nn.Module:
        zeros = torch.zeros(values.shape[1])
        return linear_head(zeros, zeros + 1, classes=len(store.classes))

    def fresh() -> nn.Module:
        return Logits(extractor.fresh_head())

    made = {"refit-mlp": fresh, "refit-linear": linear} if fits else {}
    return of_features, {name: _fit_seconds(values, name, head, device) for name, head in made.items()}


def _fit_seconds(values: NDArray[np.floating[Any]], name: str, head: Any, device: torch.device) -> float:
    """Return the seconds of a picture in a whole fit, measured in some steps."""
    fit = replace(FITS[name], epochs=1)
    for steps in (1, _STEPS):  # the first one chooses algorithms
        part = np.resize(values, (fit.batch * steps, values.shape[1]))  # full batches: repeated where there are few
        began = time.perf_counter()
        refit_mlp({1: part}, np.zeros(len(part), np.int64), head=head, seed=0, fit=fit, device=device)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return FITS[name].epochs * (time.perf_counter() - began) / len(part)
