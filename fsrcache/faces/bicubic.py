"""MATLAB's bicubic ``imresize`` to the pixel: two dense float64 matrices, each pass rounded to uint8."""

from functools import lru_cache
from math import ceil, isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import RequestError

Border = Literal["replicate", "mirror"]
Pictures = NDArray[np.uint8]

# Half up; float64 may lose an exact half by 1e-13, which would make a pixel depend on the order of the additions.
ROUNDING = 0.5 + 1e-9
_BLOCK = 1 << 17  # elements that are float64 at one time, which a core's cache holds: pictures are resized in slabs
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
        The factor of both sides, in (0, inf); the result has sides ``ceil(scale * side)``.
    size
        The sides ``(h, w)`` of the result in pixels. Exactly one of ``scale`` and ``size`` is given.
    border
        What lies beyond the edge: ``"replicate"`` repeats the edge pixels (the MATLAB releases that made
        the published super-resolution benchmarks), ``"mirror"`` reflects (later releases).

    Returns
    -------
    numpy.ndarray
        uint8, of the same number of dimensions.

    Raises
    ------
    RequestError
        If the picture is not uint8 of such a shape, or the factor, size or border is not one of these.
    """
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] != 3):
        raise RequestError(
            f"imresize takes uint8 [H, W] or [H, W, 3], not {picture.dtype} {list(picture.shape)}.",
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
    """Resize uint8 ``[B, H, W, C]`` to ``[B, h, w, C]``: every picture as by :func:`imresize`."""
    if pictures.dtype != np.uint8 or pictures.ndim != 4:
        raise RequestError(f"imresize_batch takes uint8 [B, H, W, C], not {pictures.dtype} {list(pictures.shape)}.")
    plan = resize_plan((pictures.shape[1], pictures.shape[2]), scale=scale, size=size, border=border)
    for axis, matrix in plan:
        pictures = _apply(matrix, pictures, axis + 1)
    return pictures


def resize_plan(
    shape: tuple[int, int],
    *,
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    border: Border = "replicate",
) -> list[tuple[int, NDArray[np.float64]]]:
    """Return the two passes as ``(axis, matrix [out, in])`` in MATLAB's order: the smaller factor first."""
    if border not in ("replicate", "mirror"):
        raise RequestError(f"border is {border!r}.", "It is 'replicate' or 'mirror'.")
    if min(shape) < 1:
        raise RequestError(f"The picture has sides {shape[0]} x {shape[1]}.", "Both must be at least 1.")
    if (scale is None) == (size is None):
        raise RequestError("imresize takes either a scale or a size.", "Give exactly one of the two.")
    if scale is not None:
        if not (isfinite(scale) and scale > 0):
            raise RequestError(f"scale is {scale!r}.", "It is a finite number above 0, such as 1/4.")
        scales = (float(scale), float(scale))
        sides = (ceil(scale * shape[0]), ceil(scale * shape[1]))
    else:
        assert size is not None  # exactly one of the two, checked above
        if len(size) != 2 or any(int(side) != side or side < 1 for side in size):
            raise RequestError(f"size is {size!r}.", "It is (height, width), whole numbers of at least 1.")
        sides = (int(size[0]), int(size[1]))
        scales = (sides[0] / shape[0], sides[1] / shape[1])
    order = (0, 1) if scales[0] <= scales[1] else (1, 0)
    return [(axis, _matrix(shape[axis], sides[axis], scales[axis], border)) for axis in order]


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
            result[part] = product.clip(0, 255, out=product)  # which cuts off what is behind the point
    return result.reshape(*before, matrix.shape[0], *after)
