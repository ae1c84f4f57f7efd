"""The names of expressions and splits as people write them, and their meaning. Numbers are never guessed."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from fsrcache.errors import FsrcacheError

EXPRESSIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # RAF-DB's order
CONTEMPT = "contempt"  # an eighth class, where the data have it
SPLITS = ("train", "val", "test")

EXPRESSION_NAMES = {
    "surprise": ("surprise", "surprised", "su"),
    "fear": ("fear", "fearful", "afraid", "scared", "fe", "af"),
    "disgust": ("disgust", "disgusted", "di"),
    "happiness": ("happiness", "happy", "joy", "joyful", "ha"),
    "sadness": ("sadness", "sad", "sa"),
    "anger": ("anger", "angry", "an"),
    "neutral": ("neutral", "neutrality", "ne"),
    "contempt": ("contempt", "contemptuous"),
}
SPLIT_NAMES = {
    "train": ("train", "training", "trainset"),
    "val": ("val", "valid", "validation", "valset", "validationset", "dev", "devset", "publictest"),
    "test": ("test", "testing", "testset", "privatetest"),
}
_SHOWN = 20  # names in an error
_EXPRESSION = {alias: name for name, aliases in EXPRESSION_NAMES.items() for alias in aliases}
_SPLIT = {alias: SPLITS.index(name) for name, aliases in SPLIT_NAMES.items() for alias in aliases}


def plain(name: str) -> str:
    """Return the letters and digits of a name in lower case: ``Image_Name`` and ``image name`` are one."""
    return "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if c.isalnum())


def expression_named(name: str) -> str | None:
    """Return the expression that a name such as ``Happy`` or ``3_happy`` means, or None."""
    return _EXPRESSION.get(re.sub(r"^\d+[\s._-]+", "", name.strip().casefold()))


@lru_cache(1024)  # a table repeats it in every row
def split_named(name: str) -> int | None:
    """Return the index in ``SPLITS`` that a name such as ``Training`` or ``Private_Test`` means, or None."""
    return _SPLIT.get(plain(name))


def classes_of(expressions: set[str]) -> tuple[str, ...]:
    """Return the classes in order: the seven, and contempt where the data have it."""
    return (*EXPRESSIONS, CONTEMPT) if CONTEMPT in expressions else EXPRESSIONS


def understand_expressions(names: set[str], *, where: str) -> dict[str, str]:
    """Map each name to its expression.

    Parameters
    ----------
    names
        Names of classes as written in the data.
    where
        Location of the names, for the error.

    Raises
    ------
    FsrcacheError
        If any is unknown or a bare number; the error lists all names and the known ones.
    """
    meaning = {name: expression_named(name) for name in names}
    unknown = sorted(name for name, expression in meaning.items() if expression is None)
    if unknown:
        numbers = any(name.strip().isdigit() for name in unknown)
        raise FsrcacheError(
            f"Class {_quoted(unknown)} in {where} is not known; the classes are {_quoted(names)}.",
            understood("expression", EXPRESSION_NAMES)
            + (
                " A bare number is ambiguous (1: surprise in RAF-DB, disgust in FER2013, happiness in AffectNet): "
                "write words."
                if numbers
                else ""
            ),
        )
    return {name: expression for name, expression in meaning.items() if expression is not None}


def understood(kind: str, names: dict[str, tuple[str, ...]]) -> str:
    """Return the sentence that lists the known names of expressions or splits."""
    listed = "; ".join(f"{name} ({', '.join(a for a in aliases if a != name)})" for name, aliases in names.items())
    return f"Understood as {kind}: {listed}."


def _quoted(names: Iterable[str]) -> str:
    first = sorted(names)
    more = f" and {len(first) - _SHOWN:,} more" if len(first) > _SHOWN else ""
    return ", ".join(repr(name) for name in first[:_SHOWN]) + more
