"""Names of the splits that only trainings read: those of views, and lists of names for people."""

import re
from collections.abc import Iterable
from itertools import groupby

MOST_VIEWS = 100
_IN_A_ROW = 3  # views that are shorter as first and last


def view_split(number: int) -> str:
    """Return the name of the split of the training faces' views of a number, from 1."""
    return f"view-{number}"


def view_number(split: str) -> int | None:
    """Return the number of a split of views, the inverse of ``view_split``; None for any other split."""
    match = re.fullmatch("view-([1-9][0-9]{0,2})", split)
    return int(match[1]) if match and int(match[1]) <= MOST_VIEWS else None


def splits_in_words(splits: Iterable[str]) -> str:
    """Return names of extra splits as a list: views by number, then others; ``view-1..3,view-5,unlabelled``."""
    every = [*splits]
    numbers = sorted(number for split in every if (number := view_number(split)) is not None)
    words: list[str] = []
    for _, row in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        views = [number for _, number in row]
        words += [f"view-{views[0]}..{views[-1]}"] if len(views) >= _IN_A_ROW else map(view_split, views)
    return ",".join([*words, *(split for split in every if view_number(split) is None)])


def splits_of_words(text: str) -> list[str]:
    """Return the names in a list, as ``splits_in_words`` or a person writes it, and check none of them."""
    names: list[str] = []
    for word in (word.strip() for word in text.split(",")):
        views = re.fullmatch(r"view-([1-9]\d{0,2})\.\.([1-9]\d{0,2})", word)
        names += [word] if views is None else map(view_split, range(int(views[1]), int(views[2]) + 1))
    return names
