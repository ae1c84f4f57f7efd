"""Recognises the layout of a path, and lists its pictures."""

from os import PathLike, fspath
from pathlib import Path
from types import ModuleType

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, arguments
from fsrcache.faces.layouts import (
    affectnet,
    affectnet_seven,
    drawn,
    expw,
    fer2013,
    fer2013_folders,
    ferplus,
    folders,
    rafdb,
    rafdb_folders,
    table,
)
from fsrcache.faces.layouts.rows import is_table, open_table
from fsrcache.faces.listing import Listing

# The first that recognises a path reads it. A new layout is a module and a line here.
LAYOUTS: tuple[ModuleType, ...] = (
    drawn,
    rafdb,
    affectnet,
    affectnet_seven,
    expw,
    ferplus,
    fer2013,
    fer2013_folders,
    rafdb_folders,
    folders,
    table,
)


def formats() -> tuple[str, ...]:
    """Return the names of the layouts, the values of ``--format``."""
    return tuple(layout.NAME for layout in LAYOUTS)


def list_faces(path: str | PathLike[str], *, layout: str | None = None, votes: str = "majority") -> Listing:
    """List the labelled faces at a path, without decoding any.

    Parameters
    ----------
    path
        Folder or file in one of the layouts, or ``drawn`` or ``drawn:COUNT`` for the built-in faces. As text,
        ``./drawn`` is a folder of that name; a ``Path`` forgets the ``./``, so make it absolute.
    layout
        Name of the layout, one of ``formats()``; None for the first that recognises the path.
    votes
        Rule that turns FERPlus's votes into labels: ``majority``, ``argmax`` or ``soft``.

    Returns
    -------
    Listing
        Names, labels and splits, and how to load each picture.

    Raises
    ------
    RequestError
        If there is nothing at the path, or a name of a layout or rule is unknown.
    FsrcacheError
        If no layout recognises the path, or something in it cannot be read or understood.
    """
    if not isinstance(path, str | PathLike) or not fspath(path) or "\0" in str(path):
        raise RequestError(f"The data are {path!r}.", "Pass the path of a folder or file, as text or as a Path.")
    if layout is not None and layout not in formats():
        raise RequestError(f"Format {layout!r} is not known.", f"Known: {', '.join(formats())}.")
    if votes not in ferplus.VOTES:
        raise RequestError(f"Votes {votes!r} are not known.", f"Known: {', '.join(ferplus.VOTES)}.")
    location = data_location(path)
    try:
        return _read(location, layout, votes)
    except OSError as error:
        raise FsrcacheError(
            f"{error.filename or location} cannot be read: {error.strerror or error}.",
            "Check the path and its permissions.",
        ) from None


def data_location(path: str | PathLike[str]) -> Path:
    """Return the path of data, absolute where it is a file or folder that is called as the drawn faces are."""
    location = Path(path)
    return location.absolute() if drawn.recognises(location) and str(path) != str(location) else location


def _read(path: Path, layout: str | None, votes: str) -> Listing:
    if not drawn.recognises(path) and not path.exists():
        raise RequestError(f"There is nothing at {path}.", "Name an existing folder or file.")
    reader = next((module for module in LAYOUTS if layout in (None, module.NAME) and module.recognises(path)), None)
    if reader is None and layout is not None:  # its own error names what is missing
        reader = _named(layout)
    if reader is None:
        known = ", ".join(f"{module.TITLE} [{module.NAME}]" for module in LAYOUTS)
        raise FsrcacheError(
            f"The layout of {path} is not recognised; {_contents(path)}.",
            Remedy(f"Understood: {known}; name one, `{{}}`.", arguments(layout=Blank("NAME"))),
        )
    listing: Listing = reader.read(path, votes=votes)
    return listing


def _contents(path: Path) -> str:
    """Return the content of a folder or a file in a few words."""
    if path.is_dir():
        return f"it holds {', '.join(sorted(child.name for child in path.iterdir())[:8]) or 'nothing'}"
    if is_table(path):
        return f"its columns are {', '.join(open_table(path).header)}"
    return f"it holds {path.name}"


def title_of(layout: str) -> str:
    """Return the name by which a person knows a layout."""
    title: str = _named(layout).TITLE
    return title


def _named(layout: str) -> ModuleType:
    return next(module for module in LAYOUTS if layout == module.NAME)
