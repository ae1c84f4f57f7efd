"""Whether an extraction's memory grows with the number of pictures: whole processes, of 20,000 and 200,000 rows.

Run as ``python -m studies.memory`` on Linux; it prints one JSON document. Pictures are computed when they are read;
the extractor has the features of ``small`` and few convolutions, so that the rows take minutes.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.benchmarks.harness import commit, machine, peak_memory
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.listing import Listing, string_array
from fsrcache.presets import ExtractorConfig
from studies.command import StudyCommand

CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
SIDE = 16
_SHAPE = ExtractorConfig(side=SIDE, stages=((8,), (64,)), stride=2, spd_side=64, hidden=16, embedding=16)


@click.command(cls=StudyCommand)
@click.option("--rows", type=click.IntRange(1), multiple=True, default=(20_000, 200_000), show_default=True,
              help="Rows of an extraction; repeatable.")  # fmt: skip
@click.option("--one", type=click.IntRange(1), hidden=True, help="Rows to extract in this process.")
def main(rows: tuple[int, ...], one: int | None) -> None:
    """Measure and print."""
    if one is not None:
        click.echo(json.dumps(measure(one)))
        return
    runs = [_process(count) for count in rows]
    ratio = runs[-1]["peak_bytes"] / runs[0]["peak_bytes"]
    record = {"machine": machine(torch.device("cpu")), "commit": commit(), "runs": runs, "ratio": ratio}
    click.echo(json.dumps(record, indent=1))


def measure(rows: int) -> dict[str, float]:
    """Extract pictures of noise at scales 1 and 2 in this process; return its peak memory."""
    began = time.perf_counter()
    with TemporaryDirectory(prefix="fsrcache-memory-") as folder:
        torch.manual_seed(0)
        save_covpool(Path(folder) / "extractor.safetensors", CovPoolFER(_SHAPE, CLASSES).eval(), training={})
        faces = usable_faces(noise_pictures(rows), side=SIDE)
        source = face_source(faces, Path(folder) / "extractor.safetensors", device=torch.device("cpu"))
        listed = peak_memory()
        result = extract_features(source, store=Path(folder) / "features.zarr", scales=(1, 2), data="pictures of noise")
    assert result.complete
    seconds = time.perf_counter() - began
    return {"rows": rows, "peak_bytes": peak_memory(), "peak_bytes_before_extracting": listed, "seconds": seconds}


def noise_pictures(rows: int) -> Listing:
    """Return a listing of grey pictures of noise, each computed from its number when it is read."""

    def load(number: int) -> NDArray[np.uint8]:
        words = (np.arange(SIDE * SIDE // 8, dtype=np.uint64) + np.uint64(1)) * np.uint64(2 * number + 1)
        words = (words * np.uint64(0x9E3779B97F4A7C15)) ^ (words >> np.uint64(7))
        return words.view(np.uint8).reshape(SIDE, SIDE)

    return Listing(
        layout="folder", classes=CLASSES, names=string_array(f"{number:09}.png" for number in range(rows)),
        labels=(np.arange(rows) % len(CLASSES)).astype(np.uint8), splits=np.zeros(rows, np.uint8), load=load,
        where=str, mapping={name: name for name in CLASSES},
    )  # fmt: skip


def _process(rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "studies.memory", "--one", str(rows)]
    completed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(completed.stdout)
    return result


if __name__ == "__main__":
    main()
