"""A picture at several sizes, each in tiles that overlap, and one box for a face that several of them show."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fsrcache.faces.decode import Pictures

_TILE, _OVERLAP = 900, 100  # pixels as a finder sees them
_FINEST = 3.0  # times the picture's size, where faces of 12 pixels are found
_STEP = 3.0  # between sizes: a face of 100 pixels or less lies whole in a tile, of more than 33 is found one step on
_NEEDED = 32  # pixels of a face that finders hardly miss
_SAME = 0.5  # of the smaller box that lies in the other


class Tile(NamedTuple):
    """A part of a picture: left and top edge, width and height in its pixels, and how much it is enlarged."""

    x: int
    y: int
    width: int
    height: int
    zoom: float


def tiles_of(width: int, height: int, *, min_size: int = 1) -> Iterator[Tile]:
    """Yield the tiles in which faces of every size are found, the finest first.

    Parameters
    ----------
    width, height
        Pixels of the picture.
    min_size
        Pixels of the smallest face that matters: finer sizes than it needs are left out.
    """
    zoom = _FINEST
    while zoom * min_size > _STEP * _NEEDED:
        zoom /= _STEP
    while True:
        side, overlap = round(_TILE / zoom), round(_OVERLAP / zoom)
        for y, x in product(_starts(height, side, overlap), _starts(width, side, overlap)):
            yield Tile(x, y, min(side, width - x), min(side, height - y), zoom)
        if max(width, height) <= side:
            return
        zoom /= _STEP


def _starts(length: int, side: int, overlap: int) -> range:
    """Return where tiles along a side of the picture begin; the last one reaches its end."""
    return range(0, max(1, length - overlap), side - overlap)


def pixels_of(picture: Pictures, tile: Tile) -> Pictures:
    """Return a tile of a picture uint8 ``[H, W]`` or ``[H, W, 3]`` at its zoom, as RGB ``[h, w, 3]``."""
    part = Image.fromarray(picture[tile.y : tile.y + tile.height, tile.x : tile.x + tile.width])
    size = max(1, round(tile.width * tile.zoom)), max(1, round(tile.height * tile.zoom))
    return np.asarray(part.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def apart(boxes: NDArray[np.float64], scores: NDArray[np.float64]) -> list[int]:
    """Return the rows of boxes that stand for a face each, by falling score; those that overlap them are left out.

    Parameters
    ----------
    boxes
        Left and top edge, width and height, float64 ``[n, 4]``.
    scores
        A number for each, float64 ``[n]``.
    """
    kept: list[int] = []
    for row in np.argsort(-scores, kind="stable"):
        if not kept or _shared(boxes[row], boxes[kept]).max() < _SAME:
            kept.append(int(row))
    return kept


def _shared(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the smaller box that lies in the other, for a box [4] and others [m, 4]."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    inside = (high - low).clip(0).prod(1)
    return np.asarray(inside / np.minimum(box[2:].prod(), others[:, 2:].prod(1)))
