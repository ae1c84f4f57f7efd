"""Batches of faces, decoded once as far as memory allows, and extracted side by side."""

from collections.abc import Callable, Generator, Iterable
from functools import partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from fsrcache.ahead import ordered_map
from fsrcache.extraction.features import Features, features_of_view, side_by_side
from fsrcache.extraction.source import FaceSource
from fsrcache.extractors.identity import BATCH
from fsrcache.faces.decode import Pictures

_BATCHES_AHEAD = 2  # that wait for a thread
_KEPT_BYTES = 256 << 20  # of decoded pictures, at most, which the scales of a block share


class LazyPictures:
    """Pictures that are decoded when they are asked for.

    Parameters
    ----------
    decode
        Function that returns them.
    keep
        Whether the first thread to ask for them decodes them for all.
    """

    def __init__(self, decode: Callable[[], Pictures], *, keep: bool) -> None:
        self._decode, self._keep, self._lock = decode, keep, Lock()
        self._pictures: Pictures | None = None

    def get(self) -> Pictures:
        """Return the pictures, uint8 ``[B, S, S, C]``."""
        if not self._keep:
            return self._decode()
        with self._lock:
            if self._pictures is None:
                self._pictures = self._decode()
            return self._pictures


def picture_batches(source: FaceSource, rows: NDArray[np.int64], *, split: str = "train") -> list[LazyPictures]:
    """Return pictures of a split by their rows, as ``source.batch`` takes them, in batches, to be decoded.

    The first 256 MiB of them are kept from then on; the others are decoded each time.
    """
    faces = source.extra[split].faces if split in source.extra else source.faces
    kept = _KEPT_BYTES // (faces.side**2 * (1 if faces.grey else 3))  # pictures
    return [
        LazyPictures(partial(source.batch, rows[start : start + BATCH], split=split), keep=start + BATCH <= kept)
        for start in range(0, len(rows), BATCH)
    ]


def batch_features(source: FaceSource, batches: Iterable[tuple[LazyPictures, int]]) -> Generator[Features]:
    """Yield the features of batches, each pictures and their scale, in order."""

    def extract_batch(batch: tuple[LazyPictures, int]) -> Features:
        pictures, scale = batch
        return features_of_view(source.extractor, source.view(pictures.get(), scale))

    with side_by_side(source.extractor) as workers:
        under_way = workers.threads + _BATCHES_AHEAD
        yield from ordered_map(
            extract_batch, batches, threads=workers.threads, under_way=under_way, begin=workers.begin
        )
