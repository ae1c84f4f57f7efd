"""Fewer faces for a quick try: at most so many of every split, every class by its share."""

from dataclasses import replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.listing import Listing
from fsrcache.records import Limit, check_value

_HASH_BYTES = 8


def limited(listing: Listing, limit: int | None) -> Listing:
    """Return a listing with at most ``limit`` faces of every split; nothing is decoded.

    A class gets its share of the split, by largest remainders, and at least one face where ``limit`` allows. Which
    faces these are follows from the hash of their names, whatever order the data list them in.

    Parameters
    ----------
    listing
        The pictures.
    limit
        Number of faces of a split, 1 to 10^8; None for all of them.

    Raises
    ------
    RequestError
        If the limit is out of range.
    """
    if limit is None:
        return listing
    check_value(Limit, limit, name="limit")
    chosen = _chosen(listing, limit)
    if len(chosen) == len(listing.names):
        return listing
    load_noted, votes = listing.load_noted, listing.soft_labels
    return replace(
        listing,
        names=listing.names[chosen],
        labels=listing.labels[chosen],
        splits=listing.splits[chosen],
        load=lambda i: listing.load(int(chosen[i])),
        load_noted=load_noted and (lambda i: load_noted(int(chosen[i]))),
        where=lambda i: listing.where(int(chosen[i])),
        soft_labels=None if votes is None else votes[chosen],
        notes=(*listing.notes, _note(listing, chosen, limit)),
    )


def shares(counts: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Return how many of ``counts`` ``[K]`` are in a sample of ``limit``: their shares, by largest remainders.

    Every count above 0 has at least one in the sample if ``limit`` is not below their number.
    """
    total = int(counts.sum())
    if limit >= total:
        return counts
    least = np.minimum(counts, 1) if limit >= np.count_nonzero(counts) else np.zeros_like(counts)
    sample = np.maximum(limit * counts // total, least)
    while (missing := limit - int(sample.sum())) != 0:
        lacking = limit * counts - sample * total  # of the exact share, times the total
        if missing > 0:
            sample[lacking.argmax()] += 1
        else:
            sample[np.where(sample > least, lacking, np.iinfo(np.int64).max).argmin()] -= 1
    return sample


def _chosen(listing: Listing, limit: int) -> NDArray[np.int64]:
    """Return the indices of the faces within the limit, ascending."""
    chosen = []
    for split in np.unique(listing.splits):
        of_split = listing.splits == split
        counts = np.bincount(listing.labels[of_split], minlength=len(listing.classes))
        for label, count in enumerate(shares(counts, limit)):
            members = np.flatnonzero(of_split & (listing.labels == label))
            if count < len(members):
                hashes = np.array([_name_hash(str(name)) for name in listing.names[members]], np.uint64)
                members = members[np.argsort(hashes, kind="stable")[:count]]
            chosen.append(members)
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)


def _name_hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=_HASH_BYTES).digest())


def _note(listing: Listing, chosen: NDArray[np.int64], limit: int) -> str:
    """Return how many faces of every split are left, as a sentence."""
    parts = [
        f"{(listing.splits[chosen] == split).sum():,} of {(listing.splits == split).sum():,} of {SPLITS[split]}"
        for split in np.unique(listing.splits)
    ]
    return f"At most {limit:,} faces of every split: {', '.join(parts)}, every class by its share."
