"""Finds out which layout a path has, and lists its pictures."""

from pathlib import Path
from types import ModuleType

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces.layouts import (
    drawn,
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

# The first that recognises a path reads it.
LAYOUTS: tuple[ModuleType, ...] = (
    drawn,
    rafdb,
    ferplus,
    fer2013,
    fer2013_folders,
    rafdb_folders,
    folders,
    table,
)
FORMATS = tuple(layout.NAME for layout in LAYOUTS)


def list_faces(path: str | Path, *, layout: str | None = None, votes: str = "majority") -> Listing:
    """List the labelled faces at a path, without decoding any.

    Parameters
    ----------
    path
        A folder or file in one of the layouts, or ``drawn`` or ``drawn:COUNT`` for the built-in faces. As text,
        ``./drawn`` is a folder of that name; a ``Path`` forgets the ``./``, so make it absolute.
    layout
        One of ``FORMATS``; found out from the path where None.
    votes
        How FERPlus's votes become labels: ``majority``, ``argmax`` or ``soft``.

    Raises
    ------
    RequestError
        If there is nothing at the path, or no such layout.
    FsrcacheError
        If the path has no layout that is known, or something in it cannot be read or understood.
    """
    if not isinstance(path, str | Path) or not str(path) or "\0" in str(path):
        raise RequestError(f"The data are {path!r}.", "Give the path of a folder or file, as text or as a Path.")
    if layout is not None and layout not in FORMATS:
        raise RequestError(f"Format {layout!r} is not known.", f"Known: {', '.join(FORMATS)}.")
    if votes not in ferplus.VOTES:
        raise RequestError(f"Votes {votes!r} are not known.", f"Known: {', '.join(ferplus.VOTES)}.")
    place = Path(path)
    if drawn.recognises(place) and str(path) != str(place):
        place = place.absolute()
    try:
        return _read(place, layout, votes)
    except OSError as error:
        raise FsrcacheError(
            f"{error.filename or place} cannot be read: {error.strerror or error}.",
            "Check the path and its permissions.",
        ) from None


def _read(path: Path, layout: str | None, votes: str) -> Listing:
    if not drawn.recognises(path) and not path.exists():
        raise RequestError(f"There is nothing at {path}.", "Give an existing folder or file.")
    reader = next((module for module in LAYOUTS if layout in (None, module.NAME) and module.recognises(path)), None)
    if reader is None and layout is not None:  # let the one that was named say what it misses
        reader = LAYOUTS[FORMATS.index(layout)]
    if reader is None:
        known = ", ".join(f"{module.TITLE} [{module.NAME}]" for module in LAYOUTS)
        raise FsrcacheError(
            f"The layout of {path} is not recognised; {_contents(path)}.",
            f"Understood: {known}; name one with --format.",
        )
    listing: Listing = reader.read(path, votes=votes)
    return listing


def _contents(path: Path) -> str:
    """Return in a few words what there is in a folder or a file."""
    if path.is_dir():
        return f"it holds {', '.join(sorted(child.name for child in path.iterdir())[:8]) or 'nothing'}"
    if is_table(path):
        return f"its columns are {', '.join(open_table(path).header)}"
    return f"it holds {path.name}"


def title_of(layout: str) -> str:
    """Return the name by which a person knows a layout."""
    title: str = LAYOUTS[FORMATS.index(layout)].TITLE
    return title
