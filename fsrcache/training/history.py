"""The history of a training: one JSON record a line."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fsrcache.models.weights import write_whole


def write_history(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write the whole history, so that a resumed run has every line once."""
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)
    write_whole(path, text.encode())


def append_history(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line."""
    with path.open("a") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def cut_history(path: Path, *, step: int) -> None:
    """Take away what comes after a step, and what a killed run wrote half: a resumed run writes it again."""
    kept = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            break
        if line["step"] > step:
            break
        kept.append(line)
    write_history(path, kept)
