"""The faces that a verb works on: which data, and reading them."""

from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path

from fsrcache.errors import RequestError
from fsrcache.faces.faces import Faces, usable_faces
from fsrcache.faces.index import list_faces, title_of
from fsrcache.progress import Progress, ProgressCallback, note
from fsrcache.records import shortened
from fsrcache.workspace import Data, Workspace

BUILT_IN = Data("drawn:4200")


def choose_data(
    workspace: Workspace, data: Data | str | PathLike[str] | None, *, on_progress: ProgressCallback
) -> Data:
    """Return the data that were named, else those that the workspace remembers, else the drawn faces.

    Parameters
    ----------
    workspace
        The workspace, whose remembered data are read if none were named.
    data
        A folder or file, ``drawn`` or ``drawn:COUNT``; ``Data`` has its layout and more too.
    on_progress
        Called with a note if the drawn faces are the choice of nobody.

    Raises
    ------
    RequestError
        If ``data`` is nothing of the kind.
    FsrcacheError
        If what the workspace remembers cannot be read.
    """
    if isinstance(data, str | PathLike):
        data = Data(fspath(data))
    if isinstance(data, Data):
        return data if data.drawn else replace(data, path=str(absolute_path(data.path)))
    if data is not None:
        raise RequestError(f"The data are {shortened(data)}.", "Name a folder, a file, or drawn:COUNT.")
    remembered = workspace.data()
    if remembered is None:
        on_progress(note(f"No --data, and {workspace.folder} remembers none: using the built-in drawn faces."))
    return remembered or BUILT_IN


def absolute_path(path: str | PathLike[str]) -> Path:
    """Return a path from the root, ``~`` being the home folder.

    Raises
    ------
    RequestError
        If there is no such home folder.
    """
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        raise RequestError(f"There is no home folder for {shortened(fspath(path))}.", "Name the whole path.") from None


def read_faces(data: Data, *, on_progress: ProgressCallback, side: int | None = None) -> tuple[Faces, str]:
    """Return the usable faces at a side, and the data in one line without names that may change.

    Notes say what the reader should know of the data: no split, what is left out, what is converted.
    """
    listing = list_faces(Path(data.path), layout=data.layout, votes=data.votes)
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
    faces = usable_faces(listing, side=side, on_error=data.on_error, advance=advance)
    for what, count in faces.seen.conversions.items():
        on_progress(note(f"Converted: {count:,} ({what})."))
    return faces, title_of(listing.layout)
