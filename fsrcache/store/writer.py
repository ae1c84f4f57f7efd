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
from fsrcache.progress import Progress, Watch, unwatched
from fsrcache.store.layout import ROOT, Place, columns, digest, documents, outputs, places
from fsrcache.store.lock import remove_stale_locks, writer_lock
from fsrcache.store.objects import PARTIAL, Objects, objects_at
from fsrcache.store.root import KEY, Root, identity, read_root, storage_errors
from fsrcache.store.shard import DamagedError, check_tail, encode
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
        The store's folder, a URL that Zarr opens through fsspec, or a Zarr store. Files that a killed writer of this
        part left half-written are removed.
    spec
        What the store is about. Scales that an existing store lacks are added to it.
    labels, ids, hashes
        Of every split, in the order of the rows: uint8 ``[n]``, ``n`` names, uint8 ``[n, 16]`` of the pictures; without
        them, of the names.
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
        labels: Mapping[str, NDArray[np.uint8]],
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
        self._held = ExitStack()
        self._digests: dict[str, str] = {}  # of the files that this writer knows
        _check_columns(spec, self._given)
        known = read_root(self._objects)
        if known:
            _refuse_other_content(self.name, known.spec, spec)
            spec = replace(known.spec, scales=tuple(sorted({*known.spec.scales, *spec.scales})))
        self.spec = spec
        try:
            with storage_errors(f"The store {self.name} cannot be written", remedy=_AGAIN):
                self._open(known)
        except BaseException:
            self._held.close()
            raise
        self.found = len(self._mine()) - len(self.missing())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        self._held.close()

    def rows(self, split: str, block: int) -> slice:
        """Return which rows of a split a block holds; the last block may be short."""
        return self.spec.rows_of(split, block)

    def missing(self) -> list[tuple[str, int, int]]:
        """Return the (split, scale, block) of this part not yet written, the scales of a block next to each other."""
        return [item for item in self._mine() if not all(key in self._there for key in self._keys(*item))]

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
        if split not in self.spec.rows or scale not in self.spec.scales or not 0 <= block < self.spec.blocks(split):
            raise FsrcacheError(f"The store {self.name} has no block {block} of {split} at scale {scale}.")
        given = {"features": features, "embeddings": embeddings, "probabilities": probabilities}
        found = outputs(self.spec, split, scale=scale)
        for name, values in given.items():
            if (values is None) == (name in found):
                raise FsrcacheError(f"The store {self.name} holds {', '.join(found)}; {name} do not fit that.")
        files = {
            place.key(block): encode(place, self._stored_form(place, block, values))
            for name, place in found.items()
            if (values := given[name]) is not None and place.key(block) not in self._there
        }
        for key, data in files.items():
            self._write(key, data)

    def finish(self, watch: Watch = unwatched) -> bool:
        """Mark the store as complete if all parts are written, and tell whether it is.

        Parameters
        ----------
        watch
            Called after every file that is looked at.

        Raises
        ------
        FsrcacheError
            If blocks of this part are missing, a file is damaged, or the storage fails.
        """
        with storage_errors(f"The store {self.name} cannot be completed", remedy=_AGAIN):
            self._look()
            if missing := self.missing():
                split, scale, block = missing[0]
                raise FsrcacheError(
                    f"The store {self.name} lacks {len(missing)} blocks, first block {block} of {split} at scale "
                    f"{scale}.",
                    "Run the same command again: it writes what is missing.",
                )
            known = read_root(self._objects)
            if known is not None and known.complete:
                return True
            if not all(key in self._there for place in places(self.spec) for key in place.keys):
                return False
            shards = self._all_digests(watch)
            self._remove_partials(lambda _: True)
            self._objects.write(ROOT, Root(self.spec, shards).document())
            if self._objects.folder:
                remove_stale_locks(self._objects.folder)
            return True

    def _open(self, known: Root | None) -> None:
        """Create what is missing of the metadata and columns; take the lock first."""
        objects = self._objects
        if objects.folder:
            if not known:
                _refuse_other_files(objects)
            objects.folder.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(writer_lock(objects.folder, self.part))
            known = read_root(objects)  # as it is now that nobody else writes this part
        elif not known:
            _refuse_other_files(objects)
        if known:
            self.spec = replace(known.spec, scales=tuple(sorted({*known.spec.scales, *self.spec.scales})))
        self._look()
        whole = all(key in self._there for place in places(self.spec) for key in place.keys)
        if known is None or (known.complete and not (whole and known.spec == self.spec)) or known.spec != self.spec:
            objects.write(ROOT, Root(self.spec).document())
        for key, document in documents(self.spec).items():
            if objects.read(key) != document:
                objects.write(key, document)
        mine = {place.key(block).rpartition("/")[0] for block, place in self._my_places()}
        self._remove_partials(lambda key: self.part == (1, 1) or key.rpartition("/")[0] in mine)
        for split in self.spec.splits:
            for name, place in columns(self.spec, split).items():
                for block, key in enumerate(place.keys):
                    rows = slice(block * place.block, block * place.block + place.rows(block))
                    data = encode(place, self._given[name][split][rows])
                    self._digests[key] = digest(data)
                    if key not in self._there:
                        self._write(key, data)

    def _look(self) -> None:
        """Learn which files are there."""
        self._there = set(self._objects.keys())

    def _mine(self) -> list[tuple[str, int, int]]:
        blocks = [(split, block) for split in self.spec.splits for block in range(self.spec.blocks(split))]
        i, n = self.part
        return [(split, scale, block) for split, block in blocks[i - 1 :: n] for scale in self.spec.scales]

    def _my_places(self) -> Iterable[tuple[int, Place]]:
        for split, scale, block in self._mine():
            for place in outputs(self.spec, split, scale=scale).values():
                yield block, place

    def _keys(self, split: str, scale: int, block: int) -> list[str]:
        return [place.key(block) for place in outputs(self.spec, split, scale=scale).values()]

    def _write(self, key: str, data: bytes | bytearray) -> None:
        with storage_errors(f"{key} of the store {self.name} cannot be written", remedy=_AGAIN):
            self._objects.write(key, data)
        self._there.add(key)

    def _remove_partials(self, ours: Callable[[str], bool]) -> None:
        for key in [key for key in self._there if key.endswith(PARTIAL)]:
            if ours(key):
                self._objects.remove(key)
                self._there.discard(key)

    def _all_digests(self, watch: Watch) -> dict[str, list[str]]:
        """Return the digest of every file, those of shards from their tails, which their writers put there."""
        found = places(self.spec)
        shards = [(place, block) for place in found if place.chunk for block in range(len(place.keys))]
        with ThreadPoolExecutor(_TAILS_AT_ONCE) as pool:
            tails = [pool.submit(self._tail, place, block) for place, block in shards]
            try:
                for done, ((place, block), tail) in enumerate(zip(shards, tails, strict=True), 1):
                    self._digests[place.key(block)] = tail.result()
                    watch(Progress("completing", done, len(shards), "files"))
            finally:
                pool.shutdown(cancel_futures=True)
        return {place.name: [self._digests[key] for key in place.keys] for place in found}

    def _tail(self, place: Place, block: int) -> str:
        data = self._objects.read(place.key(block), start=place.shard_bytes(block) - place.tail_bytes)
        try:
            return check_tail(place, data or b"", block=block).hex()
        except DamagedError as error:
            raise FsrcacheError(
                f"{place.key(block)} of the store {self.name} is damaged: {error}.",
                "Run `fsrcache verify STORE --repair`, then the same command again.",
            ) from None

    def _stored_form(self, place: Place, block: int, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return values as they are stored, all finite."""
        shape = (place.rows(block), place.shape[1])
        if values.shape != shape:
            raise FsrcacheError(f"The block of {place.name} has the shape {list(values.shape)}, not {list(shape)}.")
        with np.errstate(over="ignore"):
            stored = values.astype(place.dtype)
        if not (finite := np.isfinite(stored)).all():
            row, column = np.argwhere(~finite)[0]
            picture = self._given["ids"][place.name.split("/")[0]][block * place.block + int(row)]
            raise FsrcacheError(
                f"{place.name} of the picture {str(picture)!r} holds {values[row, column]}, "
                f"which {place.dtype} cannot keep.",
                "Look at that picture and at the extractor's weights: a sound extractor stays below 65504.",
            )
        return stored


def _hashes(names: Sequence[str] | NDArray[np.str_]) -> NDArray[np.uint8]:
    """Return bytes [n, 16] that stand for pictures by their names."""
    texts = b"".join(blake2b(str(name).encode(), digest_size=16).digest() for name in names)
    return np.frombuffer(texts, np.uint8).reshape(-1, 16)


def _check_columns(spec: StoreSpec, given: Mapping[str, Mapping[str, Any]]) -> None:
    for split in spec.splits:
        for name, place in columns(spec, split).items():
            if split not in given[name]:
                raise FsrcacheError(f"The spec has a split {split!r}, but there are no {name} of it.")
            values = given[name][split]
            if place.dtype == "string":  # not as an array, which may need four bytes a letter of the longest
                fits = len(values) == place.shape[0]
            else:
                fits = values.shape == place.shape and values.dtype == place.dtype
            if not fits:
                what = f"{getattr(values, 'dtype', 'texts')} {list(getattr(values, 'shape', [len(values)]))}"
                raise FsrcacheError(f"The {name} of {split} are {what}, not {place.dtype} {list(place.shape)}.")


def _refuse_other_content(name: str, there: StoreSpec, wanted: StoreSpec) -> None:
    if names := wanted.differences(there):
        stored, asked = there.compared(), wanted.compared()
        changes = "; ".join(f"{name} is {stored[name]!r} there and {asked[name]!r} now" for name in names)
        raise FsrcacheError(
            f"The store {name} is of other content: {changes}.",
            "Keep this work apart with --workspace, or remove the store to write it anew.",
        )


def _refuse_other_files(objects: Objects) -> None:
    """Refuse a place of something else: what no store's beginning leaves behind."""
    others = [key for key in objects.keys() if not (key.endswith(PARTIAL) or key.startswith(".writer-"))]  # noqa: SIM118
    if any(identity(objects.read(key)) for key in others if key.endswith("zarr.json")):
        raise FsrcacheError(
            f"{objects.name} holds a {KEY} store whose root is lost.", "`fsrcache verify STORE --repair` rewrites it."
        )
    if others:
        raise FsrcacheError(
            f"{objects.name} holds {len(others)} other things and no {KEY} store, {others[0]!r} for one.",
            "Name a folder that is empty or not there yet.",
        )
