"""The low-resolution view: bicubic down by an integer factor, perhaps JPEG, and bicubic back to the same side."""

from dataclasses import dataclass
from io import BytesIO
from math import ceil
from typing import Annotated, Literal

import numpy as np
from PIL import Image

from fsrcache.errors import RequestError
from fsrcache.faces.bicubic import Border, imresize_batch
from fsrcache.faces.decode import Pictures
from fsrcache.records import Between, check_fields


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """The way from a full-resolution face to a low-resolution one.

    Attributes
    ----------
    form
        MATLAB's ``imresize(I, 1/s)`` (``scale``) or ``imresize(I, [h w])`` (``size``). The small picture has side
        ``ceil(S / s)`` either way; where s does not divide S they sample at different positions.
    border
        Extension beyond the edge, as for ``imresize``.
    jpeg
        Quality 1..100 of a JPEG between the two resizings; None for none.

    Raises
    ------
    RequestError
        If a field has no such value.
    """

    form: Literal["scale", "size"] = "scale"
    border: Border = "replicate"
    jpeg: Annotated[int, Between(1, 100)] | None = None

    def __post_init__(self) -> None:
        check_fields(self)


SCALE_FORM = Degradation()


def low_resolution_view(pictures: Pictures, scale: int, degradation: Degradation = SCALE_FORM) -> Pictures:
    """Return pictures as a camera ``scale`` times coarser saw them, at the size they had (arXiv 2004.02234, sec. III).

    Parameters
    ----------
    pictures
        uint8 ``[B, S, S, C]``, C 1 or 3.
    scale
        Factor, at least 1; the small picture has side ``ceil(S / scale)``, 1 leaves the pictures as they are.
    degradation
        Form of the resizing, border and JPEG quality.

    Returns
    -------
    numpy.ndarray
        uint8 ``[B, S, S, C]``.

    Raises
    ------
    RequestError
        If pictures, scale or degradation are not as above.
    """
    _check(pictures, scale, degradation)
    if scale == 1:
        return pictures
    small = coarse_pictures(pictures, scale, degradation)
    return imresize_batch(small, size=(pictures.shape[1], pictures.shape[2]), border=degradation.border)


def coarse_pictures(pictures: Pictures, scale: float, degradation: Degradation = SCALE_FORM) -> Pictures:
    """Return the small pictures that a low-resolution view is enlarged from, uint8 ``[B, s, s, C]``.

    The arguments are those of ``low_resolution_view``; a scale need not be whole here.
    """
    sides, border = (pictures.shape[1], pictures.shape[2]), degradation.border
    if degradation.form == "scale":
        small = imresize_batch(pictures, scale=1 / scale, border=border)
    else:
        small = imresize_batch(pictures, size=(ceil(sides[0] / scale), ceil(sides[1] / scale)), border=border)
    if degradation.jpeg is not None:
        small = np.stack([_through_jpeg(picture, degradation.jpeg) for picture in small])
    return small


def _check(pictures: object, scale: object, degradation: object) -> None:
    if not isinstance(pictures, np.ndarray):
        raise RequestError(f"The pictures are a {type(pictures).__name__}.", "They should be a NumPy array.")
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] not in (1, 3):
        raise RequestError(
            f"The pictures are {pictures.dtype} {list(pictures.shape)}.", "They should be uint8 [B, S, S, C], C 1 or 3."
        )
    if not isinstance(scale, int | np.integer) or isinstance(scale, bool) or scale < 1:
        raise RequestError(f"The scale is {scale!r}.", "It should be a whole number of at least 1.")
    if not isinstance(degradation, Degradation):
        raise RequestError(f"The degradation is {degradation!r}.", "It should be a Degradation.")


def _through_jpeg(picture: Pictures, quality: int) -> Pictures:
    """Return a picture [h, w, C] after a JPEG file of that quality."""
    file = BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(file, format="JPEG", quality=quality)
    with Image.open(file) as decoded:
        return np.asarray(decoded).reshape(picture.shape)
