"""One picture from a file: 8-bit grey or RGB, upright, or the reason why it cannot be read."""

import stat
import sys
import warnings
from os import PathLike
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.records import shortened

Pictures = NDArray[np.uint8]

MAX_PIXELS = 1 << 26  # 8192 x 8192; more is a mistake or an attack, not a face
PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pnm")
)
WIDE = "more than 8 bits, scaled to 8"
NARROW = "more than 8 bits holding values up to 255, which are kept as they are"
FRAMES = "several frames, of which the first is kept"
CLEAR = "transparent, laid over white"
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # none that runs another program
MAX_BYTES = 1 << 30  # of a file: the largest picture, uncompressed, has half as many
_DARKEST = 1 << 12  # of 16 bits; a picture with no value above is nearly black, or of 10 or 12 bits
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339  # tags of TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2
_STEPS = {"L;2": 85, "L;4": 17}  # between greys of few bits, by which PNG's transparent grey has to be multiplied
_OTHER_END = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B"} | {
    f"{mode};16N": f"{mode};16{'B' if sys.byteorder == 'little' else 'L'}" for mode in ("RGB", "RGBA")
}


class PictureError(Exception):
    """A picture cannot be read; the message is the reason."""


def decode(path: str | PathLike[str], *, most: int | None = None) -> Pictures:
    """Read a picture as uint8 ``[H, W]`` if it is grey (three equal channels are grey), else ``[H, W, 3]``.

    EXIF rotation is applied, transparency is laid over white, an animation becomes its first frame. 16 bits are
    scaled to 8, unless no value of a picture is above 255: then it holds 8-bit values, which are kept as they are.

    Parameters
    ----------
    path
        The file.
    most
        Number of pixels at most; None for ``MAX_PIXELS``.

    Raises
    ------
    PictureError
        If the file is missing, empty, truncated, not a picture, larger than that, or of floating-point, negative or
        larger values, or so dark in 16 bits that its values may be of 10 or 12.
    FsrcacheError
        If the memory does not hold the picture, which is no fault of the file.
    """
    return decode_noted(path, most=most)[0]


