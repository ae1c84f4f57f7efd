"""``verify``: check every file of a feature store, and remove what is damaged where that is asked for."""

from os import PathLike
from typing import TYPE_CHECKING

from fsrcache.progress import ProgressCallback, no_progress
from fsrcache.store import verify as checking
from fsrcache.store.verify import Verdict
from fsrcache.workspace import Workspace, existing_workspace, refuse_workspace

if TYPE_CHECKING:
    from zarr.abc.store import Store


def verify(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    store: "str | PathLike[str] | Store | None" = None,
    repair: bool = False,
    on_progress: ProgressCallback = no_progress,
) -> Verdict:
    """Read everything in a feature store and return what is not as it was written.

    Parameters
    ----------
    workspace
        Workspace, or its folder, whose store is meant unless ``store`` names another.
    store
        Location as for ``FeatureStore``; the store may be incomplete.
    repair
        Whether to remove exactly the damaged files and to rewrite damaged metadata, so that the next extraction
        completes the store. The result is the verdict before that.
    on_progress
        Called after every file.

    Raises
    ------
    RequestError
        If there is no such workspace, or ``store`` is one.
    FsrcacheError
        If there is no store, or too little is left of its metadata to know what should be there.
    """
    refuse_workspace(store, verb="verify")
    location = existing_workspace(workspace).store if store is None else store
    return (checking.repair if repair else checking.verify)(location, on_progress=on_progress)
