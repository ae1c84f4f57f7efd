"""Pairs of cached features: some rows of a split in memory, and batches gathered from them."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsrcache.errors import FsrcacheError, Remedy, call
from fsrcache.kernels import symmetric_gather
from fsrcache.progress import ProgressCallback, counted, no_progress
from fsrcache.store.reader import FeatureStore

_READ = 1024  # rows at a time


class FeatureBatch(NamedTuple):
    """Pairs of features of the same faces.

    Attributes
    ----------
    lr_features, hr_features
        fp32, at the sample's scale and at full resolution: vectors [B, P] or pictures [B, 1, D, D].
    hr_embeddings
        fp32 [B, E], of the full-resolution features.
    lr_probabilities, hr_probabilities
        fp32 [B], of the true class.
    labels
        int64 [B], the true classes; fp32 [B, K], the share of each, where samples were mixed.
    scales
        int64 [B]; of mixed samples that of the first.
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
        int64 [S, n].
    """

    features: Tensor
    embeddings: Tensor
    probabilities: Tensor
    labels: Tensor
    scales: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of scales and faces."""
        return self.features.shape[0], self.features.shape[1]

    def pairs(self, chosen: Tensor, *, lr_pictures: bool = False, hr_pictures: bool = False) -> FeatureBatch:
        """Return pairs of faces, with nothing copied from another device or waited for.

        Parameters
        ----------
        chosen
            int64 [2, B] on the device: faces and scale indices.
        lr_pictures, hr_pictures
            Whether coarse and fine features are pictures [B, 1, D, D] rather than vectors [B, P].
        """
        face, scale_index = chosen
        packed, rows = self.features.flatten(0, 1), scale_index * len(self.labels) + face  # [S n, P], [B]
        return FeatureBatch(
            lr_features=_unpack(packed, rows, pictures=lr_pictures),
            hr_features=_unpack(packed, face, pictures=hr_pictures),
            hr_embeddings=self.embeddings.index_select(0, face).float(),
            lr_probabilities=self.probabilities[scale_index, face],
            hr_probabilities=self.probabilities[0, face],
            labels=self.labels[face],
            scales=self.scales[scale_index, face],
        )

    def moments(self, on_progress: ProgressCallback = no_progress) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of every dimension over all faces and scales, fp32 [P] each."""
        parts = [part for scale in self.features for part in scale.split(_READ)]
        count = self.features.shape[0] * self.features.shape[1]
        summed = counted(parts, "averaging features", "parts", on_progress)
        mean = torch.stack([part.double().sum(0) for part in summed]).sum(0) / count
        squared = counted(parts, "measuring their deviation", "parts", on_progress)
        variance = torch.stack([(part.double() - mean).square().sum(0) for part in squared]).sum(0) / count
        return mean.float(), variance.sqrt().float()


def draw_pairs(
    random: np.random.Generator, batch: int, *, faces: int, scales: int, full_resolution: float
) -> NDArray[np.int64]:
    """Return random faces and a scale index for each, [2, B]; a share of them at full resolution."""
    chosen = np.stack([random.integers(faces, size=batch), random.integers(1, scales, size=batch)])
    chosen[1, random.random(batch) < full_resolution] = 0
    return chosen


def cache_bytes(store: FeatureStore, *, rows: int) -> int:
    """Return how much memory the features of so many rows take at all scales."""
    return 2 * len(store.scales) * rows * store.spec.widths["features"]


def load_cache(
    store: FeatureStore,
    split: str,
    *,
    rows: NDArray[np.integer],
    device: torch.device,
    pinned: bool = False,
    on_progress: ProgressCallback = no_progress,
) -> FeatureCache:
    """Read rows of a split at all scales.

    Parameters
    ----------
    store
        The features.
    split
        Name of the split.
    rows
        Integers ``[n]``, the rows to read.
    device
        Device of the cache.
    pinned
        Whether the CPU's memory is pinned, for copies to a GPU.
    on_progress
        Callback, every second.

    Raises
    ------
    FsrcacheError
        If there are no rows, or no scale but full resolution.
    """
    if not len(rows):
        raise FsrcacheError(f"There are no faces of {split} to read from {store.name}.", "Extract more faces.")
    if len(store.scales) < 2:
        raise FsrcacheError(
            f"The store {store.name} has full resolution alone.",
            Remedy("Add some: `{}`.", call("extract", scales=range(2, 9))),
        )
    labels = store.labels(split)[rows].astype(np.int64)
    shape = (len(store.scales), len(rows))
    features = torch.empty(*shape, store.spec.widths["features"], dtype=torch.float16, device=device, pin_memory=pinned)
    stored = [store.features(split, scale) for scale in store.scales]
    parts = [(index, start) for index in range(len(stored)) for start in range(0, len(rows), _READ)]
    for index, start in counted(parts, "reading features", "parts", on_progress):
        features[index, start : start + _READ] = torch.from_numpy(stored[index][rows[start : start + _READ]])
    return FeatureCache(
        features=features,
        embeddings=torch.from_numpy(store.embeddings(split, 1)[rows]).to(device),
        probabilities=torch.from_numpy(true_probabilities(store, split, rows=rows, labels=labels)).to(device),
        labels=torch.from_numpy(labels).to(device),
        scales=torch.tensor(store.scales, device=device)[:, None].expand(shape),
    )


def true_probabilities(
    store: FeatureStore, split: str, *, rows: NDArray[np.integer], labels: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the probabilities of the true classes of rows at all scales, fp32 [S, n]."""
    chosen = np.empty((len(store.scales), len(rows)), np.float32)
    for scale_index, scale in enumerate(store.scales):
        stored = store.probabilities(split, scale)
        for start in range(0, len(rows), _READ):
            here = slice(start, start + _READ)
            chosen[scale_index, here] = np.take_along_axis(stored[rows[here]], labels[here, None], axis=1)[:, 0]
    return chosen


def _unpack(packed: Tensor, rows: Tensor, *, pictures: bool) -> Tensor:
    """Return rows of a cache [m, P] as fp32 vech [B, P] or as fp32 pictures [B, 1, D, D]."""
    if not pictures:
        return packed.index_select(0, rows).float()
    return symmetric_gather(packed, rows, None, None, torch.float32)
