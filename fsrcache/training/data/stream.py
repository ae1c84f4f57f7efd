"""Pairs from a store that fits into no memory: faces in shuffled epochs, many random chunks of the store resident.

Every face is seen once an epoch, at a scale drawn for it, and the features of all scales are read for it. Which faces a
step sees is a function of the seed, the step and the number of resident chunks: a run goes on where it stopped, behind
the rows that it has seen, without reading them. Labels and probabilities of the true class stay in memory.
"""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsrcache.progress import ProgressCallback, counted, no_progress
from fsrcache.store.joined import joined, joined_rows
from fsrcache.store.reader import FeatureStore
from fsrcache.store.shuffle import ShuffledRows
from fsrcache.store.stored import StoredArray
from fsrcache.training.data.loader import FeatureCache, known_classes, true_probabilities

STREAM_BYTES = 1 << 30  # of the chunks that are resident and those read ahead
_READ = 4096  # rows at a time

Rows = tuple[NDArray[Any], ...]


class Stream:
    """Gives the pairs of one step after another.

    Parameters
    ----------
    store
        The features.
    rows
        bool ``[n]`` for every split that is read: which of its rows.
    count
        Pairs of a step.
    seed
        Random seed of the order.
    memory
        Bytes of the chunks, those read ahead included.

    Attributes
    ----------
    shape
        ``(S, n)``: scales and faces of an epoch.
    resident
        Chunks of every array that are shuffled together.
    """

    def __init__(
        self,
        store: FeatureStore,
        rows: Mapping[str, NDArray[np.bool_]],
        *,
        count: int,
        seed: int,
        memory: int = STREAM_BYTES,
    ) -> None:
        self.store, self.count, chunk = store, count, store.spec.chunk
        self.features = [joined([store.features(split, scale) for split in rows]) for scale in store.scales]
        scales = store.scales if "early" in store.spec.widths else ()
        self.early = [joined([store.early(split, scale) for split in rows]) for scale in scales]
        self.rows = joined_rows([*rows.values()], chunk=chunk, fill=False)
        arrays = [joined([store.embeddings(split, 1) for split in rows]), *self.features, *self.early]
        self.reader = ShuffledRows(arrays, batch=count, seed=seed, memory=memory, rows=self.rows)
        self.shape, self.resident = (len(store.scales), self.reader.count), self.reader.resident
        every = {split: np.arange(len(wanted)) for split, wanted in rows.items()}
        known = {split: known_classes(store, split, rows=numbers) for split, numbers in every.items()}
        probabilities = [
            true_probabilities(store, split, rows=numbers, labels=known[split][0]).T for split, numbers in every.items()
        ]
        self.labels = joined_rows([labels for labels, _ in known.values()], chunk=chunk, fill=0)
        self.labelled = joined_rows([labelled for _, labelled in known.values()], chunk=chunk, fill=0)
        self.probabilities = joined_rows(probabilities, chunk=chunk, fill=0).T  # [S, all rows]
        self.step = -1  # the one whose rows come next
        self.coming: Generator[Rows] | None = None

    def pairs(self, step: int, scale_index: Tensor) -> FeatureCache:
        """Return the pairs of a step at scale indices int64 [m]; index 0 of the result is HR, 1 the coarse scale."""
        if step != self.step or self.coming is None:
            self.close()
            self.coming, self.step = self._from(step * self.count), step
        parts, missing = list[Rows](), self.count
        while missing:  # two parts where an epoch ends inside
            parts.append(next(self.coming))
            missing -= len(parts[-1][0])
        self.step += 1
        faces, embeddings, *columns = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        coarse, every = scale_index.numpy(), np.arange(self.count)
        scales = np.array(self.store.scales)
        features, early = columns[: len(scales)], columns[len(scales) :]
        early = early or [np.empty((self.count, 0), np.float16)] * len(scales)
        probabilities = self.probabilities[:, faces]  # [S, m]
        return FeatureCache(
            features=torch.from_numpy(np.stack([features[0], np.stack(features)[coarse, every]])),
            early=torch.from_numpy(np.stack([early[0], np.stack(early)[coarse, every]])),
            embeddings=torch.from_numpy(embeddings),
            probabilities=torch.from_numpy(np.stack([probabilities[0], probabilities[coarse, every]])),
            labels=torch.from_numpy(self.labels[faces]),
            labelled=torch.from_numpy(self.labelled[faces]),
            scales=torch.from_numpy(np.stack([np.ones_like(coarse), scales[coarse]])),
        )

    def moments(self, on_progress: ProgressCallback = no_progress) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of every dimension over all faces and scales, fp32 [P + Q] each.

        The early features' follow the features'.
        """
        of_each = [self._moments(arrays, on_progress) for arrays in (self.features, self.early) if arrays]
        mean, deviation = map(torch.cat, zip(*of_each, strict=True))
        return mean, deviation

    def _moments(self, arrays: Sequence[StoredArray], on_progress: ProgressCallback) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the rows of arrays of one width P, fp32 [P] each."""
        width = arrays[0].shape[1]
        total, squares = np.zeros(width), np.zeros(width)
        centre: NDArray[np.float64] | None = None
        parts = [(one, start) for one in arrays for start in range(0, len(self.rows), _READ)]
        for one, start in counted(parts, "averaging features", "parts", on_progress):
            kept = one[start : start + _READ][self.rows[start : start + _READ]].astype(np.float64)
            if not len(kept):
                continue
            if centre is None:
                centre = kept.mean(0)  # of the first rows: the squares of what is left do not cancel
            total += (kept - centre).sum(0)
            squares += np.square(kept - centre).sum(0)
        assert centre is not None
        count = self.shape[0] * self.shape[1]
        mean, square = total / count, squares / count
        deviation = np.sqrt(np.maximum(square - np.square(mean), 0))
        return torch.from_numpy(centre + mean).float(), torch.from_numpy(deviation).float()

    def close(self) -> None:
        """Stop reading ahead."""
        if self.coming is not None:
            self.coming.close()
            self.coming = None

    def _from(self, row: int) -> Generator[Rows]:
        """Yield rows of one epoch after another, behind so many; no more at once than are missing from a step."""
        epoch, skip = divmod(row, self.reader.count)
        missing = self.count
        while True:
            for rows in self.reader.epoch(epoch, skip=skip):
                at = 0
                while at < len(rows[0]):
                    part = tuple(column[at : at + missing] for column in rows)
                    at, missing = at + len(part[0]), missing - len(part[0])
                    missing = missing or self.count
                    yield part
            epoch, skip = epoch + 1, 0