def decode_noted(path: str | PathLike[str], *, most: int | None = None) -> tuple[Pictures, tuple[str, ...]]:
    """Return the picture of :func:`decode`, and notes on the conversion of an unusual file, which a report counts."""
    if not isinstance(path, str | PathLike):
        raise RequestError(f"The picture is {shortened(path)}.", "Name a file, as text or as a Path.")
    path, most = Path(path), MAX_PIXELS if most is None else most
    try:
        status = path.stat()
    except FileNotFoundError:
        raise PictureError("a link that leads nowhere" if path.is_symlink() else "missing file") from None
    except OSError as error:
        raise _failure(error, path) from None
    except ValueError as error:  # NUL in the path
        raise PictureError(f"cannot be read: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise PictureError("not a regular file")
    if status.st_size == 0:
        raise PictureError("empty file")
    if status.st_size > MAX_BYTES:
        raise PictureError(f"enormous: {status.st_size:,} bytes")
    try:
        with _QUIET, Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > most:
                raise PictureError(f"enormous: {image.width} x {image.height}, more than {most} pixels")
            return _pixels(path, image)
    except UnidentifiedImageError:
        raise PictureError("not a picture of a known format") from None
    except Image.DecompressionBombError:
        raise PictureError(f"enormous: more than {most} pixels") from None
    except Exception as error:  # a decoder of broken bytes raises nearly anything
        raise _failure(error, path) from None


def picture_of(image: Image.Image) -> Pictures:
    """Return the pixels of a picture that Pillow opened or made, as :func:`decode` does those of a file.

    Raises
    ------
    PictureError
        If it cannot be read, or is one that ``decode`` refuses.
    FsrcacheError
        If the memory does not hold it.
    """
    name = getattr(image, "filename", "")
    try:
        with _QUIET:
            if not name and ";16" in _layout(image) and not image.mode.startswith("I"):
                raise PictureError("16-bit colours that lie in no file; save it as 8 bits")
            return _pixels(Path(name), image)[0]
    except Exception as error:  # a decoder of broken bytes raises nearly anything
        raise _failure(error, name or "that Pillow made") from None


def one_form(picture: Pictures) -> Pictures:
    """Return a picture whose three channels are equal as grey, so that equal pictures are equal arrays."""
    coloured = picture.ndim == 3 and not all(np.array_equal(picture[..., 0], picture[..., c]) for c in (1, 2))
    return picture if coloured or picture.ndim == 2 else np.ascontiguousarray(picture[..., 0])


def _failure(error: Exception, path: str | PathLike[str]) -> Exception:
    """Return the error of a picture from what was raised while it was read."""
    if isinstance(error, PictureError):
        return error
    if isinstance(error, MemoryError):
        return FsrcacheError(f"The memory does not hold the picture {path}.", "Free some, or use fewer threads.")
    if isinstance(error, OSError) and error.errno is not None:  # of the file system; Pillow's own have none
        return PictureError(f"cannot be read: {error.strerror}")
    return PictureError(f"broken picture: {str(error) or type(error).__name__}")


class _Quiet:
    """Silences Pillow's warnings about odd files while any thread decodes: filters belong to the process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._saved = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._saved.__exit__(None, None, None)


_QUIET = _Quiet()


def _pixels(path: Path, image: Image.Image) -> tuple[Pictures, tuple[str, ...]]:
    """Return the first frame as 8 bits in one form, and notes."""
    layout = _layout(image)
    tags: dict[int, object] = dict(getattr(image, "tag_v2", {}))
    if image.mode == "L" and tags.get(_SAMPLE_FORMAT) == (_SIGNED,):
        raise PictureError("signed values; save it as 8 bits")
    if image.mode == "F":
        raise PictureError("floating-point values; save it as 8 or 16 bits")
    upright, notes = ImageOps.exif_transpose(image), []
    if image.mode.startswith("I") or ";16" in layout:
        transparent = upright.info.get("transparency")
        upright, note = _narrowed(_samples(path, upright, layout), transparent, known=layout == "I;12")
        notes.append(note)
        if image.mode.startswith("I") and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            upright = ImageOps.invert(upright)
    elif upright.mode == "L" and isinstance(upright.info.get("transparency"), int):
        upright.info["transparency"] *= _STEPS.get(layout, 1)
    if upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        alpha = np.asarray(upright)[..., 3]
        if not alpha.any():
            raise PictureError("transparent everywhere; save it without transparency")
        if alpha.min() < 255:
            notes.append(CLEAR)
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    if _has_frames(image):
        notes.append(FRAMES)
    return one_form(np.array(upright if upright.mode in ("L", "RGB") else upright.convert("RGB"))), tuple(notes)


def _layout(image: Image.Image) -> str:
    """Return the layout of the samples in the file, such as ``RGB;16B``."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    stored = [tile.args if isinstance(tile.args, str) else tile.args[0] for tile in tiles if tile.args]
    return str(stored[0]) if stored else image.mode


def _has_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # the rest after the first frame is broken, and not needed
        return True


def _samples(path: Path, image: Image.Image, layout: str) -> NDArray[np.int32]:
    """Return samples of more than 8 bits, ``[H, W, C]``; for colours Pillow itself returns the high byte alone."""
    if image.mode.startswith("I"):
        samples = np.asarray(image).astype(np.int32)[..., None]
        return samples << 4 if layout == "I;12" else samples
    if layout == "LA;16B":  # as if these four bytes were the four channels of a pixel
        high_low = np.asarray(_read_as(path, "RGBA")).astype(np.int32)
        return high_low[..., ::2] << 8 | high_low[..., 1::2]
    if layout not in _OTHER_END:
        raise PictureError(f"16-bit values of the kind {layout}; save it as 8 bits")
    samples = np.asarray(image).astype(np.int32)
    samples <<= 8  # in its memory: a large picture has 300 million
    samples |= np.asarray(_read_as(path, _OTHER_END[layout]))
    return samples


def _read_as(path: Path, layout: str) -> Image.Image:
    """Return a picture read as if its samples were laid out otherwise."""
    with Image.open(path, formats=_FORMATS) as image:
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [
            tile._replace(args=layout if isinstance(tile.args, str) else (layout, *(tile.args or ())[1:]))
            for tile in image.tile
        ]
        return ImageOps.exif_transpose(image)


def _narrowed(samples: NDArray[np.int32], transparent: object, *, known: bool) -> tuple[Image.Image, str]:
    """Return samples ``[H, W, C]`` as a picture of 8 bits, and the note on which 8 they are.

    Samples up to 255 hold 8 bits, samples that are all multiples of 256 too; others are rounded from 65535 to 255.
    """
    count = samples.shape[2] - (samples.shape[2] in (2, 4))  # without alpha
    colours, alpha = samples[..., :count], samples[..., count:]
    least, most = int(colours.min()), int(colours.max())
    if least < 0 or most > 65535:
        raise PictureError(f"32-bit values from {least} to {most}; save it as 8 or 16 bits")
    exact = not (colours % 257).any() or not (colours % 256).any()
    if 255 < most < _DARKEST and not exact and not known:
        raise PictureError(f"no value above {most} in 16 bits, which may be of fewer bits; save it as 8 bits")
    if isinstance(transparent, int | tuple):
        alpha = np.where((colours == transparent).all(axis=2, keepdims=True), 0, 65535)
    parts = [part for part in (colours, alpha) if part.shape[2]]
    narrow = np.concatenate([_eight_bits(part) for part in parts], axis=2)
    picture = Image.fromarray(narrow[..., 0] if narrow.shape[2] == 1 else narrow)
    return picture, NARROW if 0 < most <= 255 else WIDE


def _eight_bits(samples: NDArray[np.int32]) -> Pictures:
    if samples.max() > 255:
        samples = (samples + 128) // 257 if (samples % 256).any() else samples >> 8
    return samples.astype(np.uint8)
