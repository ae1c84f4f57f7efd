"""The probabilities of one predictor on one split: those that are kept, or else computed and kept."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.heads import LINEAR, MLP, Logits, probabilities_of, refit_linear, refit_mlp
from fsrcache.evaluation.predictions import Probabilities, read_predictions, write_predictions
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.scores import FROZEN
from fsrcache.evaluation.splits import split_labels
from fsrcache.progress import ProgressCallback, counted, named, note
from fsrcache.store.reader import FeatureStore

FITS = {"refit-mlp": MLP, "refit-linear": LINEAR}


@dataclass(frozen=True, eq=False)
class Scoring:
    """The probabilities of one predictor on one split; its features are computed when a head needs them."""

    store: FeatureStore
    predictor: Predictor
    split: str
    seed: int
    device: torch.device
    folder: Path | None
    on_progress: ProgressCallback

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales of the store that the predictor knows."""
        return known_scales(self.store, self.predictor)

    def kept(self, head: str) -> Probabilities | None:
        """Return the probabilities with a head that are kept; None where there are none."""
        path = self._path(head)
        if path is None:
            return None
        try:
            return read_predictions(path, source=self._source(head), scales=self.scales, shape=self._shape)
        except FsrcacheError as error:
            self.on_progress(note(f"{error.what} It is computed again."))
            return None

    def compute(self, head: str) -> Probabilities:
        """Compute the probabilities with a head, and keep them."""
        computed = self._computed(head, named(self.on_progress, f"{self.predictor.name}, {head}"))
        for scale, values in computed.items():
            if values.shape != self._shape or not np.isfinite(values).all():
                raise FsrcacheError(
                    f"{self.predictor.name} predicts {list(values.shape)} at scale {scale}, or numbers that are not "
                    f"finite; {self.split} has {self._shape[0]:,} pictures and {self._shape[1]} classes.",
                    "Train the row again.",
                )
        path = self._path(head)
        if path is not None:
            write_predictions(path, computed, source=self._source(head))
        return computed

    @property
    def _shape(self) -> tuple[int, int]:
        return len(split_labels(self.store, self.split)), len(self.store.classes)

    def _path(self, head: str) -> Path | None:
        seeded = "" if head == FROZEN else f"-seed-{self.seed}"
        name = f"{self.predictor.name}/{self.split}-{head}{seeded}.safetensors"
        return None if self.folder is None else self.folder / name

    def _computed(self, head: str, on_progress: ProgressCallback) -> Probabilities:
        if self.predictor.probabilities is not None:
            scales = counted(self.scales, "predicting", "scales", on_progress)
            return {scale: np.asarray(self.predictor.probabilities(self.split, scale), np.float32) for scale in scales}
        classifier = self._classifier(head, on_progress)
        tested = counted(self._tested.items(), "predicting", "scales", on_progress)
        return {scale: probabilities_of(classifier, values) for scale, values in tested}

    @cached_property
    def _tested(self) -> dict[int, NDArray[np.floating[Any]]]:
        assert self.predictor.features is not None
        scales = counted(self.scales, f"features of {self.split}", "scales", self._named)
        return {scale: self.predictor.features(self.split, scale) for scale in scales}

    @cached_property
    def _training(self) -> dict[int, NDArray[np.floating[Any]]]:
        """The features of the training split without its held-out tenth, by scale; none without a training split."""
        assert self.predictor.features is not None
        if "train" not in self.store.splits:
            return {}
        kept = ~self.store.held_out()
        scales = counted(self.scales, "features of train", "scales", self._named)
        return {scale: self.predictor.features("train", scale)[kept] for scale in scales}

    @property
    def _named(self) -> ProgressCallback:
        return named(self.on_progress, self.predictor.name)

    def _classifier(self, head: str, on_progress: ProgressCallback) -> torch.nn.Module:
        """Return features [b, P] -> logits [b, K]."""
        extractor = self.predictor.extractor
        assert extractor is not None
        if head == FROZEN:
            return Logits(extractor.frozen_head()).to(self.device)
        features, classes, fit = self._training, len(self.store.classes), FITS[head]
        labels = self.store.labels("train")[~self.store.held_out()]
        if head == "refit-linear":
            return refit_linear(
                features, labels,
                classes=classes, seed=self.seed, fit=fit, device=self.device, on_progress=on_progress,
            )  # fmt: skip

        def fresh() -> torch.nn.Module:
            return Logits(extractor.fresh_head())

        return refit_mlp(
            features, labels, head=fresh, seed=self.seed, fit=fit, device=self.device, on_progress=on_progress
        )

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
            "fit": None if head == FROZEN else asdict(FITS[head]),
            "split": self.split,
            "device": self.device.type,
        }


def known_scales(store: FeatureStore, predictor: Predictor) -> tuple[int, ...]:
    """Return the scales of a store that a predictor knows."""
    return tuple(scale for scale in store.scales if predictor.scales is None or scale in predictor.scales)
