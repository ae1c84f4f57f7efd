"""Lists faces without labels: the pictures of a folder of any depth, or those of a layout, whose labels are ignored."""

from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from fsrcache.errors import FsrcacheError
from fsrcache.faces.index import LAYOUTS, data_location, list_faces
from fsrcache.faces.layouts import fer2013_folders, folders, rafdb_folders
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
    reader = next((layout for layout in LAYOUTS if layout.recognises(path)), None)
    walked = path.is_dir() and (reader is None or reader in _OF_FOLDERS)
    if reader is None and not walked and path.exists():
        raise FsrcacheError(
            f"The layout of {path} is not recognised.",
            "Faces without labels are a folder of pictures, or a file such as FER2013's CSV or a table of paths.",
        )
    listing = _walked(path) if walked else list_faces(path)
    zeros = np.zeros(len(listing.names), np.uint8)
    return replace(listing, classes=(LAYOUT,), labels=zeros, splits=zeros, mapping={}, notes=(), soft_labels=None)


def _walked(path: Path) -> Listing:
    """Return every picture below a folder."""
    left_out = LeftOut()
    entries = (("/".join(parts), LAYOUT, 0) for parts in walk_pictures(path, left_out))
    return file_listing(
        LAYOUT, path, entries=entries, understand=lambda names: dict.fromkeys(names, "neutral"), left_out=left_out
    )
