"""The first writes of a writer: the root and metadata of a store, and no half-written files of its part."""

from collections.abc import Sequence

from fsrcache.store.blocks import Block
from fsrcache.store.inventory import Inventory
from fsrcache.store.layout import ROOT, outputs
from fsrcache.store.metadata import documents, split_document
from fsrcache.store.root import Root
from fsrcache.store.spec import StoreSpec


def begin_store(
    inventory: Inventory, spec: StoreSpec, *, root: Root | None, blocks: Sequence[Block], alone: bool
) -> None:
    """Write the metadata that are missing or others, and remove half-written files.

    A complete store stays as it is for its readers while scales or extra splits are added: their metadata come last,
    with its new root, but for the documents of added splits, which say what they are about.

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
    folders = {
        array.key(block).rpartition("/")[0]
        for split, scale, block in blocks
        for array in outputs(spec, split, scale=scale).values()
    }
    stays = root is not None and (inventory.holds(root.spec) if root.complete else root.spec == spec)
    if root is None or not stays:
        root = Root(spec)
    added = spec.extra.keys() - root.spec.extra.keys()
    inventory.update({ROOT: root.document(), **documents(root.spec)})
    inventory.update({f"{split}/{ROOT}": split_document(spec, split) for split in sorted(added)})
    inventory.remove_partials(None if alone else folders)
