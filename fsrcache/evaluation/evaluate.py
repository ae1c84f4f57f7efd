"""The table of predictors: every row, head and scale, from predictions that are computed once and kept."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.device import check_device, fp32_precision
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.heads import LINEAR, MLP, Logits, probabilities_of, refit_linear, refit_mlp
from fsrcache.evaluation.predictions import Probabilities, read_predictions, write_predictions
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.tables import FROZEN, HEADS, Context, Key, Table, score_table
from fsrcache.evaluation.twins import twins
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.identity import refuse_other_extractor
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.records import Seed, check_value, shortened
from fsrcache.store.reader import FeatureStore

Note = Callable[[str], object]
_FITS = {"refit-mlp": MLP, "refit-linear": LINEAR}


@fp32_precision(tf32=False)
def evaluate_predictors(
    store: FeatureStore,
    extractor: Extractor,
    predictors: Sequence[Predictor],
    *,
    device: torch.device,
    folder: Path | None = None,
    split: str | None = None,
    heads: Sequence[str] = tuple(HEADS),
    seed: int = 0,
    order: Sequence[str] = (),
    notes: Sequence[str] = (),
    on_progress: ProgressCallback = no_progress,
) -> Table:
    """Score predictors at every scale with every head; those of one row are seeds, over which scores are averaged.

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
    notes
        Further sentences for the footnotes.
    on_progress
        Called after every predictor and head.

    Raises
    ------
    FsrcacheError
        If the store was written with another extractor, or the split has no pictures.
    RequestError
        If there are no such heads, no such seed, or no predictors.
    """
    check_value(Seed, seed, name="seed")
    check_heads(heads)
    check_device(device)
    refuse_other_extractor(store, extractor)
    split = _reported(store, split)
    work = [(one, head) for one in predictors for head in heads if head == FROZEN or one.features is not None]
    predictions: dict[Key, NDArray[np.integer[Any]]] = {}
    current: _Scoring | None = None
    for done, (predictor, head) in enumerate(work):
        if current is None or current.predictor is not predictor:
            current = _Scoring(store, predictor, split, seed, device, folder)

        def tell(note: str, done: int = done) -> None:
            on_progress(Progress("evaluating", done, len(work), "rows and heads", note=note))

        tell("")
        for scale, values in current.probabilities(head, tell).items():
            predictions[predictor.row, head, scale, predictor.seed] = values.argmax(1)
    on_progress(Progress("evaluating", len(work), len(work), "rows and heads"))
    return score_table(
        predictions,
        store.labels(split).astype(np.int64),
        split=split,
        context=_context(store, extractor, predictors, split, head_seed=seed, notes=notes),
        twins=twins(store.hashes(split), store.hashes("train")) if "train" in store.splits else None,
        order=order,
        classes=store.classes,
        side=store.spec.recipe.get("side"),
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


@dataclass(frozen=True, eq=False)
class _Scoring:
    """The probabilities of one predictor on one split; its features are computed when a head needs them."""

    store: FeatureStore
    predictor: Predictor
    split: str
    seed: int
    device: torch.device
    folder: Path | None

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales of the store that the predictor knows."""
        return _known_scales(self.store, self.predictor)

    def probabilities(self, head: str, note: Note) -> Probabilities:
        """Return the probabilities with a head: those that are kept, or else computed and kept."""
        source = self._source(head)
        seeded = "" if head == FROZEN else f"-seed-{self.seed}"
        name = f"{self.predictor.name}/{self.split}-{head}{seeded}.safetensors"
        path = None if self.folder is None else self.folder / name
        shape = len(self.store.labels(self.split)), len(self.store.classes)
        if path is not None:
            try:
                kept = read_predictions(path, source=source, scales=self.scales, shape=shape)
            except FsrcacheError as error:
                note(f"{error.what} It is computed again.")
                kept = None
            if kept is not None:
                return kept
        computed = self._computed(head)
        for scale, values in computed.items():
            if values.shape != shape or not np.isfinite(values).all():
                raise FsrcacheError(
                    f"{self.predictor.name} predicts {list(values.shape)} at scale {scale}, or numbers that are not "
                    f"finite; {self.split} has {shape[0]:,} pictures and {shape[1]} classes.",
                    "Train the row again.",
                )
        if path is not None:
            write_predictions(path, computed, source=source)
        return computed

    def _computed(self, head: str) -> Probabilities:
        if self.predictor.probabilities is not None:
            return {
                scale: np.asarray(self.predictor.probabilities(self.split, scale), np.float32) for scale in self.scales
            }
        classifier = self._classifier(head)
        return {scale: probabilities_of(classifier, values) for scale, values in self._tested.items()}

    @cached_property
    def _tested(self) -> dict[int, NDArray[np.floating[Any]]]:
        assert self.predictor.features is not None
        return {scale: self.predictor.features(self.split, scale) for scale in self.scales}

    @cached_property
    def _training(self) -> dict[int, NDArray[np.floating[Any]]]:
        """The features of the training split without its held-out tenth, by scale; none without a training split."""
        assert self.predictor.features is not None
        if "train" not in self.store.splits:
            return {}
        kept = ~self.store.held_out()
        return {scale: self.predictor.features("train", scale)[kept] for scale in self.scales}

    def _classifier(self, head: str) -> torch.nn.Module:
        """Return features [b, P] -> logits [b, K]."""
        extractor = self.predictor.extractor
        assert extractor is not None
        if head == FROZEN:
            return Logits(extractor.frozen_head()).to(self.device)
        features, classes = self._training, len(self.store.classes)
        labels = self.store.labels("train")[~self.store.held_out()]
        if head == "refit-linear":
            return refit_linear(features, labels, classes=classes, seed=self.seed, fit=_FITS[head], device=self.device)

        def fresh() -> torch.nn.Module:
            return Logits(extractor.fresh_head())

        return refit_mlp(features, labels, head=fresh, seed=self.seed, fit=_FITS[head], device=self.device)

    def _source(self, head: str) -> dict[str, Any]:
        """Return everything that the probabilities depend on, as JSON values."""
        extractor = self.predictor.extractor
        return {
            "row": self.predictor.source,
            "seed": self.predictor.seed,
            "store": self.store.spec.content_digests,
            "scales": list(self.scales),
            "extractor": None if extractor is None else extractor.digest,
            "head": head,
            "head_seed": None if head == FROZEN else self.seed,
            "fit": None if head == FROZEN else asdict(_FITS[head]),
            "split": self.split,
            "device": self.device.type,
        }


