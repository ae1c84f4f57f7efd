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
