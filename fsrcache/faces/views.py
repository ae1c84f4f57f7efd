"""Views of a face: mirrored or not and shifted, from the fourth on turned, enlarged or reduced too."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fsrcache.faces.decode import Pictures

_SHARP = 3  # first views, which are moved by whole pixels alone
_SHIFT = 2  # pixels each way, at most
_TURN, _ZOOM, _FAR = 10.0, 0.1, 4.0  # degrees, share, pixels, at most, as in the pre-training of `small`


def recipe(number: int) -> str:
    """Return in words what is done to the view of a number; a store keeps its digest."""
    if number <= _SHARP:
        return f"mirrored if odd, shifted by up to {_SHIFT}, never by 0 0; PCG64 of number and hash"
    changes = f"turned by up to {_TURN}, zoomed by up to {_ZOOM}, shifted by up to {_FAR}, bicubic"
    return f"mirrored if odd, {changes}; PCG64 of number and hash"


def view_of_face(picture: Pictures, *, number: int, picture_hash: NDArray[np.uint8]) -> Pictures:
    """Return a view of a face, a function of its number and of the face's hash; pixels of the edge are repeated.

    Parameters
    ----------
    picture
        uint8 ``[S, S, C]``.
    number
        Number of the view, from 1; the odd ones are mirrored.
    picture_hash
        uint8 ``[16]``.
    """
    random = np.random.Generator(np.random.PCG64([number, *picture_hash.tolist()]))
    mirrored = picture[:, ::-1] if number % 2 else picture
    return (_shifted if number <= _SHARP else _turned)(mirrored, random)


def _shifted(picture: Pictures, random: np.random.Generator) -> Pictures:
    side = 2 * _SHIFT + 1
    chosen = int(random.integers(side * side - 1))
    down, right = divmod(chosen + (chosen >= side * _SHIFT + _SHIFT), side)  # the middle, no shift, is left out
    wide = np.pad(picture, ((_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="edge")
    return wide[down : down + len(picture), right : right + len(picture)]


def _turned(picture: Pictures, random: np.random.Generator) -> Pictures:
    side = len(picture)
    angle = math.radians(random.uniform(-_TURN, _TURN))
    factor = 1 + random.uniform(-_ZOOM, _ZOOM)
    across, down = random.uniform(-_FAR, _FAR, 2)
    cosine, sine = math.cos(angle) * factor, math.sin(angle) * factor
    border = math.ceil(0.15 * side + _FAR + 2)  # what a corner can reach beyond the edge, and the kernel there
    middle, wide = side / 2, side / 2 + border
    matrix = (
        cosine, -sine, wide + across - (cosine - sine) * middle,
        sine, cosine, wide + down - (sine + cosine) * middle,
    )  # fmt: skip
    padded = np.pad(picture, ((border, border), (border, border), (0, 0)), mode="edge").astype(np.float32)
    channels = [  # in fp32, as Pillow cuts off fractions of uint8
        Image.fromarray(channel).transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
        for channel in np.ascontiguousarray(padded.transpose(2, 0, 1))
    ]
    view: NDArray[np.float32] = np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return np.rint(view).clip(0, 255).astype(np.uint8)
