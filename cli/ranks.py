"""One voice for the processes of a command that torchrun started: of those that fail the first speaks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from fsrcache.errors import FsrcacheError, RequestError

if TYPE_CHECKING:
    from fsrcache.training.ranks import Ranks

SHARED = ("pretrain", "extract", "train", "sweep", "baselines")  # commands whose work several processes share
_FAILED, _INTERRUPTED = 1, 130  # exit codes


@contextmanager
def one_voice() -> Iterator["Ranks"]:
    """Join torchrun's processes, and end silently where another process has said what failed."""
    from fsrcache.training.ranks import joined  # and torch, not for --help and completion

    with joined() as ranks:
        try:
            yield ranks
        except (FsrcacheError, OSError, KeyboardInterrupt) as error:
            if ranks.fails_first():
                raise
            code = _INTERRUPTED if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", _FAILED)
            raise click.exceptions.Exit(code) from None


def started_by_torchrun() -> bool:
    """Tell whether torchrun started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE") != "1"


def refuse_several(command: str) -> None:
    """Raise if torchrun started several processes of a command whose work is that of one."""
    if command in SHARED or not started_by_torchrun():
        return
    with one_voice() as ranks:
        raise RequestError(
            f"fsrcache {command} is the work of one process, and torchrun started {ranks.size}.",
            f"Run it without torchrun; only {', '.join(SHARED)} share their work.",
        )


def refuse_measuring(ranks: "Ranks") -> None:
    """Raise if several processes were to measure a few steps: an estimate is that of one."""
    if ranks.size > 1:
        raise RequestError("A dry run measures one process.", "Run it without torchrun.")
