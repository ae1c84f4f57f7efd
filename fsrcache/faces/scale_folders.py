"""Faces as files in a folder a scale, DIR/x4/NAME.png: small ones for other programs, enlarged ones back from them."""

import re
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.walk import on_disk

_SUFFIX = ".png"
_FOLDER = re.compile(r"x([1-9][0-9]?)")


def picture_path(folder: Path, scale: int, name: str) -> Path:
    """Return the path of a face at a scale: its name in the data with ``.png`` behind it, whatever it ends in.

    An absolute name, as a table of paths may have it, is there without its root: ``DIR/x4/home/me/a.jpg.png``.

    Raises
    ------
    FsrcacheError
        If the name leads out of the folder, as one with ``..`` does.
    """
    path = Path(on_disk(name))
    relative = path.relative_to(path.anchor)
    if ".." in relative.parts:
        raise FsrcacheError(
            f"The face {name} has a name that leads out of a folder.",
            "Write its path without '..' in the data's table, relative to that or absolute, and extract the data anew.",
        )
    return folder / f"x{scale}" / relative.with_name(relative.name + _SUFFIX)


def existing_picture(folder: Path, scale: int, name: str) -> Path | None:
    """Return the file of a face at a scale, the name as it is being right too; None where there is none."""
    path = picture_path(folder, scale, name)
    plain = path.with_name(path.name.removesuffix(_SUFFIX))
    return next((one for one in (path, plain) if one.is_file()), None)


def scales_in(folder: Path) -> list[int]:
    """Return the scales that a folder has folders of, ascending."""
    matches = (_FOLDER.fullmatch(child.name) for child in folder.iterdir() if child.is_dir())
    return sorted(int(match[1]) for match in matches if match)
