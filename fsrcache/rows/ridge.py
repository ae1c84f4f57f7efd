"""ridge: one linear map of the features of all scales to those of full resolution, in closed form."""

import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fsrcache.errors import FsrcacheError, Remedy, call
from fsrcache.evaluation.networks import Networks
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.splits import split_features
from fsrcache.models.weights import file_digest
from fsrcache.progress import named
from fsrcache.rows.mapped import generated_features
from fsrcache.rows.row import (
    RowContext,
    RowResult,
    RowTraining,
    changes_in_words,
    no_obstacle,
    refuse_replaced,
    rows_apart,
    trained_seeds,
)
from fsrcache.settings import differences
from fsrcache.split_names import splits_in_words
from fsrcache.training.ridge import RIDGE
from fsrcache.training.ridge_fit import MAP, RidgeFit, RidgeRecord, fit_maps, read_map
from fsrcache.training.run.spent import total_spent

NAME = "ridge"
NOTE = "one linear map of the features of all scales to those of full resolution, by ridge regression"
SETTINGS = RIDGE
obstacle = no_obstacle


def train(training: RowTraining) -> RowResult:
    """Fit one map to the pairs of all scales, full resolution among them."""
    folder = training.context.workspace.row(NAME, training.seed)
    return train_maps(NAME, training, {folder: training.context.store.scales})


def predictors(context: RowContext, runs: Sequence[str]) -> list[Predictor]:  # noqa: ARG001  # a row's signature
    """Return the maps that are there, a seed each; the seed changes nothing in them."""
    folders = trained_seeds(context.workspace, NAME)
    return map_predictors(NAME, NOTE, context, {seed: [folder / MAP] for seed, folder in folders})


def train_maps(name: str, training: RowTraining, folders: Mapping[Path, Sequence[int]]) -> RowResult:
    """Fit a map in every folder, each to the pairs of its scales; the seed changes nothing in them.

    Of several processes the first does it alone.
    """
    began, context = time.perf_counter(), training.context
    if not training.ranks.first:
        return RowResult(row=name, seed=training.seed, seconds=0.0)
    head = context.extractor.frozen_head().to(context.device)

    def classify(features: Tensor) -> Tensor:
        logits: Tensor = head(features)[1]
        return logits

    fit = RidgeFit(
        store=context.store, classify=classify, config=training.settings, device=context.device,
        other_threads=training.other_threads, on_progress=named(context.on_progress, name),
    )  # fmt: skip
    records, there = fit_maps(fit, folders, restart=training.restart)
    return RowResult(
        row=name,
        seed=training.seed,
        held_out={scale: one for record in records for scale, one in record["held_out"].items()},
        was_there=there == len(records),
        seconds=time.perf_counter() - began,
    )


def map_predictors(name: str, note: str, context: RowContext, maps: Mapping[int, Sequence[Path]]) -> list[Predictor]:
    """Return the predictors of maps, whose files are given by seed; those that are missing are left out.

    Raises
    ------
    FsrcacheError
        If a map is damaged, or belongs to another store.
    """
    ready = []
    for seed, files in maps.items():
        there = [file for file in files if file.exists()]
        if there:
            ready.append(_predictor(name, note, context, seed, there))
    return rows_apart(name, ready)


def _predictor(name: str, note: str, context: RowContext, seed: int, files: Sequence[Path]) -> Predictor:
    store, records = context.store, {file: read_map(file)[1] for file in files}
    for file, record in records.items():
        _refuse_other_store(name, context, seed, file, record)
    by_scale = {scale: file for file, record in records.items() for scale in record["settings"]["scales"]}

    digests = {file: file_digest(file) for file in files}

    @cache
    def linear(file: Path) -> nn.Module:
        module = read_map(file)[0].to(context.device)
        refuse_replaced(file, digests[file])
        return module

    def networks(scale: int) -> Networks:
        return Networks(extractor=context.extractor, generator=linear(by_scale[scale]) if scale in by_scale else None)

    def features(split: str, scale: int) -> NDArray[np.floating[Any]]:
        if scale not in by_scale:
            return split_features(store, split, scale)
        on_progress = named(context.on_progress, f"{name}/seed-{seed}")
        return generated_features(
            linear(by_scale[scale]), store, split, scale, device=context.device, on_progress=on_progress
        )

    changes = tuple(differences(next(iter(records.values()))["settings"]["config"], RIDGE))
    return Predictor(
        row=name,
        name=f"{name}/seed-{seed}",
        source={"maps": list(digests.values())},
        seed=seed,
        extractor=context.extractor,
        features=features,
        scales=tuple(sorted({1, *by_scale})),
        note=note,
        facts={
            "settings": changes_in_words(changes),
            "generator": _reading(list(records.values())),
            "checkpoint": f"the penalty {_penalties(list(records.values()))}, the frozen head's best on held-out "
            "pictures of the training split",
        },
        changes=changes,
        networks=networks,
        spent=total_spent(file.parent for file in files),
    )


def _refuse_other_store(name: str, context: RowContext, seed: int, file: Path, record: RidgeRecord) -> None:
    there, here = record["settings"]["store"], context.store.spec.content_digests
    differing = [one for one in {**here, **there} if there.get(one) != here.get(one)]
    if differing:
        again = call("baselines", workspace=str(context.workspace.folder), rows=[name], seed=seed, restart=True)
        raise FsrcacheError(
            f"{file} was fitted to another store than {context.store.name}, of other {', '.join(differing)}.",
            Remedy("Train it again: `{}`.", again),
        )


def _reading(records: Sequence[RidgeRecord]) -> str:
    maps = "a linear map for each scale" if len(records) > 1 else "a linear map"
    extra = splits_in_words(records[0]["settings"]["extra"])
    return maps + ", early features read" * bool(records[0]["early"]) + f", fitted to train,{extra}" * bool(extra)


def _penalties(records: Sequence[RidgeRecord]) -> str:
    """Return the chosen penalty, or that of every scale where there are several maps."""
    if len(records) == 1:
        return f"{records[0]['penalty']:g}"
    return ", ".join(f"x{record['settings']['scales'][0]} {record['penalty']:g}" for record in records)
