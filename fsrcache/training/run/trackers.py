"""Trackers: the numbers of every status line in programs that draw them, none of which can fail a training."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, Protocol

from fsrcache.errors import RequestError
from fsrcache.presets import LOGS
from fsrcache.progress import ProgressCallback, note
from fsrcache.records import shortened
from fsrcache.training.run.loop import Log
from fsrcache.training.step.updates import TERMS


class Tracker(Protocol):
    """What keeps the numbers of a run. Whatever a method raises, the training goes on without the tracker."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the numbers of a step by name, such as ``loss/l2``."""
        ...

    def close(self) -> None:
        """Write out what is left."""
        ...


OpenTracker = Callable[[Path, Mapping[str, Any], int], Tracker]  # of a run's folder, its settings and its first step


class Trackers:
    """The trackers of a run as one.

    Parameters
    ----------
    names
        Names of :data:`fsrcache.presets.LOGS`.
    folder
        Folder of the run.
    settings
        Settings of the run as JSON values.
    on_progress
        Callback for a note on a tracker that fails.

    Raises
    ------
    RequestError
        If there is no such tracker, or it is not installed.
    """

    def __init__(
        self, names: Sequence[str], *, folder: Path, settings: Mapping[str, Any], on_progress: ProgressCallback
    ) -> None:
        self._openers = {name: _opener(name) for name in _known(names)}
        self._folder, self._settings, self._on_progress = folder, settings, on_progress
        self._trackers: dict[str, Tracker] = {}

    def begin(self, step: int) -> Log:
        """Open the trackers of a run that goes on from a step; the steps after it come again."""
        for name in self._openers:
            self._guarded(name, partial(self._open, name, step))
        return self.log

    def log(self, step: int, line: Mapping[str, Any]) -> None:
        """Send a status line to every tracker."""
        values = tagged(line)
        for name, tracker in list(self._trackers.items()):
            self._guarded(name, partial(tracker.log, step, values))

    def close(self) -> None:
        """Close every tracker."""
        for name, tracker in list(self._trackers.items()):
            self._guarded(name, tracker.close)

    def _open(self, name: str, step: int) -> None:
        self._trackers[name] = self._openers[name](self._folder, self._settings, step)

    def _guarded(self, name: str, action: Callable[[], None]) -> None:
        """Do what a tracker may fail at, without what it prints; one that fails is left out from then on."""
        try:
            with redirect_stdout(StringIO()):
                action()
        except Exception as error:  # whatever a tracker raises
            self._trackers.pop(name, None)
            self._on_progress(note(f"{name} failed and logs no more, the training goes on: {error!r:.300}."))


def tagged(line: Mapping[str, Any]) -> dict[str, float]:
    """Return a status line's numbers under a tracker's names: a group, a slash, and the number's name."""
    tags: dict[str, float] = {}
    for name, value in line.items():
        if name == "held_out_accuracy":
            tags |= {f"held_out_accuracy/{_scale(scale)}": percent for scale, percent in value.items()}
        elif name in TERMS:
            tags[f"loss/{name}"] = value
        elif name.startswith("weights_"):
            tags[f"weights/{name.removeprefix('weights_')}"] = value
        elif name.endswith("_gradient"):
            tags[f"gradient_norm/{name.removesuffix('_gradient')}"] = value
        elif name not in ("step", "seconds"):
            tags[f"training/{name}"] = value
    return tags


def _known(names: Sequence[str]) -> list[str]:
    """Return names of trackers, each once."""
    if isinstance(names, str):
        raise RequestError(f"The trackers are {shortened(names)}.", f"Name a list of them: [{names!r}].")
    for name in names:
        if name not in LOGS:
            raise RequestError(f"There is no tracker {shortened(name)}.", f"Use {', '.join(LOGS)}.")
    return list(dict.fromkeys(names))


def _opener(name: str) -> OpenTracker:
    """Return the function of a tracker's module that opens one, its package being there."""
    try:
        opener: OpenTracker = import_module(f"fsrcache.training.run.tracker_{name}").open_tracker
    except ImportError as error:
        raise RequestError(
            f"{name} cannot be loaded: {error}.", f"Install it: pip install 'fsrcache[{name}]'."
        ) from None
    return opener


def _scale(scale: str) -> str:
    return "HR" if scale == "1" else f"x{scale}"
