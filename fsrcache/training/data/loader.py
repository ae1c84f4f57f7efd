"""Pairs of cached features: some rows of a split in memory, and batches gathered from them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsrcache.errors import FsrcacheError, Remedy, call
from fsrcache.kernels import symmetric_gather
from fsrcache.progress import ProgressCallback, counted, no_progress
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import UNLABELLED

_READ = 1024  # rows at a time


class FeatureBatch(NamedTuple):
    """Pairs of features of the same faces.

    Attributes
    ----------
    lr_features, hr_features
        fp32, at the sample's scale and at full resolution: vectors [B, P] or pictures [B, 1, D, D].
    lr_early
        fp32 [B, Q], the early features at the sample's scale.
    hr_embeddings
        fp32 [B, E], of the full-resolution features.
    lr_probabilities, hr_probabilities
        fp32 [B], of the true class.
    labels
        int64 [B], the true classes; fp32 [B, K], the share of each, where samples were mixed. Where no label is known,
        the frozen network's own answer at full resolution.
    labelled
        fp32 [B], 1 where the label is known, else 0; 0 for mixtures with a sample without one.
    scales
        int64 [B]; of mixed samples that of the first.
    """

    lr_features: Tensor
    hr_features: Tensor
    lr_early: Tensor
    hr_embeddings: Tensor
    lr_probabilities: Tensor
    hr_probabilities: Tensor
    labels: Tensor
    labelled: Tensor
    scales: Tensor


class FeatureCache(NamedTuple):
    """The features of some rows of one split or several at all scales, on one device.

    Attributes
    ----------
    features
        fp16 [S, n, P]; the first scale is full resolution.
    early
        fp16 [S, n, Q], the early features; Q is 0 where there are none.
    embeddings
        fp16 [n, E], at full resolution.
    probabilities
        fp32 [S, n], of the true class.
    labels
        int64 [n]; where none is known, the frozen network's own answer at full resolution.
    labelled
        fp32 [n], 1 where the label is known, else 0.
    scales
        int64 [S, n].
    """

    features: Tensor
    early: Tensor
    embeddings: Tensor
    probabilities: Tensor
    labels: Tensor
    labelled: Tensor
    scales: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of scales and faces."""
        return self.features.shape[0], self.features.shape[1]

    def at(self, scale_indices: slice) -> "FeatureCache":
        """Return the same faces at some of the scales."""
        features, early, probabilities, scales = (
            values[scale_indices] for values in (self.features, self.early, self.probabilities, self.scales)
        )
        return self._replace(features=features, early=early, probabilities=probabilities, scales=scales)

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
            lr_early=self.early.flatten(0, 1).index_select(0, rows).float(),
            hr_embeddings=self.embeddings.index_select(0, face).float(),
            lr_probabilities=self.probabilities[scale_index, face],
            hr_probabilities=self.probabilities[0, face],
            labels=self.labels[face],
            labelled=self.labelled[face],
            scales=self.scales[scale_index, face],
        )

    def moments(self, on_progress: ProgressCallback = no_progress) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of every dimension over all faces and scales, fp32 [P + Q] each.

        The early features' follow the features'.
        """
        of_each = [_moments(values, on_progress) for values in (self.features, self.early) if values.shape[2]]
        mean, deviation = map(torch.cat, zip(*of_each, strict=True))
        return mean, deviation


def draw_pairs(
    random: np.random.Generator, batch: int, *, faces: int, scales: int, full_resolution: float
) -> NDArray[np.int64]:
    """Return random faces and a scale index for each, [2, B]; a share of them at full resolution."""
    chosen = np.stack([random.integers(faces, size=batch), random.integers(1, scales, size=batch)])
    chosen[1, random.random(batch) < full_resolution] = 0
    return chosen


def cache_bytes(store: FeatureStore, *, rows: int) -> list[int]:
    """Return the bytes of each array of features in memory, of so many rows at all scales: features, early ones."""
    widths = store.spec.widths
    return [2 * len(store.scales) * rows * widths[name] for name in ("features", "early") if name in widths]


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
    return load_splits(store, {split: rows}, device=device, pinned=pinned, on_progress=on_progress)


def load_splits(
    store: FeatureStore,
    rows: Mapping[str, NDArray[np.integer]],
    *,
    device: torch.device,
    pinned: bool = False,
    on_progress: ProgressCallback = no_progress,
) -> FeatureCache:
    """Read rows of several splits at all scales, one split after the other, as ``load_cache`` does those of one."""
    count = sum(map(len, rows.values()))
    if not count:
        names = ", ".join(rows)
        raise FsrcacheError(f"There are no faces of {names} to read from {store.name}.", "Extract more faces.")
    if len(store.scales) < 2:
        raise FsrcacheError(
            f"The store {store.name} has full resolution alone.",
            Remedy("Add some: `{}`.", call("extract", scales=range(2, 9))),
        )
    shape = (len(store.scales), count)
    features, early = (
        torch.empty(*shape, store.spec.widths.get(name, 0), dtype=torch.float16, device=device, pin_memory=pinned)
        for name in ("features", "early")
    )
    parts = [
        (scale_index, split, start)
        for scale_index in range(len(store.scales)) for split in rows for start in range(0, len(rows[split]), _READ)
    ]  # fmt: skip
    firsts = dict(zip(rows, np.cumsum([0, *map(len, rows.values())]).tolist(), strict=False))
    for scale_index, split, start in counted(parts, "reading features", "parts", on_progress):
        read = store.features(split, store.scales[scale_index])[rows[split][start : start + _READ]]
        at = firsts[split] + start
        features[scale_index, at : at + len(read)] = torch.from_numpy(read)
        if early.shape[2]:
            read = store.early(split, store.scales[scale_index])[rows[split][start : start + _READ]]
            early[scale_index, at : at + len(read)] = torch.from_numpy(read)
    known = [known_classes(store, split, rows=chosen) for split, chosen in rows.items()]
    probabilities = [
        true_probabilities(store, split, rows=chosen, labels=labels)
        for (split, chosen), (labels, _) in zip(rows.items(), known, strict=True)
    ]
    embeddings = [store.embeddings(split, 1)[chosen] for split, chosen in rows.items()]
    labels, labelled = map(np.concatenate, zip(*known, strict=True))
    return FeatureCache(
        features=features,
        early=early,
        embeddings=torch.from_numpy(np.concatenate(embeddings)).to(device),
        probabilities=torch.from_numpy(np.concatenate(probabilities, axis=1)).to(device),
        labels=torch.from_numpy(labels).to(device),
        labelled=torch.from_numpy(labelled).to(device),
        scales=torch.tensor(store.scales, device=device)[:, None].expand(shape),
    )


def trained_rows(store: FeatureStore) -> dict[str, NDArray[np.bool_]]:
    """Return which rows of which splits are learnt from, bool [n] each.

    They are the training split without its held-out tenth, the views of the same faces, and all faces without labels.
    """
    rows = {split: ~store.held_out(split) for split in ("train", *store.spec.extra)}
    if UNLABELLED in rows:
        rows[UNLABELLED] = np.ones_like(rows[UNLABELLED])
    return rows


def trained_count(store: FeatureStore) -> int:
    """Return how many rows are learnt from."""
    return sum(int(rows.sum()) for rows in trained_rows(store).values())


def known_classes(
    store: FeatureStore, split: str, *, rows: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the classes of rows, int64 [n], and 1 where they are the data's own labels, else 0, fp32 [n].

    Of a face without a label it is the frozen network's own answer at full resolution. A sample's weight then says how
    much of that answer is lost at its scale, as it does of a right one.
    """
    if split != UNLABELLED:
        return store.labels(split)[rows].astype(np.int64), np.ones(len(rows), np.float32)
    return own_answers(store, split, rows=rows), np.zeros(len(rows), np.float32)


