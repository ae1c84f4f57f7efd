"""Options that several commands share, and the values they take."""

import re
from pathlib import Path
from typing import Any

import click

from fsrcache.errors import FsrcacheError


class Scales(click.ParamType[list[int]]):
    """Integers 1..16 as an ascending list of numbers and ranges: ``2..8``, ``2,4,8``, ``1..4,8``."""

    name = "scales"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Return the scales as a list."""
        if isinstance(value, list):
            return value
        scales: list[int] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"([0-9]{1,2})(?:\.\.([0-9]{1,2}))?", part.strip())
            if match is None:
                self.fail(f"{value!r} is no list of scales; write 2..8 or 2,4,8.", param, ctx)
            first, last = int(match[1]), int(match[2] or match[1])
            if first > last:
                self.fail(f"{part!r} goes down; write {last}..{first}.", param, ctx)
            scales.extend(range(first, last + 1))
        if not 1 <= min(scales) <= max(scales) <= 16:
            self.fail(f"{value!r} goes beyond the scales 1..16.", param, ctx)
        if scales != sorted(set(scales)):
            self.fail(f"{value!r} does not ascend.", param, ctx)
        return scales


def write_picture(picture: Any, path: Path) -> None:  # a PIL image, not imported here
    """Write a picture by its suffix; a folder or format that does not exist is an error."""
    try:
        picture.save(path)
    except (OSError, ValueError) as error:
        raise FsrcacheError(f"{path} cannot be written: {error}.", "Name a .png in a folder that exists.") from None
