"""The table of predictors: every row, head and scale, from predictions that are computed once and kept."""

from collections.abc import Callable, Iterable, Sequence
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.device import check_device, fp32_precision
from fsrcache.errors import FsrcacheError, Remedy, RequestError, arguments
from fsrcache.evaluation.distances import distances_to_training
from fsrcache.evaluation.ensembles import ensembles_of, mean_probabilities
from fsrcache.evaluation.estimate import announce_scoring
from fsrcache.evaluation.predictions import Probabilities
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.scores import BICUBIC, FROZEN
from fsrcache.evaluation.scoring import Scoring, known_scales
from fsrcache.evaluation.splits import REPORTED, SPLIT_FACES
from fsrcache.evaluation.tables import (
    HEADS,
    SHOWN_DIGITS,
    Context,
    Key,
    Table,
    refuse_unknown_row,
    score_table,
)
from fsrcache.evaluation.temperature import with_calibration
from fsrcache.evaluation.twins import twins
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.identity import degradation_of, refuse_other_extractor
from fsrcache.faces.degrade import Degradation
from fsrcache.files import as_path
from fsrcache.memory import free_memory, gigabytes
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.records import Seed, check_value, shortened
from fsrcache.store.reader import FeatureStore


@fp32_precision(tf32=False)
def evaluate_predictors(
    store: FeatureStore,
    extractor: Extractor,
    predictors: Sequence[Predictor],
    *,
    device: torch.device,
    folder: str | PathLike[str] | None = None,
    split: str | None = None,
    heads: Sequence[str] = tuple(HEADS),
    seed: int = 0,
    order: Sequence[str] = (),
    against: str = BICUBIC,
    sizes: Callable[[str], NDArray[np.int32]] | None = None,
    distances: bool = False,
    calibration: bool = False,
    notes: Sequence[str] = (),
    on_progress: ProgressCallback = no_progress,
) -> Table:
    """Score predictors at every scale with every head; those of one row are seeds, over which scores are averaged.

    A row of single networks with three seeds or more is also scored as the mean of three, by averaged probabilities.
    Heads are re-fitted on the training split without its held-out tenth.

    Parameters
    ----------
    store, extractor
        The features, and the extractor that they come from.
    predictors
        One or more, with different names.
    device
        Device of the heads.
    folder
        Folder of the predictions that are kept; None keeps none.
    split
        ``val`` or ``test``; test where None and there is one, else val.
    heads
        Names from ``HEADS``.
    seed
        Random seed of the re-fitted heads, from 0 to 2^63 - 1.
    order
        Names of rows in the order of the table; a row's position fixes its colour and marker too.
    against
        Row that McNemar's test compares with, or the label of one of its means or parts.
    sizes
        Function of the split that returns the longer sides of its faces before they were resized, int32 [n] in the
        store's order; None to leave out scores by size.
    distances
        Whether to score by the distance to the nearest trained face too.
    calibration
        Whether to measure how well the frozen head's probabilities are calibrated, which takes predictions of further
        faces.
    notes
        Further sentences for the footnotes.
    on_progress
        Called after every predictor and head and every second, and once with a note on how long all of it takes.

    Raises
    ------
    FsrcacheError
        If the store was written with another extractor, the split has no pictures, or the training features that a
        head is re-fitted on do not fit into the free memory.
    RequestError
        If there are no such heads, split, seed, row to compare with, or no predictors, or those of one row differ in
        their settings.
    """
    check_value(Seed, seed, name="seed")
    folder = None if folder is None else as_path(folder, name="folder")
    check_heads(heads)
    check_device(device)
    refuse_other_extractor(store, extractor)
    _refuse_other_settings(predictors)
    split = reported_split(store, split)
    notes = [*notes, *_split_notes(store, predictors, split, heads)]
    predictors = [one for one in predictors if one.has(split)]
    ensembles = ensembles_of(predictors)
    refuse_unknown_row(against, ensembles)
    near: NDArray[np.float32] | None = None
    if distances:
        near = distances_to_training(store, split, device=device, folder=folder, on_progress=on_progress)
    work = [(one, head) for one in predictors for head in heads if head == FROZEN or _refits(store, one)]
    kept: dict[tuple[str, str], Probabilities | None] = {}
    for predictor, head in work:
        scoring = Scoring(store, predictor, split, seed, device, folder, on_progress)
        kept[predictor.name, head] = scoring.kept(head)
    missing = [(predictor, head) for predictor, head in work if kept[predictor.name, head] is None]
    _refuse_short_memory(store, missing, split=split)
    _refuse_heads_that_stay(missing)
    announce_scoring(store, missing, split=split, device=device, on_progress=on_progress)
    outputs: dict[Key, NDArray[np.float32]] = {}
    current: Scoring | None = None
    for done, (predictor, head) in enumerate(work):
        on_progress(Progress("evaluating", done, len(work), "rows and heads"))
        probabilities = kept[predictor.name, head]
        if probabilities is None:
            if current is None or current.predictor is not predictor:
                current = Scoring(store, predictor, split, seed, device, folder, on_progress)
            probabilities = current.compute(head)
        for scale, values in probabilities.items():
            outputs[predictor.row, head, scale, predictor.seed] = values
    on_progress(Progress("evaluating", len(work), len(work), "rows and heads"))
    outputs |= mean_probabilities(outputs, ensembles)
    table = score_table(
        {key: values.argmax(1) for key, values in outputs.items()},
        store.labels(split).astype(np.int64),
        split=split,
        context=_context(store, extractor, predictors, split, head_seed=seed, notes=notes),
        twins=twins(store.hashes(split), store.hashes("train")) if "train" in store.splits else None,
        sizes=None if sizes is None else sizes(split),
        distances=near,
        order=order,
        ensembles=ensembles,
        against=against,
        classes=store.classes,
        side=store.spec.recipe.get("side"),
    )
    if not calibration:
        return table
    return with_calibration(
        table, outputs, store, predictors, ensembles=ensembles, device=device, folder=folder, on_progress=on_progress
    )