def own_answers(store: FeatureStore, split: str, *, rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the class that the frozen network gives to rows at full resolution, int64 [n]."""
    answers: NDArray[np.int64] = store.probabilities(split, 1)[rows].argmax(axis=1).astype(np.int64)
    return answers


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


def _moments(values: Tensor, on_progress: ProgressCallback) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of values [S, n, P], fp32 [P] each."""
    parts = [part for scale in values for part in scale.split(_READ)]
    count = values.shape[0] * values.shape[1]
    # one block of memory for all parts: new ones between sums that are kept would fill four times the cache
    wide = torch.empty(parts[0].shape, dtype=torch.float64, device=values.device)
    sums = wide.new_empty(len(parts), wide.shape[1])
    for number, part in enumerate(counted(parts, "averaging features", "parts", on_progress)):
        torch.sum(wide[: len(part)].copy_(part), 0, out=sums[number])
    mean = sums.sum(0) / count
    for number, part in enumerate(counted(parts, "measuring their deviation", "parts", on_progress)):
        torch.sum(wide[: len(part)].copy_(part).sub_(mean).square_(), 0, out=sums[number])
    variance = sums.sum(0) / count
    return mean.float(), variance.sqrt().float()


def _unpack(packed: Tensor, rows: Tensor, *, pictures: bool) -> Tensor:
    """Return rows of a cache [m, P] as fp32 vech [B, P] or as fp32 pictures [B, 1, D, D]."""
    if not pictures:
        return packed.index_select(0, rows).float()
    return symmetric_gather(packed, rows, None, None, torch.float32)
