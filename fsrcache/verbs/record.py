"""The record of a finished run: what a verb returned, beside what it wrote."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fsrcache.files import write_whole

RESULT = "result.json"


def write_result(folder: Path, result: Any, *, had_ended: bool) -> None:
    """Write a result into the folder of its run.

    Parameters
    ----------
    folder
        The folder.
    result
        A dataclass of JSON values.
    had_ended
        Whether the run had ended before this call, whose duration says nothing: a record that is there stays then.

    Raises
    ------
    FsrcacheError
        If it cannot be written.
    """
    if had_ended and (folder / RESULT).exists():
        return
    write_whole(folder / RESULT, (json.dumps(asdict(result), indent=2, allow_nan=False) + "\n").encode())
