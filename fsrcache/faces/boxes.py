"""The box of a face in a picture of several, written after the picture's name: ``a.jpg#xywh=28,12,64,64``."""

import re
from dataclasses import dataclass

from fsrcache.faces.decode import PictureError, Pictures, one_form

CUT = "the face's box goes beyond the picture, and is cut at its edge"
_WRITTEN = re.compile(r"(.+)#xywh=(-?\d{1,9}),(-?\d{1,9}),(\d{1,9}),(\d{1,9})", re.DOTALL | re.ASCII)


@dataclass(frozen=True)
class Box:
    """A rectangle in a picture, in pixels.

    Attributes
    ----------
    x, y
        Left and top edge; negative where the box goes beyond the picture.
    width, height
        Size.
    """

    x: int
    y: int
    width: int
    height: int


def with_box(name: str, box: Box) -> str:
    """Return a picture's name followed by the box of one of its faces, as W3C's media fragments write it."""
    return f"{name}#xywh={box.x},{box.y},{box.width},{box.height}"


def split_box(name: str) -> tuple[str, Box | None]:
    """Return the picture's name, and the box that follows it or None."""
    match = _WRITTEN.fullmatch(name)
    return (match[1], Box(*map(int, match.groups()[1:]))) if match else (name, None)


def crop(picture: Pictures, box: Box) -> tuple[Pictures, tuple[str, ...]]:
    """Return the pixels in a box, and a note if the box was cut at the picture's edge.

    Parameters
    ----------
    picture
        uint8 ``[H, W]`` or ``[H, W, 3]``, upright.
    box
        Box of the face.

    Raises
    ------
    PictureError
        If the box is empty, or less than half of it is in the picture.
    """
    height, width = picture.shape[:2]
    rows = slice(max(box.y, 0), max(min(box.y + box.height, height), 0))
    columns = slice(max(box.x, 0), max(min(box.x + box.width, width), 0))
    inside = picture[rows, columns]
    area, whole = inside.shape[0] * inside.shape[1], box.width * box.height
    if not area or 2 * area < whole:
        raise PictureError(
            f"the face's box, {box.width} x {box.height} at {box.x}, {box.y}, "
            f"does not fit the picture of {width} x {height} pixels"
        )
    return one_form(inside).copy(), (CUT,) if area < whole else ()
