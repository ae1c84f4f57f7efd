"""The pixels of a face as the training faces show theirs: a square around its box, from the picture itself."""

import heapq
from collections.abc import Sequence

import numpy as np

from fsrcache.faces.boxes import Box, crop
from fsrcache.faces.decode import PictureError, Pictures

SMALLEST = 2  # pixels of a side
_MOST_PIXELS = 1 << 27  # of a square, as of a picture


def square_crop(picture: Pictures, box: Box) -> Pictures:
    """Return the square around a box's centre whose side is the box's longer one; beyond the picture its edge repeats.

    Parameters
    ----------
    picture
        uint8 ``[H, W]`` or ``[H, W, 3]``.
    box
        Box of a face.

    Returns
    -------
    numpy.ndarray
        uint8 ``[s, s]`` or ``[s, s, 3]``, a copy.

    Raises
    ------
    PictureError
        If less than half of the box is in the picture, it is a pixel large, or the square has more than 134 million.
    """
    crop(picture, box)  # refuses what does not fit
    side = max(box.width, box.height)
    if side < SMALLEST:
        raise PictureError(f"the face's box at {box.x}, {box.y} is a pixel large")
    if side**2 > _MOST_PIXELS:
        raise PictureError(f"the face's box at {box.x}, {box.y} is {side} pixels long")
    top, left = box.y - (side - box.height) // 2, box.x - (side - box.width) // 2
    rows = np.arange(top, top + side).clip(0, picture.shape[0] - 1)
    columns = np.arange(left, left + side).clip(0, picture.shape[1] - 1)
    square: Pictures = picture[np.ix_(rows, columns)]
    return square


def largest(boxes: Sequence[Box], *, min_size: int = 1, max_faces: int | None = None) -> list[Box]:
    """Return the boxes whose longer side has so many pixels, of more than so many the largest, in their order."""
    large = [box for box in boxes if max(box.width, box.height) >= min_size]
    areas = [box.width * box.height for box in large]
    kept = heapq.nlargest(max_faces or len(large), range(len(large)), key=areas.__getitem__)
    return [large[row] for row in sorted(kept)]


def faces_in(
    picture: Pictures, boxes: Sequence[Box], *, min_size: int = 1, max_faces: int | None = None
) -> tuple[list[tuple[Box, Pictures]], list[str]]:
    """Return the boxes of :func:`largest` with the pixels of each, and why boxes show no face of the picture."""
    squares: dict[Box, Pictures] = {}
    reasons: dict[Box, str] = {}
    large = largest(boxes, min_size=min_size)
    for box in large:
        try:
            squares[box] = square_crop(picture, box)
        except PictureError as error:
            reasons[box] = str(error)
    kept = largest([box for box in large if box in squares], max_faces=max_faces)
    return [(box, squares[box]) for box in kept], list(reasons.values())


def whole_picture(picture: Pictures) -> Box:
    """Return the box of a picture that is a face.

    Raises
    ------
    PictureError
        If it is a pixel high or wide.
    """
    height, width = picture.shape[:2]
    if min(height, width) < SMALLEST:
        raise PictureError(f"a face of {width} x {height} pixels")
    return Box(0, 0, width, height)
