"""The usable faces of a data set at one side, ready to be read in batches."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fsrcache.ahead import ordered_map
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces.bicubic import imresize
from fsrcache.faces.decode import PictureError, Pictures
from fsrcache.faces.listing import Listing
from fsrcache.faces.survey import Survey, check_threads, refuse_unreadable, survey

MAX_SIDE = 2048


@dataclass(frozen=True)
class Faces:
    """Labelled faces, every one ``side`` x ``side``, decoded when asked for.

    Attributes
    ----------
    listing, seen
        Where the pictures come from and what decoding them once showed.
    rows
        int64 ``[n]``: which pictures of the listing are usable.
    side
        Pixels; a picture of another size is resized by the size form of ``imresize``.
    """

    listing: Listing
    seen: Survey
    rows: NDArray[np.int64]
    side: int

    @property
    def classes(self) -> tuple[str, ...]:
        """The ``K`` class names."""
        return self.listing.classes

    @property
    def labels(self) -> NDArray[np.uint8]:
        """uint8 ``[n]``, indices into ``classes``."""
        return self.listing.labels[self.rows]

    @property
    def splits(self) -> NDArray[np.uint8]:
        """uint8 ``[n]``: 0 train, 1 val, 2 test."""
        return self.listing.splits[self.rows]

    @property
    def hashes(self) -> NDArray[np.uint8]:
        """uint8 ``[n, 16]``, of the decoded pixels before any resizing."""
        return self.seen.hashes[self.rows]

    @property
    def names(self) -> NDArray[np.str_]:
        """String array ``[n]``."""
        return self.listing.names[self.rows]

    @property
    def grey(self) -> bool:
        """Whether every picture is grey."""
        return bool(self.seen.grey[self.rows].all())

    @property
    def resized(self) -> int:
        """How many pictures are of another size."""
        return int((self.seen.sizes[self.rows] != self.side).any(axis=1).sum())

    def batch(self, rows: NDArray[np.integer], *, threads: int | None = None) -> Pictures:
        """Return pictures as uint8 ``[B, side, side, C]``, ``C`` 1 where every picture of the data is grey, else 3.

        Parameters
        ----------
        rows
            Which, int ``[B]``, each from 0 to ``n - 1``.
        threads
            How many decode at a time; the number of usable cores where None.

        Raises
        ------
        FsrcacheError
            If a picture can no longer be read.
        RequestError
            If there are no such rows or threads.
        """
        check_threads(threads)
        rows = np.asarray(rows)
        if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
            raise RequestError(f"Rows are {rows.dtype} {list(rows.shape)}.", "They are int [B].")
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.rows):
            raise RequestError(f"Rows go from {rows.min()} to {rows.max()}.", f"There are {len(self.rows)} faces.")
        channels = 1 if self.grey else 3
        batch = np.empty((len(rows), self.side, self.side, channels), np.uint8)
        for place, picture in enumerate(ordered_map(self._picture, rows, threads=threads)):
            batch[place] = picture[..., None] if picture.ndim == 2 else picture
        return batch

    def _picture(self, row: int) -> Pictures:
        i = int(self.rows[row])
        try:
            picture = self.listing.load(i)
        except PictureError as error:
            raise FsrcacheError(
                f"{self.listing.where(i)} could be read before and cannot now: {error}.",
                "Restore it and run again.",
            ) from None
        return picture if picture.shape[:2] == (self.side,) * 2 else imresize(picture, size=(self.side,) * 2)


def usable_faces(
    listing: Listing,
    *,
    side: int | None = None,
    on_error: str = "fail",
    advance: Callable[[], object] = lambda: None,
) -> Faces:
    """Decode everything once and keep what is usable.

    Parameters
    ----------
    listing
        The pictures.
    side
        Pixels of every picture; the commonest longer side of the data where None.
    on_error
        ``fail`` raises after the whole list if any picture is unusable, ``skip`` if all are.
    advance
        Called after each picture.
    """
    check_side(side)
    if on_error not in ("fail", "skip"):  # before everything is read
        raise RequestError(f"on_error is {on_error!r}.", "It is fail or skip.")
    seen = survey(listing, advance=advance)
    refuse_unreadable(listing, seen, on_error=on_error)
    return faces_of(listing, seen, side=side)


def faces_of(listing: Listing, seen: Survey, *, side: int | None = None) -> Faces:
    """Return what a survey found usable, at the side asked for or the commonest."""
    return Faces(listing, seen, np.flatnonzero(seen.usable), check_side(side) or seen.common_side())


def check_side(side: int | None) -> int | None:
    """Return a side that was asked for; one that no face has is a request error."""
    if side is not None and not (isinstance(side, int) and 1 <= side <= MAX_SIDE):
        raise RequestError(f"The side is {side!r}.", f"It is a number of pixels from 1 to {MAX_SIDE}.")
    return side
