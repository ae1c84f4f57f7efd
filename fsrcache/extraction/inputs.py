"""Faces as Python holds them (arrays, tensors, PIL pictures, of any sizes), one by one as uint8 [h, w, C]."""

from collections.abc import Sequence
from math import inf
from numbers import Real
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsrcache.errors import RequestError
from fsrcache.faces.decode import PictureError, Pictures, picture_of
from fsrcache.records import shortened

_SMALLEST = 2  # pixels of a face's shorter side
_FACE = "A face is uint8 [h, w], [h, w, 1] or [h, w, 3] in RGB, 2 pixels a side at least; a tensor's is [C, h, w]."


def face_list(faces: object) -> Sequence[Any]:
    """Return faces one by one, unchecked; a single face becomes a list of one.

    Parameters
    ----------
    faces
        A list or tuple; an array ``[B, h, w]`` or ``[B, h, w, C]``, or a tensor ``[B, C, h, w]``; or a face: a PIL
        picture, an array whose third axis is 1 or 3 long, a tensor of three axes, anything of two.

    Raises
    ------
    RequestError
        If it is none of these.
    """
    if isinstance(faces, list | tuple):
        return faces
    if isinstance(faces, np.ndarray):
        several = faces.ndim == 4 or (faces.ndim == 3 and faces.shape[2] not in (1, 3))
        return list(faces) if several else [faces]
    if isinstance(faces, Tensor):
        return list(faces) if faces.ndim == 4 else [faces]
    if isinstance(faces, Image.Image):
        return [faces]
    raise RequestError(
        f"The faces are {shortened(faces)}, of type {type(faces).__name__}.",
        "They are a list of faces, an array [B, h, w, C], a tensor [B, C, h, w], or one face; "
        "a file is opened by PIL.Image.open.",
    )


def face_pixels(face: object, name: str) -> Pictures:
    """Return a face as uint8 ``[h, w, 1]`` or ``[h, w, 3]``.

    Parameters
    ----------
    face
        An array ``[h, w]`` or ``[h, w, C]``, a tensor ``[h, w]`` or ``[C, h, w]``, both uint8, or a PIL picture.
    name
        Its name in an error, such as ``faces[3]``.

    Raises
    ------
    RequestError
        If it is none of these, has other than 1 or 3 channels, or is a pixel high or wide.
    """
    if isinstance(face, Image.Image):
        try:
            face = picture_of(face)
        except PictureError as error:
            raise RequestError(f"{name} is a PIL picture that cannot be used: {error}.", _FACE) from None
    if not isinstance(face, np.ndarray | Tensor):
        raise RequestError(f"{name} is {shortened(face)}, of type {type(face).__name__}.", _FACE)
    shape = list(face.shape)
    if isinstance(face, Tensor) and len(shape) == 3:
        shape = [*shape[1:], shape[0]]
    if face.dtype != (torch.uint8 if isinstance(face, Tensor) else np.uint8):
        raise RequestError(
            f"{name} is {face.dtype} {list(face.shape)}{_values(face)}.",
            "Give uint8 from 0 to 255: for values from 0 to 1, (face * 255).round() as uint8.",
        )
    if len(shape) not in (2, 3) or shape[2:] not in ([], [1], [3]) or min(shape[:2]) < _SMALLEST:
        raise RequestError(f"{name} is {face.dtype} {list(face.shape)}.", f"{_FACE}{_advice(face)}")
    picture: Pictures = face.cpu().numpy() if isinstance(face, Tensor) else face
    if picture.ndim == 2:
        return picture[..., None]
    return picture.transpose(1, 2, 0) if isinstance(face, Tensor) else picture


def luma(picture: Pictures) -> Pictures:
    """Return a picture uint8 ``[h, w, 1 or 3]`` in grey, ``[h, w, 1]``: Rec. 601, as Pillow's ``L``."""
    if picture.shape[2] == 1:
        return picture
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).convert("L"))[..., None]


def _values(face: Any) -> str:
    """Return the range of an array's or a tensor's values in words, or nothing where it has none."""
    try:
        return f" with values from {face.min().item():.4g} to {face.max().item():.4g}"
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
        return ""


def _advice(face: Any) -> str:
    """Return what to do about a face of another shape, after a space, or nothing."""
    if isinstance(face, np.ndarray) and face.ndim == 3 and face.shape[0] in (1, 3):
        return " Channels come last in an array: face.transpose(1, 2, 0)."
    if isinstance(face, np.ndarray) and face.ndim == 3 and face.shape[2] == 4:
        return " PIL.Image.fromarray(face) has its transparency laid over white."
    return ""


def longer_sides(sizes: object, count: int) -> list[float]:
    """Return the longer side of each of ``count`` faces in pixels, infinite where nothing is known.

    Parameters
    ----------
    sizes
        A number or a pair of sides for each face, a number for all, or None.
    count
        Number of faces.

    Raises
    ------
    RequestError
        If there are more or fewer, or one is no number of at least 1.
    """
    if sizes is None:
        return [inf] * count
    if isinstance(sizes, np.ndarray | Tensor):
        sizes = sizes.tolist()
    listed = [sizes] * count if isinstance(sizes, Real) else sizes
    if not isinstance(listed, list | tuple) or len(listed) != count:
        raise RequestError(
            f"The sizes are {shortened(sizes)} for {count:,} faces.", "Give one for each: pixels, or a pair of sides."
        )
    longest = []
    for number, size in enumerate(listed):
        sides: Sequence[Any] = size if isinstance(size, tuple | list) and len(size) == 2 else [size]
        if not all(isinstance(side, int | float | np.integer | np.floating) and 1 <= side < inf for side in sides):
            raise RequestError(f"sizes[{number}] is {shortened(size)}.", "It is a number of pixels, 1 or more.")
        longest.append(max(sides))
    return longest
