"""The native sizes of a split's faces, from the workspace's data: a store has them at the extractor's side alone."""

import numpy as np
from numpy.typing import NDArray

from fsrcache.faces.decode import Pictures
from fsrcache.progress import ProgressCallback, counted
from fsrcache.store.reader import FeatureStore
from fsrcache.verbs.pictures import mapped_pictures
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
    numbers = range(store.spec.count(split))
    sides = mapped_pictures(workspace, store, split, numbers, change=_longer_side)
    return np.array([*counted(sides, "sizes of faces", "faces", on_progress, total=len(numbers))], np.int32)


def _longer_side(picture: Pictures) -> int:
    return int(max(picture.shape[:2]))
