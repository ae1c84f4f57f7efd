"""What stands at a store's location: nothing, a store, or something else, which is refused."""

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, call
from fsrcache.store.differences import content_differences
from fsrcache.store.layout import ROOT
from fsrcache.store.metadata import KEY, MOST_BYTES
from fsrcache.store.objects import PARTIAL, Objects, location_of, storage_errors
from fsrcache.store.root import Root, identity, parse_root
from fsrcache.store.spec import SPLITS, StoreSpec
from fsrcache.workspace import Workspace

_APART = "write into another workspace or store, or remove this store to write it again."
APART = _APART.capitalize()


def read_root(objects: Objects) -> Root | None:
    """Return what the store at a location says of itself; None where there is no Zarr group.

    Raises
    ------
    FsrcacheError
        If something else is there, it cannot be read or is damaged, or it is of an unknown version.
    """
    remedy = "See that it can be reached and read."
    with storage_errors(f"{objects.name} cannot be read as a feature store", objects, remedy=remedy):
        data = objects.read(ROOT, most=MOST_BYTES)
    return None if data is None else parse_root(data, store=objects.name, location=location_of(objects))


def missing_store(objects: Objects) -> FsrcacheError:
    """Return the error for a location where no store is; only a workspace without data is asked for them."""
    writing = call("extract", store=location_of(objects), data=Blank("PATH"))
    if objects.folder is not None:
        workspace = Workspace(objects.folder.parent)
        if workspace.store == objects.folder and workspace.has_data:
            writing = call("extract", workspace=str(workspace.folder))
    return FsrcacheError(f"There is no feature store at {objects.name}.", Remedy("Write it first: `{}`.", writing))


def existing_store(objects: Objects, spec: StoreSpec) -> Root | None:
    """Return what the store of the same content says of itself, which may have other scales; None where nothing is.

    Raises
    ------
    RequestError
        If a store of other content is there.
    FsrcacheError
        If one that lost its root is there, or something else.
    """
    root = read_root(objects)
    if root is None:
        others = [key for key, entry in objects.entries().items() if entry != "folder" and not _passing(key)]
        if not others:
            return None
        root = read_root(objects)  # another part may have begun it in between
        if root is None:
            raise _no_store(objects, others)
    refuse_other_content(root, spec, store=objects.name)
    return root


def refuse_other_content(root: Root, spec: StoreSpec, *, store: str) -> None:
    """Raise a RequestError if a store of this name and root is of other content than a spec says."""
    if changes := content_differences(root.spec, spec):
        there, here = (one.recipe.get("degradation") for one in (root.spec, spec))
        again = f"Repeat the options that it was made with (form, border, JPEG), or {_APART}"
        remedy = APART if there == here else again
        raise RequestError(f"The store {store} is of other content: {'; '.join(changes)}.", remedy)


def _passing(key: str) -> bool:
    """Tell whether a file is half-written or a lock."""
    return key.endswith(PARTIAL) or key.startswith(".writer-")


def _no_store(objects: Objects, others: list[str]) -> FsrcacheError:
    if any(identity(objects.read(f"{split}/{ROOT}", most=MOST_BYTES)) for split in SPLITS):
        return FsrcacheError(
            f"{objects.name} holds a {KEY} store whose root is lost.",
            Remedy("`{}` rewrites it.", call("verify", store=location_of(objects), repair=True)),
        )
    return FsrcacheError(
        f"{objects.name} holds {len(others)} other things and no {KEY} store, {others[0]!r} for one.",
        "Name a folder that is empty or not there yet.",
    )
