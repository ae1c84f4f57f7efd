"""A run begun anew: what would have it go on from its last step is removed, and what it made stays until then."""

from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.models.weights import read_record
from fsrcache.training.run.checkpoint import CHECKPOINT, KIND, has_checkpoint, previous, run_lock
from fsrcache.training.run.spent import TIME

_OTHERS = ("history.jsonl", "result.json", TIME)


def discard_run(folder: Path) -> None:
    """Remove a run's checkpoints, history, result and time; its weights stay until the new run replaces them.

    Nothing is removed where there is no checkpoint.

    Parameters
    ----------
    folder
        Folder of the run.

    Raises
    ------
    FsrcacheError
        If a file of a checkpoint's name is none of ours or damaged, or a process trains in the folder.
    """
    if not has_checkpoint(folder):
        return
    newest = folder / CHECKPOINT
    with run_lock(folder):
        files = [file for file in (previous(newest), newest) if file.exists()]
        for file in files:
            try:
                read_record(file, kind=KIND)
            except FsrcacheError as error:
                raise FsrcacheError(
                    f"{error.what} Nothing was removed.", f"Remove {file} yourself to begin anew."
                ) from None
        for file in (*(folder / name for name in _OTHERS), *files):
            file.unlink(missing_ok=True)
