"""The splits that only trainings read: which of them an extraction writes, and reading the faces without labels."""

from dataclasses import replace
from os import PathLike, fspath
from typing import Annotated

from fsrcache.errors import Blank, Remedy, RequestError, arguments
from fsrcache.faces.faces import Faces
from fsrcache.faces.limit import limited
from fsrcache.faces.unlabelled import list_unlabelled
from fsrcache.progress import ProgressCallback, note
from fsrcache.records import Between, check_value, shortened
from fsrcache.split_names import MOST_VIEWS
from fsrcache.store.existing import read_root
from fsrcache.store.objects import objects_at
from fsrcache.store.spec import UNLABELLED
from fsrcache.verbs.data import absolute_path, faces_of_listing, is_gone
from fsrcache.workspace import Data, Workspace

_Views = Annotated[int, Between(0, MOST_VIEWS)]


def choose_extra(
    workspace: Workspace,
    store: str | PathLike[str] | None,
    *,
    views: int,
    unlabelled: Data | str | PathLike[str] | None,
    data: Data,
) -> tuple[int, Data | None]:
    """Return the number of views of a store and its faces without labels: those asked for, and those that it has.

    Parameters
    ----------
    workspace
        The workspace, which remembers where the faces without labels are.
    store
        The store; None for the workspace's.
    views
        Number of views.
    unlabelled
        Faces without labels; None for those of the store.
    data
        The labelled data, whose limit and treatment of unusable pictures count for faces that only a path names.

    Raises
    ------
    RequestError
        If the number of views is out of range, the faces are named by no path, or nothing is where the workspace
        remembers them.
    FsrcacheError
        If the store or what the workspace remembers cannot be read.
    """
    check_value(_Views, views, name="views")
    if not isinstance(unlabelled, Data | str | PathLike | None):
        raise RequestError(f"The faces without labels are {shortened(unlabelled)}.", "Name a folder or a file.")
    root = read_root(objects_at(store or workspace.store))
    there = [] if root is None else [*root.spec.extra]
    if unlabelled is None and UNLABELLED in there and store is None:  # of one elsewhere nothing is remembered
        unlabelled = _remembered(workspace)
    if isinstance(unlabelled, str | PathLike):
        unlabelled = Data(fspath(unlabelled), on_error=data.on_error, limit=data.limit)
    if unlabelled is not None and not unlabelled.drawn:
        unlabelled = replace(unlabelled, path=str(absolute_path(unlabelled.path)))
    return max(views, sum(split != UNLABELLED for split in there)), unlabelled


def _remembered(workspace: Workspace) -> Data | None:
    """Return the faces without labels that the workspace remembers, unless nothing is there any more."""
    data = workspace.unlabelled()
    if data is not None and is_gone(data):
        raise RequestError(
            f"The workspace {workspace.folder} remembers the faces without labels of its store at {data.in_words}, "
            "and nothing is there.",
            Remedy("If they were moved, name their new path once: `{}`.", arguments(unlabelled=Blank("PATH"))),
        )
    return data


def read_unlabelled(data: Data | None, *, side: int, labelled: Faces, on_progress: ProgressCallback) -> Faces | None:
    """Return the usable faces without labels at a side; None where no data are named."""
    if data is None:
        return None
    listing = limited(list_unlabelled(data.path), data.limit)
    faces = faces_of_listing(listing, side=side, on_error=data.on_error, on_progress=on_progress)
    known = {picture_hash.tobytes() for picture_hash in labelled.hashes}
    if twins := sum(picture_hash.tobytes() in known for picture_hash in faces.hashes):
        on_progress(note(f"Left out: {twins:,} of {len(faces.rows):,} faces without labels (among the labelled ones)."))
    return faces
