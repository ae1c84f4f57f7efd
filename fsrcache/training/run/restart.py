"""Runs begun anew: what would have them go on from their last steps is removed, and what they made stays."""

from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.models.weights import read_record
from fsrcache.training.run.checkpoint import CHECKPOINT, KIND, has_checkpoint, previous
from fsrcache.training.run.lock import run_lock
from fsrcache.training.run.spent import SO_FAR

_OTHERS = ("history.jsonl", "result.json", SO_FAR)


def discard_runs(*folders: Path) -> None:
    """Remove the checkpoints of runs with their time, history and result; weights stay, with theirs, until replaced.

    Of runs that are trained one after another all are discarded before the first begins, so that what was interrupted
    goes on without discarding. Nothing is removed where there is no checkpoint.

    Parameters
    ----------
    folders
        Folders of the runs.

    Raises
    ------
    FsrcacheError
        If a file of a checkpoint's name is none of ours or damaged, or a process trains in a folder; nothing is removed
        in any then.
    """
    begun = [folder for folder in folders if has_checkpoint(folder)]
    for folder in begun:
        with run_lock(folder):
            for file in _checkpoints(folder):
                try:
                    read_record(file, kind=KIND)
                except FsrcacheError as error:
                    raise FsrcacheError(
                        f"{error.what} Nothing was removed.", f"Remove {file} yourself to begin anew."
                    ) from None
    for folder in begun:
        with run_lock(folder):
            for file in (*(folder / name for name in _OTHERS), *_checkpoints(folder)):
                file.unlink(missing_ok=True)


def _checkpoints(folder: Path) -> list[Path]:
    newest = folder / CHECKPOINT
    return [file for file in (previous(newest), newest) if file.exists()]
