"""Lists faces without labels: the pictures of a folder of any depth, or those of a layout, whose labels are ignored."""

from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from fsrcache.errors import FsrcacheError
from fsrcache.faces.index import LAYOUTS, data_location, list_faces
from fsrcache.faces.layouts import fer2013, fer2013_folders, ferplus, folders, rafdb_folders, table
from fsrcache.faces.listing import Listing, file_listing
from fsrcache.faces.walk import LeftOut, walk_pictures

LAYOUT = "unlabelled"
_OF_FOLDERS = (fer2013_folders, rafdb_folders, folders)  # which say nothing of a picture but its class


def list_unlabelled(path: str | PathLike[str]) -> Listing:
    """List the faces at a path under one class, ``unlabelled``, all of them train; nothing is decoded.

    Parameters
    ----------
    path
        A folder; or a file or folder in one of the layouts that crop or unpack their faces, or ``drawn:COUNT``.

    Raises
    ------
    RequestError
        If there is nothing at the path.
    FsrcacheError
        If it is a file of no layout, or something in it cannot be read.
    """
    path = data_location(path)
    try:
        listing = _listed(path)
    except OSError as error:
        raise FsrcacheError(
            f"{error.filename or path} cannot be read: {error.strerror or error}.",
            "Check the path and its permissions.",
        ) from None
    zeros = np.zeros(len(listing.names), np.uint8)
    return replace(listing, classes=(LAYOUT,), labels=zeros, splits=zeros, mapping={}, notes=(), soft_labels=None)


def _listed(path: Path) -> Listing:
    reader = next((layout for layout in LAYOUTS if layout.recognises(path)), None)
    if path.is_dir() and (reader is None or reader in _OF_FOLDERS):
        left_out = LeftOut()
        pictures = ("/".join(parts) for parts in walk_pictures(path, left_out))
        return _files(path, pictures, left_out=left_out)
    if reader in (None, table) and table.has_paths(path):
        return _files(path.parent, table.paths(path))
    if reader is None and path.exists():
        raise FsrcacheError(
            f"The layout of {path} is not recognised.",
            "Faces without labels are a folder of pictures, or a file such as FER2013's CSV or a table with the column "
            "path.",
        )
    if files := ferplus.files_of(path):
        return list_faces(files[0], layout=fer2013.NAME)  # votes would leave some out
    return list_faces(path)


def _files(root: Path, names: Iterable[str], *, left_out: LeftOut | None = None) -> Listing:
    entries = ((name, LAYOUT, 0) for name in names)
    return file_listing(
        LAYOUT, root, entries=entries, understand=lambda classes: dict.fromkeys(classes, "neutral"), left_out=left_out
    )
