"""The faces that a verb works on: which data, how many of them, and reading them."""

from contextlib import suppress
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, arguments
from fsrcache.faces.faces import Faces, usable_faces
from fsrcache.faces.index import list_faces, title_of
from fsrcache.faces.limit import limited
from fsrcache.faces.listing import Listing
from fsrcache.files import as_path
from fsrcache.progress import Progress, ProgressCallback, note
from fsrcache.records import shortened
from fsrcache.store.differences import face_differences
from fsrcache.store.existing import read_root
from fsrcache.store.objects import objects_at
from fsrcache.store.spec import StoreSpec
from fsrcache.workspace import Data, Workspace

BUILT_IN = Data("drawn:14000")


def choose_data(
    workspace: Workspace,
    data: Data | str | PathLike[str] | None,
    *,
    on_progress: ProgressCallback,
    any_limit: bool = False,
) -> Data:
    """Return the data that were named, else those that the workspace remembers, else the drawn faces.

    Data that were named without a limit get the one that the workspace remembers, unless any is allowed.

    Parameters
    ----------
    workspace
        The workspace, whose remembered data are read if none were named.
    data
        A folder or file, ``drawn`` or ``drawn:COUNT``; ``Data`` has its layout and more too.
    on_progress
        Called with a note if the drawn faces are the choice of nobody, or the limit is a remembered one.
    any_limit
        Whether the limit may be another than that of the workspace's store and pre-training.

    Raises
    ------
    RequestError
        If ``data`` is nothing of the kind, or of another limit, or nothing is where the workspace remembers them.
    FsrcacheError
        If what the workspace remembers cannot be read.
    """
    if isinstance(data, str | PathLike):
        data = Data(fspath(data))
    if isinstance(data, Data):
        data = data if data.drawn else replace(data, path=str(absolute_path(data.path)))
        return _with_limit(workspace, data, any_limit=any_limit, on_progress=on_progress)
    if data is not None:
        raise RequestError(f"The data are {shortened(data)}.", "Name a folder, a file, or drawn:COUNT.")
    remembered = workspace.data()
    if remembered is None:
        where = f"{workspace.folder} remembers none" if workspace.folder.is_dir() else f"{workspace.folder} is new"
        on_progress(note(f"No data are named, and {where}: using the built-in drawn faces."))
        return BUILT_IN
    if is_gone(remembered):
        raise RequestError(
            f"The workspace {workspace.folder} remembers its data at {remembered.in_words}, and nothing is there.",
            Remedy("If they were moved, name their new path once: `{}`.", arguments(data=Blank("PATH"))),
        )
    return remembered


def is_gone(data: Data) -> bool:
    """Tell whether nothing is at the path of data; what cannot be reached is not gone."""
    try:
        return not data.drawn and not Path(data.path).exists()
    except OSError:
        return False


def has_store_of(workspace: Workspace, spec: StoreSpec, data: Data) -> bool:
    """Tell whether a workspace has a store of some faces, complete or not; a store of other faces is refused.

    Parameters
    ----------
    workspace
        The workspace.
    spec
        What a store of the faces is about.
    data
        The faces' path, for the error.

    Raises
    ------
    RequestError
        With the numbers of faces of both, the classes where they differ, and both paths.
    """
    objects = objects_at(workspace.store)
    root = read_root(objects)
    if root is None:
        return False
    if changes := "; ".join(face_differences(root.spec, spec)):
        raise RequestError(
            f"The store {objects.name} was not made from {data.in_words}: {changes}.{_memory(workspace, data)}",
            Remedy(
                "Name the data that the store was made from, or work on these in another workspace: `{}`.",
                arguments(workspace=Blank("DIR")),
            ),
        )
    return True


def _memory(workspace: Workspace, data: Data) -> str:
    """Return a sentence on which data a workspace remembers, if others."""
    with suppress(FsrcacheError):
        remembered = workspace.data()
        if remembered not in (None, data):
            assert remembered is not None
            gone = ", where nothing is" if is_gone(remembered) else ""
            return f" The workspace remembers {remembered.in_words}{gone}."
    return ""


def _with_limit(workspace: Workspace, data: Data, *, any_limit: bool, on_progress: ProgressCallback) -> Data:
    """Return the data with the limit that the workspace remembers where they have none; refuse another one."""
    remembered = None
    with suppress(FsrcacheError):  # naming the data again is the remedy
        remembered = workspace.data()
    if remembered is None or remembered.limit == data.limit:
        return data
    held = [] if any_limit else _held(workspace)
    if data.limit is None and not any_limit and (held or remembered.path == data.path):
        on_progress(note(f"{workspace.folder} remembers the limit {remembered.limit:,}."))
        return replace(data, limit=remembered.limit)
    if held:
        extent = "all faces" if remembered.limit is None else f"at most {remembered.limit:,} faces a split"
        raise RequestError(
            f"{workspace.folder} has {' and '.join(held)} of {extent}; the limit is {data.limit:,} now.",
            Remedy(
                "Use a workspace of its own for each: `{}`. Without a limit, that one goes on.",
                arguments(workspace=Blank("DIR")),
            ),
        )
    return data


def _held(workspace: Workspace) -> list[str]:
    """Return in words what the workspace has that was made from its faces."""
    held = ["a pre-training"] if any(workspace.pretraining.glob("*.safetensors")) else []
    return [*held, "a store"] if workspace.store.exists() else held


def remember_beginning(workspace: Workspace, data: Data) -> None:
    """Keep the data of work that begins, so that it goes on with the same, unless there is work on others."""
    if not workspace.has_data or not _held(workspace):
        workspace.remember(data)


def absolute_path(path: str | PathLike[str]) -> Path:
    """Return a path from the root, ``~`` being the home folder.

    Raises
    ------
    RequestError
        If it is no path, or there is no such home folder.
    """
    return as_path(path).absolute()


def read_faces(data: Data, *, on_progress: ProgressCallback, side: int | None = None) -> tuple[Faces, str]:
    """Return the usable faces at a side, and the data in one line without names that may change.

    Notes say what the reader should know of the data: no split, what is left out, stretched or converted.
    """
    on_progress(Progress(f"listing {Path(data.path).name}", 0, 1, "files"))
    listing = limited(list_faces(Path(data.path), layout=data.layout, votes=data.votes), data.limit)
    faces = faces_of_listing(listing, side=side, on_error=data.on_error, on_progress=on_progress)
    limit = "" if data.limit is None else f", at most {data.limit:,} faces a split"
    return faces, f"{title_of(listing.layout)}{limit}"


def faces_of_listing(listing: Listing, *, side: int | None, on_error: str, on_progress: ProgressCallback) -> Faces:
    """Return the usable faces of a listing at a side, with notes on what the reader should know of them."""
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if done % 100 == 0:
            on_progress(Progress("reading", done, len(listing.names), "pictures"))

    for text in listing.notes:
        on_progress(note(text))
    for reason, count in listing.left_out.items():
        on_progress(note(f"Left out: {count:,} ({reason})."))
    faces = usable_faces(listing, side=side, on_error=on_error, advance=advance)
    for text in faces.notes:
        on_progress(note(text))
    for what, count in faces.seen.conversions.items():
        on_progress(note(f"Converted: {count:,} ({what})."))
    return faces
