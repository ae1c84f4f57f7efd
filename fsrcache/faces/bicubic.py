"""MATLAB's bicubic ``imresize`` to the pixel: two dense float64 matrices, each pass rounded to uint8."""

from functools import lru_cache
from math import ceil
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import RequestError

Border = Literal["replicate", "mirror"]
Pictures = NDArray[np.uint8]

# Half up; float64 may lose an exact half by 1e-13, which would make a pixel depend on the order of the additions.
ROUNDING = 0.5 + 1e-9
_BLOCK = 1 << 17  # elements that are float64 at one time, which a core's cache holds: pictures are resized in slabs
_MAX_SIDE = 1 << 14  # of a result, and of the factor of a side: beyond it the matrices are gigabytes
_CACHED_SIDE = 1024  # sides up to this keep their matrices


def imresize(
    picture: Pictures,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    border: Border = "replicate",
) -> Pictures:
    """Resize a picture as MATLAB's ``imresize(I, scale)`` or ``imresize(I, [h w])`` does, anti-aliased.

    Parameters
    ----------
    picture
        uint8 ``[H, W]`` or ``[H, W, 3]``.
    scale
        Factor of both sides, 1/16384 to 16384; the result has sides ``ceil(scale * side)``. Pass either ``scale`` or
        ``size``.
    size
        Sides ``(h, w)`` of the result in pixels, 1 to 16384.
    border
        Extension beyond the edge: ``"replicate"`` repeats the edge pixels (the MATLAB releases that made
        the published super-resolution benchmarks), ``"mirror"`` reflects (later releases).

    Returns
    -------
    numpy.ndarray
        uint8, of the same number of dimensions.

    Raises
    ------
    RequestError
        If the picture is not uint8 of such a shape, or the factor, size or border is out of range.
    """
    picture = _array(picture, "imresize", "[H, W] or [H, W, 3]")
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] != 3):
        raise RequestError(
            f"imresize expects uint8 [H, W] or [H, W, 3], not {picture.dtype} {list(picture.shape)}.",
            "Convert the picture to 8-bit grey or RGB first.",
        )
    plan = resize_plan((picture.shape[0], picture.shape[1]), scale=scale, size=size, border=border)
    for axis, matrix in plan:
        picture = _apply(matrix, picture, axis)
    return picture


def imresize_batch(
    pictures: Pictures,
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    border: Border = "replicate",
) -> Pictures:
    """Resize uint8 ``[B, H, W, C]`` to ``[B, h, w, C]``, every picture as ``imresize`` does, refusals too."""
    pictures = _array(pictures, "imresize_batch", "[B, H, W, C]")
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or not pictures.shape[3]:
        raise RequestError(f"imresize_batch expects uint8 [B, H, W, C], not {pictures.dtype} {list(pictures.shape)}.")
    plan = resize_plan((pictures.shape[1], pictures.shape[2]), scale=scale, size=size, border=border)
    for axis, matrix in plan:
        pictures = _apply(matrix, pictures, axis + 1)
    return pictures


def _array(picture: Any, function: str, shape: str) -> NDArray[Any]:
    try:
        return np.asarray(picture)
    except (TypeError, ValueError, RuntimeError) as error:  # a ragged list, a tensor on a device
        raise RequestError(
            f"{function} expects uint8 {shape}, not a {type(picture).__name__}.", f"It is no array: {error}."
        ) from None


