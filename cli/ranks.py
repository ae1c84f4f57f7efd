"""One voice for the processes of a command that torchrun started: of those that fail the first speaks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from fsrcache.errors import FsrcacheError, RequestError

if TYPE_CHECKING:
    from fsrcache.training.ranks import Ranks

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


def refuse_measuring(ranks: "Ranks") -> None:
    """Raise if several processes were to measure a few steps: an estimate is that of one."""
    if ranks.size > 1:
        raise RequestError("A dry run measures one process.", "Run it without torchrun.")
