"""``info``: what a feature store holds, from its metadata alone."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from fsrcache.store.existing import missing_store, read_root
from fsrcache.store.layout import arrays
from fsrcache.store.metadata import documents
from fsrcache.store.objects import objects_at, storage_errors
from fsrcache.store.spec import StoreSpec
from fsrcache.workspace import Workspace, existing_workspace, refuse_workspace

if TYPE_CHECKING:
    from zarr.abc.store import Store


@dataclass(frozen=True)
class ArrayInfo:
    """One array of a store.

    Attributes
    ----------
    shape
        ``[n]`` or ``[n, width]``.
    dtype
        Type of a value, as Zarr spells it.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class StoreInfo:
    """What a store's metadata say.

    Attributes
    ----------
    store
        Location in words, without credentials.
    complete
        Whether everything is written.
    spec
        What the store is about.
    blocks
        Number of blocks of rows, at all scales.
    files, files_there
        Number of files that hold values when everything is written, and of those there now.
    objects
        Number of files of a complete store, metadata included.
    bytes
        Size of the values' files when everything is written, without the pictures' names.
    arrays
        Every array by its path in the store.
    """

    store: str
    complete: bool
    spec: StoreSpec
    blocks: int
    files: int
    files_there: int
    objects: int
    bytes: int
    arrays: Mapping[str, ArrayInfo]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values; ``files_there`` only of an incomplete store."""
        there = {} if self.complete else {"files_there": self.files_there}
        return {
            "store": self.store,
            "complete": self.complete,
            **self.spec.to_dict(),
            "digest": self.spec.digest,
            "blocks": self.blocks,
            "files": self.files,
            "objects": self.objects,
            "bytes": self.bytes,
            "arrays": {name: {**asdict(array), "shape": list(array.shape)} for name, array in self.arrays.items()},
            **there,
        }


def info(
    workspace: Workspace | str | PathLike[str] = "fsr", store: "str | PathLike[str] | Store | None" = None
) -> StoreInfo:
    """Return what a feature store holds; only its metadata are read.

    Parameters
    ----------
    workspace
        Workspace, or its folder, whose store is meant unless ``store`` names another.
    store
        Location as for ``FeatureStore``; the store may be incomplete.

    Raises
    ------
    RequestError
        If there is no such workspace, or ``store`` is one.
    FsrcacheError
        If there is no store, something else is there, or its metadata are damaged or of an unknown version.
    """
    refuse_workspace(store, verb="info")
    objects = objects_at(existing_workspace(workspace).store if store is None else store)
    root = read_root(objects)
    if root is None:
        raise missing_store(objects)
    spec, every = root.spec, arrays(root.spec)
    keys = [key for array in every for key in array.keys]
    there = len(keys)
    if not root.complete:
        with storage_errors(f"The store {objects.name} cannot be listed", objects, remedy="See that it can be read."):
            there = len(set(objects.keys()).intersection(keys))
    return StoreInfo(
        store=objects.name,
        complete=root.complete,
        spec=spec,
        blocks=sum(map(spec.blocks, spec.every_split)) * len(spec.scales),
        files=len(keys),
        files_there=there,
        objects=1 + len(documents(spec)) + len(keys),
        bytes=sum(array.nbytes for array in every),
        arrays={array.name: ArrayInfo(array.shape, array.dtype) for array in every},
    )
