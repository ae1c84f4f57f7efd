"""The first writes of a writer: the root and metadata as the spec says them, half-written files of its part gone."""

from collections.abc import Sequence

from fsrcache.store.blocks import Block
from fsrcache.store.inventory import Inventory
from fsrcache.store.layout import ROOT, arrays, outputs
from fsrcache.store.metadata import documents
from fsrcache.store.root import Root
from fsrcache.store.spec import StoreSpec


def begin_store(
    inventory: Inventory, spec: StoreSpec, *, root: Root | None, blocks: Sequence[Block], alone: bool
) -> None:
    """Write the metadata that are missing or others, and remove half-written files.

    Parameters
    ----------
    inventory
        Files of the store.
    spec
        What the store is about from now on.
    root
        What it says of itself so far; None for a new store.
    blocks
        Blocks of the writer's part.
    alone
        Whether the part is the whole store: then all half-written files go, else those of its blocks.

    Raises
    ------
    FsrcacheError
        If a document cannot be written.
    OSError
        If the storage fails otherwise.
    """
    keys = [key for array in arrays(spec) for key in array.keys]
    folders = {
        array.key(block).rpartition("/")[0]
        for split, scale, block in blocks
        for array in outputs(spec, split, scale=scale).values()
    }
    files = documents(spec)
    if root is None or root.spec != spec or (root.complete and not inventory.keys.issuperset(keys)):
        files = {ROOT: Root(spec).document(), **files}
    inventory.update(files)
    inventory.remove_partials(None if alone else folders)
