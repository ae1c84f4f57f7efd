"""Batches of cached features: a whole split in memory, and draws from it that are functions of a random state alone."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsrcache.errors import FsrcacheError
from fsrcache.store.reader import FeatureStore


class FeatureBatch(NamedTuple):
    """Pairs of features of the same faces.

    Attributes
    ----------
    lr_features, hr_features
        fp32 [B, P], at the sample's scale and at full resolution.
    hr_embeddings
        fp32 [B, E], of the frozen head.
    lr_probabilities, hr_probabilities
        fp32 [B], of the true class.
    labels, scales
        int64 [B].
    """

    lr_features: Tensor
    hr_features: Tensor
    hr_embeddings: Tensor
    lr_probabilities: Tensor
    hr_probabilities: Tensor
    labels: Tensor
    scales: Tensor


class FeatureCache(NamedTuple):
    """The features of some rows of a split at all scales, on one device.

    Attributes
    ----------
    features
        fp16 [S, n, P]; the first scale is full resolution.
    embeddings
        fp16 [n, E], at full resolution.
    probabilities
        fp32 [S, n], of the true class.
    labels
        int64 [n].
    scales
        int64 [S], ascending from 1.
    """

    features: Tensor
    embeddings: Tensor
    probabilities: Tensor
    labels: Tensor
    scales: Tensor

    def draw(self, random: np.random.Generator, batch: int, *, full_resolution: float) -> FeatureBatch:
        """Return random faces, each at a random scale; a share of them at full resolution."""
        faces = random.integers(len(self.labels), size=batch)
        places = random.integers(1, len(self.scales), size=batch)
        places[random.random(batch) < full_resolution] = 0
        return self.pairs(faces, places)

    def pairs(self, faces: NDArray[np.int64], places: NDArray[np.int64]) -> FeatureBatch:
        """Return given faces at given places among the scales."""
        device = self.features.device
        face, place = torch.from_numpy(faces).to(device), torch.from_numpy(places).to(device)
        return FeatureBatch(
            lr_features=self.features[place, face].float(),
            hr_features=self.features[0, face].float(),
            hr_embeddings=self.embeddings[face].float(),
            lr_probabilities=self.probabilities[place, face],
            hr_probabilities=self.probabilities[0, face],
            labels=self.labels[face],
            scales=self.scales[place],
        )

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of every dimension over all faces and scales, fp32 [P] each."""
        parts = [part for scale in self.features for part in scale.split(4096)]
        count = self.features.shape[0] * self.features.shape[1]
        mean = torch.stack([part.double().sum(0) for part in parts]).sum(0) / count
        variance = torch.stack([(part.double() - mean).square().sum(0) for part in parts]).sum(0) / count
        return mean.float(), variance.sqrt().float()


def load_cache(store: FeatureStore, split: str, *, rows: NDArray[np.integer], device: torch.device) -> FeatureCache:
    """Read rows of a split at all scales.

    Raises
    ------
    FsrcacheError
        If there are no rows, or no scale but full resolution.
    """
    if not len(rows):
        raise FsrcacheError(f"There are no faces of {split} to read from {store.name}.", "Extract more faces.")
    if len(store.scales) < 2:
        raise FsrcacheError(
            f"The store {store.name} has full resolution alone.", "Run `fsrcache extract --scales 2..8`."
        )
    labels = store.labels(split)[rows].astype(np.int64)
    width = store.spec.widths["features"]
    features = torch.empty(len(store.scales), len(rows), width, dtype=torch.float16, device=device)
    probabilities = torch.empty(len(store.scales), len(rows), device=device)
    for place, scale in enumerate(store.scales):
        features[place] = torch.from_numpy(store.features(split, scale)[rows])
        probabilities[place] = torch.from_numpy(store.probabilities(split, scale)[rows][np.arange(len(rows)), labels])
    return FeatureCache(
        features=features,
        embeddings=torch.from_numpy(store.embeddings(split, 1)[rows]).to(device),
        probabilities=probabilities,
        labels=torch.from_numpy(labels).to(device),
        scales=torch.tensor(store.scales, device=device),
    )