def check_heads(heads: Sequence[str]) -> None:
    """Raise if something is no list of heads.

    Raises
    ------
    RequestError
        With what it is.
    """
    if isinstance(heads, str) or not heads or not set(heads) <= set(HEADS):
        raise RequestError(f"The heads are {shortened(heads)}.", f"Choose a list from {', '.join(HEADS)}.")


def _refuse_other_settings(predictors: Sequence[Predictor]) -> None:
    """Raise if predictors of one row, which are averaged, differ in more than their seed."""
    firsts: dict[str, Predictor] = {}
    for one in predictors:
        first = firsts.setdefault(one.row, one)
        if one.facts.get("settings") != first.facts.get("settings"):
            raise RequestError(
                f"The row {one.row} has trainings of different settings: {first.name} has "
                f"{first.facts.get('settings')}, {one.name} {one.facts.get('settings')}.",
                "Only seeds of the same settings are averaged: give each settings a row of its own.",
            )


def reported_split(store: FeatureStore, split: str | None) -> str:
    """Return the split that is reported: the one that is named, else test if there is one, else val.

    Raises
    ------
    RequestError
        If it is neither ``val`` nor ``test``, or the store has none.
    FsrcacheError
        If none is named, and there is neither.
    """
    if split is not None and split not in REPORTED:
        raise RequestError(f"The split is {shortened(split)}.", f"Choose from {', '.join(REPORTED)}.")
    if split is not None and split not in store.splits:
        raise RequestError(
            f"The store {store.name} has no split {split!r}; it has {', '.join(store.splits)}.", "Name another split."
        )
    reported = [name for name in REPORTED if name in store.splits]
    if split is None and not reported:
        raise FsrcacheError(f"The store {store.name} has neither test nor val to report.", SPLIT_FACES)
    return split or reported[0]


def _refits(store: FeatureStore, predictor: Predictor) -> bool:
    """Tell whether heads can be re-fitted on a predictor's training features."""
    return "train" in store.splits and predictor.features is not None and predictor.has("train")


def _refuse_short_memory(store: FeatureStore, missing: Sequence[tuple[Predictor, str]], *, split: str) -> None:
    """Raise if a head is to be re-fitted on more training features than the free memory takes.

    Beside them it holds the scored ones, and while they are read a scale of the whole training split.
    """
    scales = [len(known_scales(store, one)) for one, head in missing if head != FROZEN]
    if not scales:
        return
    of_face = store.spec.widths["features"] * np.dtype(store.spec.dtype).itemsize
    trained = ~store.held_out()
    needed = (max(scales) * (int(trained.sum()) + len(store.labels(split))) + len(trained)) * of_face
    if 0 < (free := free_memory()) < needed:
        raise FsrcacheError(
            f"A head is re-fitted with {gigabytes(needed)} of training features in memory, and {gigabytes(free)} are "
            "free.",
            Remedy("Score the frozen head alone: `{}`.", arguments(heads=[FROZEN])),
        )


