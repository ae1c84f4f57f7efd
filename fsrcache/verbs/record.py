"""The record of a finished run: what a verb returned, beside what it wrote."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fsrcache.files import write_whole

RESULT = "result.json"


def write_result(folder: Path, result: Any) -> None:
    """Write a result, a dataclass of JSON values, into the folder of its run.

    Raises
    ------
    FsrcacheError
        If it cannot be written.
    """
    write_whole(folder / RESULT, (json.dumps(asdict(result), indent=2, allow_nan=False) + "\n").encode())
