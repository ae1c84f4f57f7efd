"""The names of expressions and splits: what people write, and what it means. Numbers are never guessed."""

import re
from collections.abc import Iterable

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
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "publictest"),
    "test": ("test", "testing", "privatetest"),
}
_EXPRESSION = {alias: name for name, aliases in EXPRESSION_NAMES.items() for alias in aliases}
_SPLIT = {alias: SPLITS.index(name) for name, aliases in SPLIT_NAMES.items() for alias in aliases}


def expression_named(name: str) -> str | None:
    """Return the expression that a name such as ``Happy`` or ``3_happy`` means, or None."""
    return _EXPRESSION.get(re.sub(r"^\d+[\s._-]+", "", name.strip().casefold()))


def split_named(name: str) -> int | None:
    """Return the index in ``SPLITS`` that a name such as ``Training`` means, or None."""
    return _SPLIT.get(name.strip().casefold())


def classes_of(expressions: set[str]) -> tuple[str, ...]:
    """Return the classes in order: the seven, and contempt where the data have it."""
    return (*EXPRESSIONS, CONTEMPT) if CONTEMPT in expressions else EXPRESSIONS


def understand_expressions(names: set[str], *, where: str) -> dict[str, str]:
    """Map each name found to its expression.

    Raises
    ------
    FsrcacheError
        If any is unknown or a bare number; the error lists what was found and what is understood.
    """
    understood = {name: expression_named(name) for name in names}
    unknown = sorted(name for name, expression in understood.items() if expression is None)
    if unknown:
        numbers = any(name.strip().isdigit() for name in unknown)
        raise FsrcacheError(
            f"Class {_quoted(unknown)} in {where} is not known; found {_quoted(names)}.",
            _understood("expression", EXPRESSION_NAMES)
            + (" A bare number is ambiguous (RAF-DB: 1 is surprise; FER2013: 1 is disgust)." if numbers else ""),
        )
    return {name: expression for name, expression in understood.items() if expression is not None}


def understand_splits(names: set[str], *, where: str) -> dict[str, int]:
    """Map each name found to its index in ``SPLITS``; an unknown one is an error that lists them."""
    understood = {name: split_named(name) for name in names}
    unknown = sorted(name for name, split in understood.items() if split is None)
    if unknown:
        raise FsrcacheError(
            f"Split {_quoted(unknown)} in {where} is not known; found {_quoted(names)}.",
            _understood("split", SPLIT_NAMES),
        )
    return {name: split for name, split in understood.items() if split is not None}


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def _understood(kind: str, names: dict[str, tuple[str, ...]]) -> str:
    listed = "; ".join(f"{name} ({', '.join(a for a in aliases if a != name)})" for name, aliases in names.items())
    return f"Understood as {kind}: {listed}."
