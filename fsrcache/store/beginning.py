"""The first writes of a writer: the root and metadata of a store, and no files of half a write or of other faces."""

from collections.abc import Sequence

from fsrcache.errors import FsrcacheError
from fsrcache.store.blocks import Block
from fsrcache.store.inventory import Inventory
from fsrcache.store.layout import ROOT, outputs
from fsrcache.store.metadata import MOST_BYTES, documents, split_document
from fsrcache.store.objects import Objects
from fsrcache.store.root import Root
from fsrcache.store.spec import StoreSpec


def begin_store(
    inventory: Inventory, spec: StoreSpec, *, root: Root | None, blocks: Sequence[Block], alone: bool
) -> None:
    """Write the metadata that are missing or others, and remove half-written files.

    A complete store stays as it is for its readers while scales or extra splits are added: their metadata come last,
    with its new root, but for the documents of added splits (``begin_additions``), which say what they are about.

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
        inventory.update({ROOT: root.document()})
    inventory.update(documents(root.spec))  # without the root: another process may have completed it since it was read
    inventory.remove_partials(None if alone else folders)


def other_additions(inventory: Inventory, spec: StoreSpec, *, root: Root | None) -> dict[str, list[str]]:
    """Return the files of extra splits that somebody began to add with other faces, by split.

    Nothing refers to them: a root names a split once all of it is there.

    Parameters
    ----------
    inventory
        Files of the store.
    spec
        What the store is to be about, these splits included.
    root
        What it says of itself so far; None for a new store.
    """
    files = {split: inventory.below(split) for split in _added(spec, root)}
    return {
        split: keys
        for split, keys in files.items()
        if keys and inventory.read(f"{split}/{ROOT}", MOST_BYTES) != split_document(spec, split)
    }


def begin_additions(objects: Objects, spec: StoreSpec, *, root: Root | None, holder: str | None) -> list[str]:
    """Write what the added extra splits are about; return those begun with other faces, which are removed before.

    Where another part has written it, nothing is listed: many parts may begin at once, one after another.

    Parameters
    ----------
    objects
        Files of the store.
    spec, root
        As for ``other_additions``.
    holder
        Who writes another part of the store at this moment, in words; None if nobody does.

    Raises
    ------
    FsrcacheError
        If there are such splits while somebody else writes, or a document cannot be written.
    OSError
        If the storage fails otherwise.
    """
    added = {f"{split}/{ROOT}": split_document(spec, split) for split in _added(spec, root)}
    if all(objects.read(key, most=MOST_BYTES) == document for key, document in added.items()):
        return []
    inventory = Inventory(objects)
    others = other_additions(inventory, spec, root=root)
    if others and holder is not None:
        raise FsrcacheError(
            f"{inventory.name} is being written by {holder}, with other faces of {', '.join(others)}.",
            "Wait for it or stop it, then do the same again.",
        )
    for split, keys in others.items():
        inventory.remove(sorted(keys, key=lambda key: key == f"{split}/{ROOT}"))  # what tells whose they are is last
    inventory.update(added)
    return [*others]


def _added(spec: StoreSpec, root: Root | None) -> list[str]:
    """Return the extra splits that a store of this root is to get, sorted; none of a new store."""
    return [] if root is None else sorted(spec.extra.keys() - root.spec.extra.keys())
