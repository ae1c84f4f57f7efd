"""How long one waits: 64 faces in memory, and the first answer of a cold ``fsrcache predict photo.jpg``.

Run as ``python -m studies.first_answer --workspace DIR --picture photo.jpg``.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import click
import numpy as np

from fsrcache import load
from fsrcache.faces.decode import decode
from fsrcache.prediction.finders import default_finder, find_faces, open_finder
from studies.command import StudyCommand

_FACES = 64


@click.command(cls=StudyCommand)
@click.option(
    "--workspace", required=True, type=click.Path(path_type=Path, file_okay=False), help="A trained workspace."
)
@click.option("--picture", required=True, type=click.Path(path_type=Path, dir_okay=False), help="A photograph.")
@click.option("--repeats", default=5, show_default=True, help="Repetitions, of which the median is printed.")
def main(workspace: Path, picture: Path, repeats: int) -> None:
    """Print median times in seconds."""
    model, detect = load(workspace), open_finder(default_finder())
    faces = np.random.default_rng(0).integers(0, 256, (_FACES, 16, 16, 3)).astype(np.uint8)
    pixels = decode(picture)
    command = [sys.executable, "-m", "fsrcache", "predict", str(picture), "--workspace", str(workspace), "--json"]
    work: dict[str, Callable[[], object]] = {
        f"{_FACES} faces of 16 pixels": lambda: model(faces),
        f"finding faces in {pixels.shape[1]} x {pixels.shape[0]}": lambda: find_faces(pixels, detect),
        "fsrcache predict, cold": lambda: subprocess.run(command, check=True, capture_output=True),
    }
    for name, call in work.items():
        call()  # what is measured once, and libraries that are loaded
        click.echo(f"{name}: {median(_seconds(call) for _ in range(repeats)):.2f} s")


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
