"""Weights & Biases as a tracker: an offline run in the run's folder ``wandb``, for ``wandb sync``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb


class WandbTracker:
    """Writes an offline run.

    Parameters
    ----------
    folder
        Folder of the run, whose name is that of the offline one.
    settings
        Settings of the run as JSON values.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        quiet = wandb.Settings(mode="offline", silent=True, console="off", x_disable_stats=True, disable_git=True)
        wandb.setup(quiet)  # or its own telemetry looks for its server
        self._run = wandb.init(
            project="fsrcache", name=folder.name, group=folder.name, dir=str(folder), config=dict(settings),
            reinit="create_new", settings=quiet,
        )  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def open_tracker(folder: Path, settings: Mapping[str, Any], step: int) -> WandbTracker:  # noqa: ARG001
    """Return the tracker of a run; one that goes on is a further offline run of the same name and group."""
    return WandbTracker(folder, settings)
