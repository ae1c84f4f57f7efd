"""Reads the history of a training as it lies in the folder of its run."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.files import read_regular
from fsrcache.records import parse_json, value_from

_MOST_BYTES = 1 << 28
Line = Mapping[str, float | Mapping[str, float]]


def read_history(path: Path) -> list[Line]:
    """Return the lines of a history that are whole, none where there is no file.

    Raises
    ------
    FsrcacheError
        If the file cannot be read, or has more than 256 MiB.
    """
    try:
        text = read_regular(path, most=_MOST_BYTES)
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        with suppress(FsrcacheError):  # of one that is just being written
            lines.append(value_from(Line, parse_json(line, where=path), where=path))
    return [line for line in lines if "step" in line]
