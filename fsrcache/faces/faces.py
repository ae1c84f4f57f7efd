"""The usable faces of a data set at one side, ready to be read in batches."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fsrcache.ahead import ordered_map
from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, call
from fsrcache.faces.bicubic import imresize
from fsrcache.faces.decode import PictureError, Pictures
from fsrcache.faces.listing import Listing
from fsrcache.faces.survey import Survey, check_threads, refuse_unreadable, survey
from fsrcache.records import check_value

MAX_SIDE = 2048


@dataclass(frozen=True)
class Faces:
    """Labelled faces, every one ``side`` x ``side``, decoded on demand.

    Attributes
    ----------
    listing, seen
        The pictures, and the survey of decoding them once.
    rows
        int64 ``[n]``: indices of the usable pictures in the listing.
    side
        Side in pixels; a picture of another size is resized by the size form of ``imresize``.
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

    @cached_property
    def grey(self) -> bool:
        """Whether every picture is grey."""
        return bool(self.seen.grey[self.rows].all())

    @property
    def resized(self) -> int:
        """Number of pictures that are resized."""
        return int((self.seen.sizes[self.rows] != self.side).any(axis=1).sum())

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user on what the side does to the pictures."""
        sizes, notes = self.seen.sizes[self.rows], []
        if stretched := int((sizes[:, 0] != sizes[:, 1]).sum()):
            notes.append(f"{stretched:,} of {len(sizes):,} pictures are not square, and are stretched to be")
        if self.side > MAX_SIDE:
            notes.append(
                f"a face has at most {MAX_SIDE:,} pixels a side: these look uncropped, and pretrain refuses them"
            )
        return tuple(notes)

    def batch(self, rows: NDArray[np.integer], *, threads: int | None = None) -> Pictures:
        """Return pictures as uint8 ``[B, side, side, C]``, ``C`` 1 where every picture of the data is grey, else 3.

        Parameters
        ----------
        rows
            Indices of faces, int ``[B]``, each from 0 to ``n - 1``.
        threads
            Number of decoding threads; None for ``fsrcache.threads.usable_threads()``.

        Raises
        ------
        FsrcacheError
            If a picture can no longer be read.
        RequestError
            If a row is out of range, or the number of threads is below 1.
        """
        check_threads(threads)
        rows = np.asarray(rows)
        if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
            raise RequestError(f"Rows are {rows.dtype} {list(rows.shape)}.", "They should be int [B].")
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.rows):
            raise RequestError(f"Rows go from {rows.min()} to {rows.max()}.", f"There are {len(self.rows)} faces.")
        channels = 1 if self.grey else 3
        batch = np.empty((len(rows), self.side, self.side, channels), np.uint8)
        for index, picture in enumerate(ordered_map(self._picture, rows, threads=threads)):
            batch[index] = picture[..., None] if picture.ndim == 2 else picture
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
    """Decode every picture once and return the usable ones.

    Parameters
    ----------
    listing
        The pictures.
    side
        Side of every picture in pixels, 1 to 2048; None for the commonest longer side of the data.
    on_error
        ``fail`` to raise, after the whole list, if any picture is unusable, ``skip`` if all are.
    advance
        Callback after each picture.

    Raises
    ------
    FsrcacheError
        If pictures are unusable, as ``on_error`` says; every one is named with the reason. If the commonest side is
        above 2048.
    RequestError
        If ``side`` or ``on_error`` has no such value.
    """
    check_value(Listing, listing, name="listing")
    check_side(side)
    if on_error not in ("fail", "skip"):  # before everything is read
        raise RequestError(f"on_error is {on_error!r}.", "It should be fail or skip.")
    seen = survey(listing, advance=advance)
    refuse_unreadable(listing, seen, on_error=on_error)
    faces = faces_of(listing, seen, side=side)
    if faces.side > MAX_SIDE:
        raise FsrcacheError(
            f"The commonest side of the pictures is {faces.side:,} pixels; a face has at most {MAX_SIDE:,}.",
            Remedy("They look uncropped: crop their faces, or name a side, `{}`.", call("pretrain", side=Blank("N"))),
        )
    return faces


def faces_of(listing: Listing, seen: Survey, *, side: int | None = None) -> Faces:
    """Return the usable faces of a survey, at a side or at the commonest."""
    return Faces(listing, seen, np.flatnonzero(seen.usable), check_side(side) or seen.common_side())


def check_side(side: int | None) -> int | None:
    """Return the side; refuse one that no face can have."""
    if side is not None and not (isinstance(side, int) and 1 <= side <= MAX_SIDE):
        raise RequestError(f"The side is {side!r}.", f"It should be a number of pixels from 1 to {MAX_SIDE}.")
    return side
