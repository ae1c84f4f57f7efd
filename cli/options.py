"""Options that several commands share, and the values they take."""

import re
from pathlib import Path
from typing import Any

import click

from fsrcache.errors import FsrcacheError


def parse_scales(ctx: click.Context | None, param: click.Parameter | None, value: str | None) -> list[int] | None:
    """Return the scales that an option's text means: integers 1..16, ``2..8``, ``2,4,8`` or ``1..4,8``, ascending."""
    if value is None:
        return None
    scales: list[int] = []
    for part in value.split(","):
        match = re.fullmatch(r"([0-9]{1,2})(?:\.\.([0-9]{1,2}))?", part.strip())
        if match is None:
            raise click.BadParameter(f"{value!r} is no list of scales; write 2..8 or 2,4,8.", ctx, param)
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise click.BadParameter(f"{part!r} goes down; write {last}..{first}.", ctx, param)
        scales.extend(range(first, last + 1))
    if not 1 <= min(scales) <= max(scales) <= 16:
        raise click.BadParameter(f"{value!r} goes beyond the scales 1..16.", ctx, param)
    if scales != sorted(set(scales)):
        raise click.BadParameter(f"{value!r} does not ascend.", ctx, param)
    return scales


def write_picture(picture: Any, path: Path) -> None:  # a PIL image, not imported here
    """Write a picture by its suffix; a folder or format that does not exist is an error."""
    try:
        picture.save(path)
    except (OSError, ValueError) as error:
        raise FsrcacheError(f"{path} cannot be written: {error}.", "Name a .png in a folder that exists.") from None
