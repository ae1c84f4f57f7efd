"""The history of a training: one JSON record a line, to be looked at; a run goes on without it."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from fsrcache.errors import FsrcacheError
from fsrcache.files import open_regular, whole_file, write_whole
from fsrcache.records import Between, parse_json, value_from

_MOST_BYTES = 1 << 30  # a line every hundred steps takes less for 1e8 of them
_LONGEST = 1 << 16  # bytes of a line
_LINE = Mapping[str, float | Mapping[str, float]]
_STEP = Annotated[int, Between(1, 10**8)]


def write_history(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write the whole history, so that a resumed run has every line once."""
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    write_whole(path, text.encode())


def append_history(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line.

    Raises
    ------
    FsrcacheError
        If it cannot be written.
    """
    text = json.dumps(line, allow_nan=False) + "\n"
    try:
        with open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            file.write(text.encode())
    except OSError as error:
        raise FsrcacheError(
            f"{path} cannot be written: {error.strerror or error}.", "Check the folder and the space left."
        ) from error


def check_history(path: Path) -> None:
    """Raise if the file at a path can be no history; a missing one is no error.

    Raises
    ------
    FsrcacheError
        If it is a link, a pipe, a device or a folder, larger than 1 GiB, or not to be written.
    """
    with suppress(FileNotFoundError), open_regular(path, os.O_WRONLY | os.O_APPEND) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MOST_BYTES:
            raise FsrcacheError(f"{path} has {size:,} bytes, more than any history.", "Move it away.")


def cut_history(path: Path, *, step: int) -> str:
    """Remove lines after a step, and a line that a killed run wrote half: a resumed run writes them again.

    Returns
    -------
    str
        Note on other lines that were left out, no records of steps in ascending order; empty if there were none.

    Raises
    ------
    FsrcacheError
        As ``check_history``.
    """
    check_history(path)
    last, wrong = 0, list[int]()
    try:
        file = open_regular(path, os.O_RDONLY)
    except FileNotFoundError:
        return ""
    with file, whole_file(path) as partial, partial.open("wb") as kept:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), 1):
            number_of_step = _step(line, path)
            if number_of_step is None:
                wrong += [number] if line.endswith(b"\n") or len(line) == _LONGEST else []  # else written half
            elif number_of_step <= last:
                wrong.append(number)
            elif number_of_step <= step:
                last = number_of_step
                kept.write(line.removesuffix(b"\n") + b"\n")
    if not wrong:
        return ""
    return f"{path.name}: {len(wrong):,} lines that are no history were left out, line {wrong[0]:,} first."


def _step(line: bytes, path: Path) -> int | None:
    """Return the step that a line is about; None if it is no line of a history."""
    try:
        record = parse_json(line, where=path)
        value_from(_LINE, record, where=path)
        step: int = value_from(_STEP, record.get("step"), where=path)
    except FsrcacheError:
        return None
    return step