def _refuse_heads_that_stay(missing: Sequence[tuple[Predictor, str]]) -> None:
    """Raise if a head whose architecture is to be re-trained cannot be made anew."""
    extractors = {one.extractor.digest: one.extractor for one, head in missing if head == "refit-mlp" and one.extractor}
    with torch.random.fork_rng(devices=[]):
        for extractor in extractors.values():
            extractor.fresh_head()


def _split_notes(store: FeatureStore, predictors: Sequence[Predictor], split: str, heads: Sequence[str]) -> list[str]:
    """Return a sentence on every row without outputs of a split that is needed, and on a store without train."""
    lacking = [one.row for one in predictors if not one.has(split)]
    frozen = [one.row for one in predictors if one.has(split) and one.features is not None and not one.has("train")]
    no_heads = "train" not in store.splits and {*heads} != {FROZEN}
    return [
        *["No re-fitted heads: the store has no train."] * no_heads,
        *(f"No row {row}: it has no faces of {split}." for row in dict.fromkeys(lacking)),
        *(f"{row} has no faces of train, and so no re-fitted heads." for row in dict.fromkeys(frozen)),
    ]


def _scale_notes(store: FeatureStore, predictors: Sequence[Predictor]) -> list[str]:
    """Return a sentence on every row that knows fewer scales than the store has."""
    notes = []
    whole = [one for one in predictors if not one.part]
    for row, known, seeded in dict.fromkeys((one.row, known_scales(store, one), one.seed is not None) for one in whole):
        if missing := [f"x{scale}" for scale in store.scales if scale not in known]:
            without = f"{'was trained' if seeded else 'is'} without {', '.join(missing)}"
            notes.append(f"{row} {without}: it has no scores there, and its heads are re-fitted on its own scales.")
    return notes


def _context(
    store: FeatureStore,
    extractor: Extractor,
    predictors: Sequence[Predictor],
    split: str,
    *,
    head_seed: int,
    notes: Sequence[str],
) -> Context:
    """Return the answers to a reviewer."""
    spec = store.spec
    held_out = int(store.held_out().sum()) if "train" in store.splits else 0
    seeds: dict[str, list[str]] = {}
    for one in predictors:
        if one.seed is not None and not one.part:
            seeds.setdefault(one.row, []).append(str(one.seed))
    trainings = "".join(f"{row} {', '.join(of_row)}; " for row, of_row in seeds.items())
    return Context(
        data=f"{spec.data}; trained on {spec.rows.get('train', 0) - held_out:,} pictures of its training split "
        f"({held_out:,} held out), reported on {spec.rows[split]:,} of {split}",
        degradation=_in_words(degradation_of(store)),
        extractor=extractor.summary,
        generator=_facts(predictors, "generator") or "none",
        checkpoint=_facts(predictors, "checkpoint") or "none",
        settings=_facts(predictors, "settings"),
        seeds=f"{trainings}re-fitted heads {head_seed}",
        digests=_digests(store, extractor, predictors),
        rows={one.row: one.note for one in predictors if one.note},
        notes=(*notes, *_scale_notes(store, predictors)),
    )


def _in_words(degradation: Degradation | None) -> str:
    """Return how faces were made coarse."""
    if degradation is None:
        return "unknown, the store does not say"
    jpeg = "no JPEG" if degradation.jpeg is None else f"JPEG {degradation.jpeg}"
    return f"MATLAB bicubic down and up, {degradation.form} form, border {degradation.border}, {jpeg} in between"


def _digests(store: FeatureStore, extractor: Extractor, predictors: Iterable[Predictor]) -> str:
    """Return the first digits of what the scores depend on, those of rows where a file is their network."""
    named = {"extractor": extractor.digest, "store": store.digest}
    named |= {one.name: one.source["generator"] for one in predictors if "generator" in one.source and not one.part}
    return "; ".join(f"{name} {digest[:SHOWN_DIGITS]}" for name, digest in named.items())


def _facts(predictors: Iterable[Predictor], subject: str) -> str:
    """Return the different sentences of the rows about a subject, each with its row where several rows have one."""
    facts = dict.fromkeys((one.row, one.facts[subject]) for one in predictors if subject in one.facts)
    alone = len({row for row, _ in facts}) == 1
    return "; ".join(fact if alone else f"{row}: {fact}" for row, fact in facts)
