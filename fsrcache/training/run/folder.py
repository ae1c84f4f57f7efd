"""The folder of a run while it is trained: the first of its ranks holds it for all."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.training.ranks import Ranks
from fsrcache.training.run.lock import run_lock
from fsrcache.training.run.restart import discard_runs


def begin_anew(folders: Iterable[Path], ranks: Ranks) -> None:
    """Discard the runs of several folders before the first is trained; the first of the ranks does.

    Raises
    ------
    FsrcacheError
        As ``discard_runs``.
    """
    if ranks.first:
        discard_runs(*folders)
    ranks.wait()


@contextmanager
def held_folder(folder: Path, ranks: Ranks, *, restart: bool) -> Iterator[None]:
    """Hold the folder of a run, which is begun anew if it is to be; no rank looks into it before.

    Raises
    ------
    FsrcacheError
        As ``run_lock`` and ``discard_runs``.
    """
    if not ranks.first:
        ranks.wait()
        yield
        return
    if restart:
        discard_runs(folder)
    with run_lock(folder):
        ranks.wait()
        yield


def refuse_other_steps(checkpoint: Path, ranks: Ranks, *step: int) -> None:
    """Raise unless all ranks go on from one step: each read the checkpoint itself, before the first writes the next.

    Raises
    ------
    FsrcacheError
        With the step of every rank.
    """
    steps = [tuple(map(int, row)) for row in ranks.gathered(*step)]
    if len(set(steps)) > 1:
        there = ", ".join("/".join(f"{number:,}" for number in row) for row in steps)
        raise FsrcacheError(
            f"{checkpoint} is not the same for all processes: they would go on from steps {there}.",
            "Have the workspace on a file system that all hosts share.",
        )