def _reported(store: FeatureStore, split: str | None) -> str:
    """Return the split that is reported."""
    if split is not None and split not in store.splits:
        raise FsrcacheError(
            f"The store {store.name} has no split {split!r}; it has {', '.join(store.splits)}.", "Name another --split."
        )
    reported = [name for name in ("test", "val") if name in store.splits]
    if split is None and not reported:
        raise FsrcacheError(f"The store {store.name} has neither test nor val to report.", "Extract data with a split.")
    return split or reported[0]


def _known_scales(store: FeatureStore, predictor: Predictor) -> tuple[int, ...]:
    return tuple(scale for scale in store.scales if predictor.scales is None or scale in predictor.scales)


def _scale_notes(store: FeatureStore, predictors: Sequence[Predictor]) -> list[str]:
    """Return a sentence on every row that knows fewer scales than the store has."""
    notes = []
    for row, known in dict.fromkeys((one.row, _known_scales(store, one)) for one in predictors):
        if missing := [f"x{scale}" for scale in store.scales if scale not in known]:
            notes.append(
                f"{row} was trained without {', '.join(missing)}: it has no scores there, and its heads are re-fitted "
                "on its own scales."
            )
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
    degradation = spec.recipe.get("degradation", {})
    jpeg = degradation.get("jpeg")
    seeds: dict[str, list[str]] = {}
    for one in predictors:
        if one.seed is not None:
            seeds.setdefault(one.row, []).append(str(one.seed))
    trainings = "".join(f"{row} {', '.join(of_row)}; " for row, of_row in seeds.items())
    return Context(
        data=f"{spec.data}; trained on {spec.rows.get('train', 0) - held_out:,} pictures of its training split "
        f"({held_out:,} held out), reported on {spec.rows[split]:,} of {split}",
        degradation=f"MATLAB bicubic down and up, {degradation.get('form')} form, border "
        f"{degradation.get('border')}, {'no JPEG' if jpeg is None else f'JPEG {jpeg}'} in between",
        extractor=extractor.summary,
        generator=_facts(predictors, "generator"),
        checkpoint=_facts(predictors, "checkpoint"),
        seeds=f"{trainings}re-fitted heads {head_seed}",
        rows={one.row: one.note for one in predictors if one.note},
        notes=(*notes, *_scale_notes(store, predictors)),
    )


def _facts(predictors: Iterable[Predictor], subject: str) -> str:
    """Return the different sentences of the rows about a subject, each with its row where there are several rows."""
    facts = dict.fromkeys((one.row, one.facts[subject]) for one in predictors if subject in one.facts)
    alone = len({row for row, _ in facts}) == 1
    return "; ".join(fact if alone else f"{row}: {fact}" for row, fact in facts) or "none"
