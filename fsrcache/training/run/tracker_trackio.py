"""Trackio as a tracker: a run of the project ``fsrcache`` in Trackio's own folder, for ``trackio show``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trackio


class TrackioTracker:
    """Writes a run into Trackio's database.

    Parameters
    ----------
    name
        Name of the run; one that is there already goes on.
    settings
        Settings of the run as JSON values.
    """

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self._run = trackio.init(project="fsrcache", name=name, config=dict(settings), resume="allow", embed=False)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """End the run."""
        trackio.finish()


def open_tracker(folder: Path, settings: Mapping[str, Any], step: int) -> TrackioTracker:  # noqa: ARG001
    """Return the tracker of a run by its folder's name."""
    return TrackioTracker(folder.name, settings)
