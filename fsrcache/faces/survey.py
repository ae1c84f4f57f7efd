"""Decodes every listed picture once, on several threads: its size, the hash of its pixels, or why it is unusable."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from fsrcache.ahead import ordered_map
from fsrcache.errors import FsrcacheError, Remedy, RequestError, arguments
from fsrcache.faces.decode import PictureError, Pictures
from fsrcache.faces.listing import Listing
from fsrcache.faces.unlabelled import LAYOUT as UNLABELLED

HASH_BYTES = 16


@dataclass(frozen=True)
class Survey:
    """The result of decoding every picture.

    Attributes
    ----------
    sizes
        int32 ``[n, 2]``, height and width in pixels; 0 where unreadable.
    hashes
        uint8 ``[n, 16]``, of the decoded pixels: equal pictures have equal hashes, whatever their file format.
    grey
        bool ``[n]``.
    unreadable
        Index of a picture -> the reason.
    conversions
        Conversion of unusual files, such as 16-bit ones -> number of pictures.
    """

    sizes: NDArray[np.int32]
    hashes: NDArray[np.uint8]
    grey: NDArray[np.bool_]
    unreadable: dict[int, str]
    conversions: dict[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Whether each picture can be read, bool ``[n]``."""
        return self.sizes[:, 0] > 0

    def common_side(self) -> int:
        """Return the commonest of the longer sides in pixels, the larger one of two as common; 0 for none."""
        sides, counts = np.unique(self.sizes[self.usable].max(axis=1), return_counts=True)
        return int(sides[counts == counts.max()].max()) if len(sides) else 0


def survey(listing: Listing, *, threads: int | None = None, advance: Callable[[], object] = lambda: None) -> Survey:
    """Decode every picture of a listing and drop its pixels at once, so that memory does not grow with them.

    Parameters
    ----------
    listing
        The pictures.
    threads
        Number of decoding threads; None for ``fsrcache.threads.usable_threads()``.
    advance
        Callback after each picture.

    Raises
    ------
    RequestError
        If the number of threads is below 1.
    """
    check_threads(threads)
    count = len(listing.names)
    sizes = np.zeros((count, 2), np.int32)
    hashes = np.zeros((count, HASH_BYTES), np.uint8)
    grey = np.zeros(count, np.bool_)
    unreadable: dict[int, str] = {}
    conversions: Counter[str] = Counter()

    def look(i: int) -> tuple[tuple[int, int], bytes, bool, tuple[str, ...]] | str:
        try:
            picture, notes = listing.load_noted(i) if listing.load_noted else (listing.load(i), ())
        except PictureError as error:
            return str(error)
        return (picture.shape[0], picture.shape[1]), picture_hash(picture), picture.ndim == 2, notes

    for i, seen in enumerate(ordered_map(look, range(count), threads=threads)):
        if isinstance(seen, str):
            unreadable[i] = seen
        else:
            sizes[i], grey[i] = seen[0], seen[2]
            hashes[i] = np.frombuffer(seen[1], np.uint8)
            conversions.update(seen[3])
        advance()
    return Survey(sizes, hashes, grey, unreadable, dict(conversions))


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads below 1."""
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise RequestError(f"The number of threads is {threads!r}.", "It should be at least 1, or None.")


def picture_hash(picture: Pictures) -> bytes:
    """Return 16 bytes of BLAKE2b over the shape and the pixels of a decoded picture."""
    digest = blake2b(repr(picture.shape).encode(), digest_size=HASH_BYTES)
    digest.update(np.ascontiguousarray(picture).data)
    return digest.digest()


def refuse_unreadable(listing: Listing, seen: Survey, *, on_error: str) -> None:
    """Raise, with the whole list, if pictures are unusable and ``on_error`` is ``fail``, or if none is usable."""
    if seen.unreadable and (on_error == "fail" or not seen.usable.any()):
        lines = "\n".join(f"  {listing.where(i)}: {reason}" for i, reason in seen.unreadable.items())
        raise FsrcacheError(
            f"{len(seen.unreadable)} of {len(listing.names)} pictures cannot be used:\n{lines}",
            Remedy("Repair or remove them, or leave them out: `{}`.", arguments(on_error="skip")),
        )
    if not len(listing.names):
        left_out = "".join(f" Left out: {count} ({reason})." for reason, count in listing.left_out.items())
        kind = "picture among the faces without labels" if listing.layout == UNLABELLED else "labelled picture"
        raise FsrcacheError(f"There is no {kind}.{left_out}", "Check the path and its layout.")
