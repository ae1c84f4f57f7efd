"""TensorBoard as a tracker: events in the run's folder ``tensorboard``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter


class TensorBoardTracker:
    """Writes events.

    Parameters
    ----------
    folder
        Folder of the events.
    step
        Step that the run goes on from; events after it are left out by TensorBoard.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def open_tracker(folder: Path, settings: Mapping[str, Any], step: int) -> TensorBoardTracker:  # noqa: ARG001
    """Return the tracker of a run by its folder."""
    return TensorBoardTracker(folder / "tensorboard", step=step)
