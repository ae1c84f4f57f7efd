"""Writing a feature store, block by block, by one process or by several that each write a part."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import Blank, FsrcacheError, Remedy, arguments
from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.store.beginning import begin_additions, begin_store, other_additions
from fsrcache.store.blocks import Block, blocks_of_part, checked_part, missing_blocks, write_block
from fsrcache.store.columns import check_columns, name_hashes, write_columns
from fsrcache.store.completing import refuse_other_files, shard_seals
from fsrcache.store.existing import existing_store, read_root, refuse_other_content
from fsrcache.store.inventory import AGAIN, Inventory
from fsrcache.store.layout import ROOT, arrays
from fsrcache.store.lock import alone, other_writer, remove_stale_locks, writer_lock
from fsrcache.store.metadata import documents
from fsrcache.store.objects import objects_at, storage_errors
from fsrcache.store.root import Root
from fsrcache.store.spec import UNLABELLED, StoreSpec

if TYPE_CHECKING:
    from zarr.abc.store import Store


class FeatureWriter:
    """A store opened for writing: a new one, or one of the same content that goes on. Use it in a ``with``.

    A block of rows at a scale is the unit: one file in each array, whole or not there. In a local folder one writer
    holds a part at a time; elsewhere two writers of a block write the same bytes, and either may win, but those that
    write at one time must add the same scales and extra splits.

    Parameters
    ----------
    location
        The store's folder, which may be a link and below which none is followed, a URL that Zarr opens through fsspec,
        or a Zarr store. Files that a killed writer of this part left half-written are removed.
    spec
        What the store is about. Scales and extra splits that an existing store lacks are added to it; if it is
        complete, readers read it as it was until they are all written. Extra splits that the store has must be in the
        spec too.
    labels, ids, hashes
        Columns of every split, in the order of the rows: whole numbers ``[n]``, ``n`` names, uint8 ``[n, 16]`` of the
        pictures; without hashes, those of the names.
    part
        ``(i, n)``: this writer takes every n-th block of rows, from the i-th on, i from 1. Whoever finishes last
        completes the store.
    storage_options
        Options of fsspec, for a URL.

    Attributes
    ----------
    spec
        What the store is about, an existing store's scales included.
    name
        Location in words.
    resumed_from
        Number of this part's (split, scale, block) that existed when it was opened.
    removed
        Extra splits of which there was something, begun with other faces and never completed: it is removed.

    Raises
    ------
    FsrcacheError
        If the columns do not fit the spec, the store there is about something else, another process writes it, or it
        cannot be written.
    """

    def __init__(
        self,
        location: "str | PathLike[str] | Store",
        spec: StoreSpec,
        *,
        labels: Mapping[str, NDArray[np.integer[Any]]],
        ids: Mapping[str, Sequence[str] | NDArray[np.str_]],
        hashes: Mapping[str, NDArray[np.uint8]] | None = None,
        part: tuple[int, int] = (1, 1),
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        part = checked_part(part)
        hashes = hashes or {split: name_hashes(names) for split, names in ids.items()}
        columns: dict[str, Mapping[str, Any]] = {"labels": labels, "ids": ids, "hashes": hashes}
        check_columns(spec, columns)
        objects = objects_at(location, storage_options=storage_options)
        self._objects, self._columns = objects, columns
        self.name, self.part = objects.name, part
        with ExitStack() as held, storage_errors(f"The store {self.name} cannot be written", objects, remedy=AGAIN):
            root = existing_store(objects, spec)  # refused before anything is made
            if objects.folder:
                objects.folder.mkdir(parents=True, exist_ok=True)
            with alone(objects.folder) if objects.folder else nullcontext():  # of two that begin, one sees the other's
                holder = None
                if objects.folder:
                    held.enter_context(writer_lock(objects.folder, part))
                    holder = other_writer(objects.folder, part)
                    root = existing_store(objects, spec)  # as it is now that nobody else writes this part
                self.spec = spec if root is None else _with_scales_of(root, spec, store=self.name)
                self.removed = begin_additions(objects, self.spec, root=root, holder=holder)
                self._inventory = Inventory(objects)
                self._blocks = blocks_of_part(self.spec, part)
                self.resumed_from = len(self._blocks) - len(self.missing())
                begin_store(self._inventory, self.spec, root=root, blocks=self._blocks, alone=part == (1, 1))
            write_columns(self._inventory, self.spec, columns)
            self._held, self._closed = held.pop_all(), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        self._closed = True
        self._held.close()

    def rows(self, split: str, block: int) -> slice:
        """Return which rows of a split a block holds; the last block may be short."""
        return self.spec.rows_of(split, block)

    def missing(self) -> list[Block]:
        """Return the (split, scale, block) of this part not yet written, the scales of a block next to each other."""
        return missing_blocks(self.spec, self._blocks, self._inventory.keys)

    def write(
        self,
        split: str,
        scale: int,
        *,
        block: int,
        features: NDArray[np.floating],
        embeddings: NDArray[np.floating] | None = None,
        probabilities: NDArray[np.floating] | None = None,
        early: NDArray[np.floating] | None = None,
    ) -> None:
        """Write a block at a scale; a file of it that exists is left as it is.

        Parameters
        ----------
        split, scale, block
            The block.
        features, embeddings, probabilities, early
            Rows ``[rows, width]`` of the outputs that ``spec.widths`` names, each of them; all but probabilities are
            rounded to its dtype.

        Raises
        ------
        FsrcacheError
            If there is no such block, a shape does not fit, a number is not finite or becomes infinite in half
            precision (the message names the picture), or writing fails. Only then may anything have been written.
        """
        if self._closed:
            raise FsrcacheError(f"The writer of the store {self.name} is closed.", "Write inside its `with`.")
        values = {"features": features, "embeddings": embeddings, "probabilities": probabilities, "early": early}
        write_block(self._inventory, self.spec, (split, scale, block), values, ids=self._columns["ids"])

    def finish(self, on_progress: ProgressCallback = no_progress) -> bool:
        """Mark the store as complete if all parts are written, and return whether it is.

        Parameters
        ----------
        on_progress
            Called after every file that is checked.

        Raises
        ------
        FsrcacheError
            If blocks of this part are missing, a file is damaged or, of a complete store, another than its root says,
            or the storage fails.
        """
        folder = self._objects.folder
        held = alone(folder) if folder else nullcontext()  # of two that finish at once, the second finds it complete
        with storage_errors(f"The store {self.name} cannot be completed", self._objects, remedy=AGAIN), held:
            return self._complete(on_progress)

    def _complete(self, on_progress: ProgressCallback) -> bool:
        """Write the root of a complete store if nothing is missing, and return whether it is complete.

        While scales are added to a complete store, its root stays as it is until then. Where another process replaced
        it meanwhile, which only storage without locks allows, the work is done again with what that one added.
        """
        objects, self._inventory = self._objects, Inventory(self._objects)
        if missing := self.missing():
            split, scale, block = missing[0]
            raise FsrcacheError(
                f"The store {self.name} lacks {len(missing)} blocks, first block {block} of {split} at scale {scale}.",
                "Do the same again: what is missing is written.",
            )
        root = read_root(objects)
        if root is not None:
            refuse_other_content(root, self.spec, store=self.name)
        if others := other_additions(self._inventory, self.spec, root=root):
            raise FsrcacheError(
                f"Meanwhile another process began to add other faces of {', '.join(others)} to the store {self.name}.",
                "Wait for it or stop it, then do the same again.",
            )
        spec = self.spec if root is None else root.spec.with_additions(self.spec)  # other parts may have added some
        if root is not None and root.complete and root.spec == spec:
            return True
        if spec.extra.keys() > self.spec.extra.keys():  # whoever adds those completes the store
            return False
        if root is None or (not root.complete and root.spec != spec):
            root = Root(spec)
            objects.write(ROOT, root.document())
        if not self._inventory.holds(spec):
            return False
        written = write_columns(self._inventory, self.spec, self._columns)  # another part may have named its ids last
        digests = written | shard_seals(self._inventory, spec, on_progress)
        if root.complete:
            refuse_other_files(self._inventory, root, digests)
        self._inventory.remove_partials()
        self._inventory.update(documents(spec))
        shards = {array.name: [digests[key] for key in array.keys] for array in arrays(spec)}
        if read_root(objects) != root:
            return self._complete(on_progress)
        objects.write(ROOT, Root(spec, shards).document())
        if objects.folder:
            remove_stale_locks(objects.folder)
        return True


def _with_scales_of(root: Root, spec: StoreSpec, *, store: str) -> StoreSpec:
    """Return the spec with the scales that a store has beside its own; extra splits it must have itself."""
    if lacking := root.spec.extra.keys() - spec.extra.keys():
        views = (root.spec.extra.keys() | spec.extra.keys()) - {UNLABELLED}
        raise FsrcacheError(
            f"The store {store} has the extra splits {', '.join(root.spec.extra)}, and {', '.join(sorted(lacking))} "
            "are not among what is to be written.",
            Remedy(
                "Name as many views and the same faces without labels: `{}`.",
                arguments(views=len(views), unlabelled=Blank("PATH")),
            ),
        )
    return root.spec.with_additions(spec)


def unwritten(
    location: "str | PathLike[str] | Store", spec: StoreSpec, *, part: tuple[int, int] = (1, 1)
) -> tuple[StoreSpec, list[Block]]:
    """Return the spec that a ``FeatureWriter`` of the same arguments would have, and the blocks it would find missing.

    Nothing is written and nobody kept away. The errors are the writer's.
    """
    objects, part = objects_at(location), checked_part(part)
    with storage_errors(f"The store {objects.name} cannot be read", objects, remedy=AGAIN):
        root, inventory = existing_store(objects, spec), Inventory(objects)
        spec = spec if root is None else _with_scales_of(root, spec, store=objects.name)
        others = other_additions(inventory, spec, root=root).values()
        return spec, missing_blocks(spec, blocks_of_part(spec, part), inventory.keys.difference(*others))