def resize_plan(
    shape: tuple[int, int],
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    border: Border = "replicate",
) -> list[tuple[int, NDArray[np.float64]]]:
    """Return the two passes as ``(axis, matrix [out, in])`` in MATLAB's order: the smaller factor first."""
    if not isinstance(border, str) or border not in ("replicate", "mirror"):
        raise RequestError(f"border is {border!r}.", "It should be 'replicate' or 'mirror'.")
    if min(shape) < 1:
        raise RequestError(f"The picture has sides {shape[0]} x {shape[1]}.", "Both must be at least 1.")
    if (scale is None) == (size is None):
        raise RequestError("imresize needs either a scale or a size.", "Pass exactly one of the two.")
    if scale is not None:
        factor = _number(scale)
        if factor is None or not 1 / _MAX_SIDE <= factor <= _MAX_SIDE:
            raise RequestError(
                f"scale is {scale!r}.", f"It should be a number such as 1/4, from 1/{_MAX_SIDE} to {_MAX_SIDE}."
            )
        scales = (factor, factor)
        sides = (ceil(scale * shape[0]), ceil(scale * shape[1]))
    else:
        sides = _sides(size)
        scales = (sides[0] / shape[0], sides[1] / shape[1])
    if max(sides) > _MAX_SIDE:
        raise RequestError(f"The result would have sides {sides[0]} x {sides[1]}.", f"They go up to {_MAX_SIDE}.")
    order = (0, 1) if scales[0] <= scales[1] else (1, 0)
    return [(axis, _matrix(shape[axis], sides[axis], scales[axis], border)) for axis in order]


def _sides(size: object) -> tuple[int, int]:
    """Return the height and width of a size."""
    listed = isinstance(size, tuple | list) or (isinstance(size, np.ndarray) and size.ndim == 1)
    sides = [_number(side) for side in size] if listed else []  # type: ignore[attr-defined]  # it is one of these
    whole = [int(side) for side in sides if side is not None and side.is_integer() and side >= 1]
    if len(sides) != 2 or len(whole) != 2:
        raise RequestError(f"size is {size!r}.", "It should be (height, width), whole numbers of at least 1.")
    return whole[0], whole[1]


def _number(value: object) -> float | None:
    """Return a real number as a float, None for anything else: text, a boolean, an array, a tensor."""
    return None if isinstance(value, bool) or not isinstance(value, Real) else float(value)


def _matrix(n_in: int, n_out: int, scale: float, border: Border) -> NDArray[np.float64]:
    build = _cached_weights if max(n_in, n_out) <= _CACHED_SIDE else _weights
    return build(n_in, n_out, scale, border)


def _weights(n_in: int, n_out: int, scale: float, border: Border) -> NDArray[np.float64]:
    """Return the matrix ``[n_out, n_in]`` of one pass: the cubic kernel, widened when shrinking."""
    widening = min(scale, 1.0)
    width = 4.0 / widening
    reciprocal = 1.0 / scale
    centre = np.arange(1, n_out + 1) * reciprocal + 0.5 * (1.0 - reciprocal)  # counted from 1, as in MATLAB
    taps = np.floor(centre - width / 2)[:, None] + np.arange(ceil(width) + 2)  # [n_out, T]
    weights = _cubic(widening * (centre[:, None] - taps))
    weights /= weights.sum(axis=1, keepdims=True)
    source = taps.astype(np.int64) - 1
    if border == "replicate":
        source = source.clip(0, n_in - 1)
    else:
        source %= 2 * n_in
        source = np.where(source < n_in, source, 2 * n_in - 1 - source)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], source), weights)
    matrix.flags.writeable = False
    return matrix


_cached_weights = lru_cache(maxsize=128)(_weights)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Keys' cubic convolution kernel with a = -0.5 (Keys 1981, equation 15)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _apply(matrix: NDArray[np.float64], pictures: Pictures, axis: int) -> Pictures:
    """Multiply along one axis, in slabs of bounded memory, and round half up to uint8."""
    before, n_in, after = pictures.shape[:axis], pictures.shape[axis], pictures.shape[axis + 1 :]
    columns = pictures.reshape(-1, n_in, int(np.prod(after, dtype=np.int64)))  # [L, n_in, R]
    result = np.empty((columns.shape[0], matrix.shape[0], columns.shape[2]), np.uint8)
    many = max(1, _BLOCK // max(1, n_in * columns.shape[2]))
    wide = max(1, _BLOCK // n_in) if many == 1 else max(1, columns.shape[2])
    for row in range(0, columns.shape[0], many):
        for column in range(0, columns.shape[2], wide):
            part = (slice(row, row + many), slice(None), slice(column, column + wide))
            product = matrix @ columns[part].astype(np.float64)
            product += ROUNDING
            result[part] = product.clip(0, 255, out=product)  # the conversion to uint8 drops the fraction
    return result.reshape(*before, matrix.shape[0], *after)
