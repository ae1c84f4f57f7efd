"""The built-in faces as data: ``drawn`` or ``drawn:COUNT`` instead of a path."""

import re
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from fsrcache.drawn.face import draw_face, drawn_expression
from fsrcache.errors import RequestError
from fsrcache.faces.decode import Pictures
from fsrcache.faces.expressions import EXPRESSIONS, SPLITS
from fsrcache.faces.listing import Listing, string_array

NAME = "drawn"
TITLE = "drawn faces (built in)"
DEFAULT_COUNT = 1400
MAX_COUNT = 10_000_000
_SEED = 0
_KEPT = 1 << 14  # faces, of 30 kB each: a survey, a pre-training and an extraction draw each one once
_SPLIT_OF_ROUND = ("train",) * 7 + ("val",) + ("test",) * 2


def recognises(path: Path) -> bool:
    """Return whether a path is the word ``drawn``, alone or with a count, whatever lies in the working folder."""
    return re.fullmatch(r"drawn(:.*)?", str(path)) is not None


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List drawn faces; seven in ten are train, one val, two test, with every expression in equal parts."""
    word, _, number = str(path).partition(":")
    if word != "drawn" or (
        number
        and (not (number.isascii() and number.isdecimal() and len(number) <= 8) or not 1 <= int(number) <= MAX_COUNT)
    ):
        raise RequestError(
            f"{path} has no valid number of faces to draw.", f"Write drawn or drawn:COUNT, at most {MAX_COUNT}."
        )
    if path.exists() and not number:
        raise RequestError(
            f"{path} means the built-in faces, and something in the working folder has that name too.",
            f"Write ./{path} for the file or folder, drawn:{DEFAULT_COUNT} for the built-in faces.",
        )
    count = int(number) if number else DEFAULT_COUNT
    return Listing(
        layout=NAME,
        classes=EXPRESSIONS,
        names=string_array(drawn_name(_SEED, i) for i in range(count)),
        labels=np.array([drawn_expression(_SEED, i) for i in range(count)], np.uint8),
        splits=np.array([SPLITS.index(drawn_split(i)) for i in range(count)], np.uint8),
        load=_KeptFaces(),
        where=lambda i: drawn_name(_SEED, i),
        mapping={name: name for name in EXPRESSIONS},
    )


class _KeptFaces:
    """Draws faces, and keeps the last ones; it pickles without them."""

    def __init__(self) -> None:
        self._draw = lru_cache(_KEPT)(partial(draw_face, _SEED))

    def __call__(self, index: int) -> Pictures:
        """Return a face."""
        return self._draw(index)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _KeptFaces, ()


def drawn_name(seed: int, index: int) -> str:
    """Return the name of a drawn face."""
    return f"drawn-{seed}-{index:07d}"


def drawn_split(index: int) -> str:
    """Return the split of a drawn face: it turns once every seven faces."""
    return _SPLIT_OF_ROUND[index // len(EXPRESSIONS) % len(_SPLIT_OF_ROUND)]
