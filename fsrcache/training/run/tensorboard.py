"""The numbers of every status line as TensorBoard's events: an optional package, loaded only when asked for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.training.run.loop import Log
from fsrcache.training.step.updates import TERMS


def tensorboard_log(folder: Path) -> Callable[[int], Log]:
    """Return a function of the step that a run goes on from; it returns a log that writes events into a folder.

    Raises
    ------
    RequestError
        If TensorBoard is not installed; the log raises FsrcacheError if it cannot write.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RequestError(
            f"TensorBoard cannot be loaded: {error}.", "Install it: pip install 'fsrcache[tensorboard]'."
        ) from None

    def begin(step: int) -> Log:
        with _writing(folder):
            writer = SummaryWriter(str(folder), purge_step=step + 1)  # what comes after is written again

        def log(step: int, line: Mapping[str, Any]) -> None:
            with _writing(folder):
                for name, value in tagged(line).items():
                    writer.add_scalar(name, value, step)
                writer.flush()

        return log

    return begin


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FsrcacheError(
            f"{folder} cannot be written: {error.strerror or error}.", "Check the folder and the space left."
        ) from error


def tagged(line: Mapping[str, Any]) -> dict[str, float]:
    """Return a status line's numbers under TensorBoard's names: a group, a slash, and the number's name."""
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


def _scale(scale: str) -> str:
    return "HR" if scale == "1" else f"x{scale}"
