"""The native sizes of a split's faces, from the workspace's data: a store has them at the extractor's side alone."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsrcache.ahead import ordered_map
from fsrcache.errors import Blank, FsrcacheError, Remedy, call
from fsrcache.faces.index import list_faces
from fsrcache.progress import ProgressCallback, counted
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace


def native_sizes_of(
    workspace: Workspace, store: FeatureStore, split: str, *, on_progress: ProgressCallback
) -> NDArray[np.int32]:
    """Return the longer sides of a split's faces in the workspace's data, in pixels, int32 [n] in the store's order.

    Raises
    ------
    FsrcacheError
        If the pictures are not at hand, or not those of the store.
    """
    data = workspace.data()
    if data is None:
        raise FsrcacheError(f"{workspace.folder} remembers no pictures.", "Name them in an extraction.")
    if not data.drawn and not Path(data.path).exists():
        raise FsrcacheError(
            f"The faces' own sizes are not known: nothing is at {data.path} any more.",
            Remedy(
                "If they were moved, name their new path once: `{}`.",
                call("extract", workspace=str(workspace.folder), data=Blank("PATH")),
            ),
        )
    listing = list_faces(Path(data.path), layout=data.layout, votes=data.votes)
    rows = {name: number for number, name in enumerate(map(str, listing.names))}
    names = [str(name) for name in store.ids(split)]
    if missing := [name for name in names if name not in rows]:
        raise FsrcacheError(f"The data have no picture {missing[0]} as the store has.", "Extract the data again.")
    pictures = ordered_map(listing.load, (rows[name] for name in names))
    sides = [max(one.shape[:2]) for one in counted(pictures, "sizes of faces", "faces", on_progress, total=len(names))]
    return np.array(sides, np.int32)
