"""Reads sources one picture at a time: a file, standard input, or frame after frame of a video."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from stat import S_ISREG
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from fsrcache.faces.decode import MAX_BYTES, PictureError, Pictures, decode
from fsrcache.prediction.answers import Failure
from fsrcache.prediction.packages import opencv
from fsrcache.prediction.sources import STANDARD_INPUT, mode_of

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".ts", ".flv", ".ogv")
)
_MOST_PIXELS = 1 << 27  # 11,585 x 11,585
_WHOLE = 0.9  # of a video, by its frames or by its duration


class Frame(NamedTuple):
    """A picture: its path, and its pixels, uint8 ``[H, W]`` or ``[H, W, 3]`` in RGB."""

    path: str
    pixels: Pictures


def read_frames(sources: Iterable[str | Failure], *, every: int = 1) -> Iterator[Frame | Failure]:
    """Yield the pictures of sources, and the first frame of a video and every so many after it; and what fails.

    Parameters
    ----------
    sources
        Files, ``-`` for a picture from standard input, and failures, which are yielded as they are.
    every
        Frames from one that is yielded to the next.

    Raises
    ------
    RequestError
        If there is a video, and OpenCV is not installed.
    """
    for source in sources:
        if isinstance(source, Failure):
            yield source
            continue
        if is_video(source):
            yield from _frames_of_video(source, every)
            continue
        try:
            standard = source == STANDARD_INPUT
            yield Frame(source, _from_standard_input() if standard else decode(source, most=_MOST_PIXELS))
        except PictureError as error:
            yield Failure(source, str(error))


def is_video(source: str) -> bool:
    """Tell by its suffix whether a source is a video."""
    return Path(source).suffix.lower() in VIDEO_SUFFIXES and S_ISREG(mode_of(source))


def _from_standard_input() -> Pictures:
    if sys.stdin is None or sys.stdin.closed:
        raise PictureError("standard input is closed")
    try:
        content = sys.stdin.buffer.read(MAX_BYTES + 1)  # a longer one is refused as a file
    except OSError as error:  # it is open for writing alone
        raise PictureError(f"standard input cannot be read: {error.strerror or error}") from None
    with TemporaryDirectory() as folder:
        file = Path(folder) / "picture"  # which a decoder may read twice
        file.write_bytes(content)
        return decode(file, most=_MOST_PIXELS)


def _frames_of_video(source: str, every: int) -> Iterator[Frame | Failure]:
    cv2 = opencv()
    try:
        name = str(Path(source).absolute())  # FFmpeg takes what stands before a colon for a protocol
        name.encode()
    except UnicodeEncodeError:  # OpenCV crashes at it
        yield Failure(source, "a video whose name is no UTF-8; rename it")
        return
    video, number = cv2.VideoCapture(name), 0
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))  # as the file says, or its duration at a steady rate
    rate, seconds = video.get(cv2.CAP_PROP_FPS), 0.0
    try:
        while video.grab():
            seconds = max(seconds, video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            if number % every == 0:
                path, (whole, picture) = f"{source}#frame={number}", video.retrieve()
                rgb = np.ascontiguousarray(picture[..., ::-1]) if whole else None  # OpenCV has BGR
                yield Failure(path, "a frame that cannot be decoded") if rgb is None else Frame(path, rgb)
            number += 1
    finally:
        video.release()
    if number == 0:
        yield Failure(source, "no video that can be read")
    elif max(number, seconds * rate + 1) < _WHOLE * count:
        yield Failure(source, f"damaged: it ends after {number:,} of {count:,} frames")
