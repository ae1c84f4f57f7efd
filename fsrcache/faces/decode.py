"""One picture from a file: 8-bit grey or RGB, upright, or the reason why it cannot be read."""

import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Pictures = NDArray[np.uint8]

MAX_PIXELS = 1 << 26  # 8192 x 8192; more is a mistake or an attack, not a face
PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm")
)
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # none that runs another program


class PictureError(Exception):
    """A picture cannot be read; the message is the reason."""


def decode(path: Path) -> Pictures:
    """Read a picture as uint8 ``[H, W]`` if it is grey (three equal channels are grey), else ``[H, W, 3]``.

    EXIF rotation is applied, transparency is laid over white, 16 bits are scaled to 8, the first frame of an
    animation is taken.

    Raises
    ------
    PictureError
        If the file is missing, empty, truncated, not a picture, larger than ``MAX_PIXELS``, or of
        floating-point or 32-bit values.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise PictureError("missing file") from None
    except (OSError, ValueError) as error:
        raise PictureError(f"cannot be opened: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise PictureError("not a regular file")
    if status.st_size == 0:
        raise PictureError("empty file")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(f"enormous: {image.width} x {image.height}, more than {MAX_PIXELS} pixels")
            return one_form(_eight_bits(ImageOps.exif_transpose(image)))
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("not a picture of a known format") from None
    except Image.DecompressionBombError:
        raise PictureError(f"enormous: more than {MAX_PIXELS} pixels") from None
    except Exception as error:  # a decoder given broken bytes raises nearly anything
        raise PictureError(f"broken picture: {error or type(error).__name__}") from None


def one_form(picture: Pictures) -> Pictures:
    """Return a picture whose three channels are equal as grey, so that equal pictures are equal arrays."""
    coloured = picture.ndim == 3 and not all(np.array_equal(picture[..., 0], picture[..., c]) for c in (1, 2))
    return picture if coloured or picture.ndim == 2 else np.ascontiguousarray(picture[..., 0])


def _eight_bits(image: Image.Image) -> Pictures:
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise PictureError("32-bit values; save it as 8 or 16 bits")
        return ((values + 128) // 257).astype(np.uint8)
    if image.mode == "F":
        raise PictureError("floating-point values; save it as 8 or 16 bits")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return np.array(Image.alpha_composite(white, image).convert("RGB"))
    return np.array(image if image.mode in ("L", "RGB") else image.convert("RGB"))
