"""Writing a feature store block by block, so that running the same work again goes on where it stopped."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from hashlib import blake2b
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.store.layout import ROOT, Place, columns, digest, documents, outputs, places
from fsrcache.store.local import PARTIAL
from fsrcache.store.lock import alone, remove_stale_locks, writer_lock
from fsrcache.store.objects import objects_at, read_at_most
from fsrcache.store.refuse import check_columns, check_values, damaged, other_column, store_of_same_content
from fsrcache.store.root import Root, read_root, storage_errors
from fsrcache.store.shard import DamagedError, check_tail, decode, encode, name_bytes
from fsrcache.store.spec import StoreSpec

if TYPE_CHECKING:
    from zarr.abc.store import Store

_AGAIN = "See that there is room and the place can be written, then run the same command again."
_TAILS_AT_ONCE = 16


class FeatureWriter:
    """A store being written: created, or opened again where one of the same content is. Use it in a ``with``.

    A block of rows at a scale is the unit: one file in each array, whole or not there. In a local folder one writer
    holds a part at a time; elsewhere two writers of a block write the same bytes, and either may win.

    Parameters
    ----------
    place
        The store's folder, which may be a link and below which none is followed, a URL that Zarr opens through fsspec,
        or a Zarr store. Files that a killed writer of this part left half-written are removed.
    spec
        What the store is about. Scales that an existing store lacks are added to it.
    labels, ids, hashes
        Of every split, in the order of the rows: whole numbers ``[n]``, ``n`` names, uint8 ``[n, 16]`` of the pictures;
        without them, of the names.
    part
        ``(i, n)``: this writer takes every n-th block of rows, from the i-th on, i from 1. Whoever finishes last
        completes the store.
    storage_options
        Of fsspec, for a URL.

    Attributes
    ----------
    spec
        What the store is about, an existing store's scales included.
    name
        Of the place, for people.
    found
        How many of this part's (split, scale, block) were there when it was opened.

    Raises
    ------
    FsrcacheError
        If the columns do not fit the spec, the store there is about something else, another process writes it, or it
        cannot be written.
    """

    def __init__(
        self,
        place: "str | PathLike[str] | Store",
        spec: StoreSpec,
        *,
        labels: Mapping[str, NDArray[np.integer[Any]]],
        ids: Mapping[str, Sequence[str] | NDArray[np.str_]],
        hashes: Mapping[str, NDArray[np.uint8]] | None = None,
        part: tuple[int, int] = (1, 1),
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not 1 <= part[0] <= part[1]:
            raise FsrcacheError(f"The part is {part[0]}/{part[1]}.", "It is i/n with i from 1 to n.")
        self._objects = objects_at(place, storage_options=storage_options)
        self.name, self.part = self._objects.name, part
        hashes = hashes or {split: _hashes(names) for split, names in ids.items()}
        self._given: dict[str, Mapping[str, Any]] = {"labels": labels, "ids": ids, "hashes": hashes}
        self._held, self._closed = ExitStack(), False
        self._digests: dict[str, str] = {}  # of the files that this writer knows
        check_columns(spec, self._given)
        self.spec = spec
        try:
            with storage_errors(f"The store {self.name} cannot be written", remedy=_AGAIN):
                self._open()
        except BaseException:
            self._held.close()
            raise
        self.found = len(_blocks_of(self.spec, self.part)) - len(self.missing())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        self._closed = True
        self._held.close()

    def rows(self, split: str, block: int) -> slice:
        """Return which rows of a split a block holds; the last block may be short."""
        return self.spec.rows_of(split, block)

    def missing(self) -> list[tuple[str, int, int]]:
        """Return the (split, scale, block) of this part not yet written, the scales of a block next to each other."""
        return _missing(self.spec, self.part, self._there)

    def write(
        self,
        split: str,
        scale: int,
        *,
        block: int,
        features: NDArray[np.floating],
        embeddings: NDArray[np.floating] | None = None,
        probabilities: NDArray[np.floating] | None = None,
    ) -> None:
        """Write a block at a scale; a file of it that is there already is left as it is.

        Parameters
        ----------
        split, scale, block
            Which one.
        features, embeddings, probabilities
            ``[rows, width]`` of those that the spec names; the first two are rounded to its dtype.

        Raises
        ------
        FsrcacheError
            If there is no such block, a shape is another, a number is not finite or becomes infinite in half
            precision (the message says of which picture), or writing fails. Nothing is written then, but for the last.
        """
        if self._closed:
            raise FsrcacheError(f"The writer of the store {self.name} is closed.", "Write inside its `with`.")
        known = split in self.spec.rows and scale in self.spec.scales and block in range(self.spec.blocks(split))
        if not known:
            raise FsrcacheError(f"The store {self.name} has no block {block} of {split} at scale {scale}.")
        scale, block = int(scale), int(block)  # NumPy's are not written alike
        outputs_given = {"features": features, "embeddings": embeddings, "probabilities": probabilities}
        found = outputs(self.spec, split, scale=scale)
        given = {name: np.asarray(values) for name, values in outputs_given.items() if values is not None}
        if odd := sorted(given.keys() ^ found.keys()):
            raise FsrcacheError(f"The store {self.name} holds {', '.join(found)}; {', '.join(odd)} do not fit that.")
        for name, place in found.items():
            check_values(place, block, given[name], ids=self._given["ids"][split])
        for name, place in found.items():
            if place.key(block) not in self._there:
                self._write(place.key(block), encode(place, given[name], block=block))

    def finish(self, on_progress: ProgressCallback = no_progress) -> bool:
        """Mark the store as complete if all parts are written, and tell whether it is.

        Parameters
        ----------
        on_progress
            Called after every file that is looked at.

        Raises
        ------
        FsrcacheError
            If blocks of this part are missing, a file is damaged, or the storage fails.
        """
        with storage_errors(f"The store {self.name} cannot be completed", remedy=_AGAIN):
            if self._objects.folder:
                with alone(self._objects.folder):  # of two that finish at once, the second finds it complete
                    return self._finish(on_progress)
            return self._finish(on_progress)

    def _finish(self, on_progress: ProgressCallback) -> bool:
        """Do what ``finish`` does, nobody else at it."""
        self._look()
        if missing := self.missing():
            split, scale, block = missing[0]
            raise FsrcacheError(
                f"The store {self.name} lacks {len(missing)} blocks, first block {block} of {split} at scale {scale}.",
                "Run the same command again: it writes what is missing.",
            )
        known = read_root(self._objects)
        spec = self.spec if known is None else _with_scales(known.spec, self.spec)  # other parts may have added some
        if known is None or known.spec != spec:
            self._objects.write(ROOT, Root(spec).document())
        elif known.complete:
            return True
        if not all(key in self._there for place in places(spec) for key in place.keys):
            return False
        shards = self._all_digests(spec, on_progress)
        self._remove_partials(lambda _: True)
        self._objects.write(ROOT, Root(spec, shards).document())
        if self._objects.folder:
            remove_stale_locks(self._objects.folder)
        return True

    def _open(self) -> None:
        """Create what is missing of the metadata and columns; take the lock first."""
        objects = self._objects
        known = store_of_same_content(objects, self.spec)
        if objects.folder:
            objects.folder.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(writer_lock(objects.folder, self.part))
            known = store_of_same_content(objects, self.spec)  # as it is now that nobody else writes this part
        if known:
            self.spec = _with_scales(known.spec, self.spec)
        self._look()
        whole = all(key in self._there for place in places(self.spec) for key in place.keys)
        if known is None or known.spec != self.spec or (known.complete and not whole):
            objects.write(ROOT, Root(self.spec).document())
        for key, document in documents(self.spec).items():
            if key not in self._there or read_at_most(objects, key, len(document)) != document:
                self._write(key, document)
        mine = {place.key(block).rpartition("/")[0] for block, place in self._my_places()}
        self._remove_partials(lambda key: self.part == (1, 1) or key.rpartition("/")[0] in mine)
        for split in self.spec.splits:
            for name, place in columns(self.spec, split).items():
                for block, key in enumerate(place.keys):
                    rows = slice(block * place.block, block * place.block + place.rows(block))
                    data = encode(place, self._given[name][split][rows], block=block)
                    if key in self._there:
                        data = self._kept_column(place, block, data)
                    else:
                        self._write(key, data)
                    self._digests[key] = digest(data)

    def _kept_column(self, place: Place, block: int, given: bytes | bytearray) -> bytes:
        """Return the file of a column as it is there; names may be others, pictures and labels may not."""
        kept = read_at_most(self._objects, place.key(block), place.column_bytes) or b""
        if kept == given:
            return kept
        try:
            decode(place, kept, block=block)
        except DamagedError as error:
            raise damaged(place.key(block), self.name, error) from None
        if place.dtype != "string":
            raise other_column(place, self.name)
        return kept

    def _look(self) -> None:
        """Learn which files are there."""
        self._there = set(self._objects.keys())

    def _my_places(self) -> Iterable[tuple[int, Place]]:
        for split, scale, block in _blocks_of(self.spec, self.part):
            for place in outputs(self.spec, split, scale=scale).values():
                yield block, place

    def _write(self, key: str, data: bytes | bytearray) -> None:
        with storage_errors(f"{key} of the store {self.name} cannot be written", remedy=_AGAIN):
            self._objects.write(key, data)
        self._there.add(key)

    def _remove_partials(self, ours: Callable[[str], bool]) -> None:
        for key in [key for key in self._there if key.endswith(PARTIAL)]:
            if ours(key):
                self._objects.remove(key)
                self._there.discard(key)

    def _all_digests(self, spec: StoreSpec, on_progress: ProgressCallback) -> dict[str, list[str]]:
        """Return the digest of every file, those of shards from their tails, which their writers put there."""
        found = places(spec)
        shards = [(place, block) for place in found if place.chunk for block in range(len(place.keys))]
        with ThreadPoolExecutor(_TAILS_AT_ONCE) as pool:
            tails = [pool.submit(self._tail, place, block) for place, block in shards]
            try:
                for done, ((place, block), tail) in enumerate(zip(shards, tails, strict=True), 1):
                    self._digests[place.key(block)] = tail.result()
                    on_progress(Progress("completing", done, len(shards), "files"))
            finally:
                pool.shutdown(cancel_futures=True)
        return {place.name: [self._digests[key] for key in place.keys] for place in found}

    def _tail(self, place: Place, block: int) -> str:
        start = place.shard_bytes(block) - place.tail_bytes
        data = read_at_most(self._objects, place.key(block), place.tail_bytes, start=start)
        try:
            return check_tail(place, data or b"", block=block).hex()
        except DamagedError as error:
            raise damaged(place.key(block), self.name, error) from None


def unwritten(
    place: "str | PathLike[str] | Store", spec: StoreSpec, *, part: tuple[int, int] = (1, 1)
) -> tuple[StoreSpec, list[tuple[str, int, int]]]:
    """Return what a ``FeatureWriter`` of the same arguments would make of the spec, and what it would find missing.

    Nothing is written and nobody kept away. The errors are the writer's.
    """
    objects = objects_at(place)
    with storage_errors(f"The store {objects.name} cannot be read", remedy=_AGAIN):
        known = store_of_same_content(objects, spec)
        spec = spec if known is None else _with_scales(known.spec, spec)
        return spec, _missing(spec, part, set(objects.keys()))


def _blocks_of(spec: StoreSpec, part: tuple[int, int]) -> list[tuple[str, int, int]]:
    """Return the (split, scale, block) of a part, the scales of a block next to each other."""
    blocks = [(split, block) for split in spec.splits for block in range(spec.blocks(split))]
    i, n = part
    return [(split, scale, block) for split, block in blocks[i - 1 :: n] for scale in spec.scales]


def _missing(spec: StoreSpec, part: tuple[int, int], there: set[str]) -> list[tuple[str, int, int]]:
    def is_there(split: str, scale: int, block: int) -> bool:
        return all(place.key(block) in there for place in outputs(spec, split, scale=scale).values())

    return [item for item in _blocks_of(spec, part) if not is_there(*item)]


def _hashes(names: Sequence[str] | NDArray[np.str_]) -> NDArray[np.uint8]:
    """Return bytes [n, 16] that stand for pictures by their names."""
    texts = b"".join(blake2b(name_bytes(name), digest_size=16).digest() for name in names)
    return np.frombuffer(texts, np.uint8).reshape(-1, 16)


def _with_scales(spec: StoreSpec, other: StoreSpec) -> StoreSpec:
    return replace(spec, scales=tuple(sorted({*spec.scales, *other.scales})))
