"""Peak memory of a training against its least: the cache of features, the weights and the optimiser's moments.

Run as ``python -m studies.resident``; it prints one JSON document. The features are random numbers, as many
as RAF-DB has at eight scales and D 128 (2 GB), and ``best`` trains on them for some steps in a process of its own.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch

from fsrcache.benchmarks.harness import commit, machine, peak_memory
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.models.weights import file_digest
from fsrcache.presets import EXTRACTORS, TRAINING
from fsrcache.spd import vech_length
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import DIGESTS, StoreSpec, chunk_and_block
from fsrcache.store.writer import FeatureWriter
from fsrcache.training.run.train import train_generator
from studies.command import StudyCommand

_CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_SCALES = tuple(range(1, 9))
_SHAPE = EXTRACTORS["paper"]


@click.command(cls=StudyCommand)
@click.option("--rows", type=click.IntRange(100), default=15_339, show_default=True, help="Number of faces.")
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True, help="Number of training steps.")
@click.option("--within", type=click.Path(path_type=Path), hidden=True, help="Folder to train in, in this process.")
def main(rows: int, steps: int, within: Path | None) -> None:
    """Measure and print."""
    if within is not None:
        click.echo(json.dumps(train(within, steps)))
        return
    with TemporaryDirectory(prefix="fsrcache-resident-") as name:
        write(Path(name), rows)
        command = [sys.executable, "-m", "studies.resident", "--within", name, "--steps", str(steps)]
        completed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    record = {"machine": machine(torch.device("cpu")), "commit": commit(), **json.loads(completed.stdout)}
    click.echo(json.dumps(record, indent=1))


def write(folder: Path, rows: int) -> None:
    """Write an extractor with untrained weights, and a store of random numbers in its name."""
    torch.manual_seed(0)
    extractor = folder / "extractor.safetensors"
    save_covpool(extractor, CovPoolFER(_SHAPE, _CLASSES).eval(), training={})
    length = vech_length(_SHAPE.spd_side)
    chunk, block = chunk_and_block(2 * length, {"train": rows})
    spec = StoreSpec(
        digests=dict.fromkeys(DIGESTS, "00") | {"weights": file_digest(extractor)}, classes=_CLASSES, scales=_SCALES,
        widths={"features": length, "embeddings": _SHAPE.embedding, "probabilities": len(_CLASSES)},
        recipe={"spd_side": _SHAPE.spd_side, "side": _SHAPE.side}, data="drawn numbers", rows={"train": rows},
        chunk=chunk, block=block,
    )  # fmt: skip
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {
        "labels": {"train": random.integers(0, len(_CLASSES), rows).astype(np.uint8)},
        "ids": {"train": list(map(str, range(rows)))},
        "hashes": {"train": random.integers(0, 256, (rows, 16)).astype(np.uint8)},
    }
    with FeatureWriter(folder / "features.zarr", spec, **columns) as writer:
        for split, scale, number in writer.missing():
            span = writer.rows(split, number)
            values = {
                name: random.random((span.stop - span.start, width), np.float32) for name, width in spec.widths.items()
            }
            writer.write(split, scale, block=number, **values)
        writer.finish()


def train(folder: Path, steps: int) -> dict[str, float]:
    """Train in this process; return the bytes that a training must keep, and its peak memory."""
    before = peak_memory()
    store, config = FeatureStore(folder / "features.zarr"), replace(TRAINING["best"], steps=steps)
    run = train_generator(
        store, folder / "extractor.safetensors", config, folder=folder / "run", device=torch.device("cpu"), cache="ram"
    )
    held_out = store.held_out()
    cache = 2 * len(held_out) * len(_SCALES) * store.spec.widths["features"]
    weights = Path(run.generator).stat().st_size + (folder / "extractor.safetensors").stat().st_size
    moments = 2 * Path(run.generator).stat().st_size
    must, peak = cache + weights + moments, peak_memory()
    return {
        "rows": len(held_out), "steps": steps, "cache_bytes": cache, "weights_bytes": weights, "moments_bytes": moments,
        "peak_bytes": peak, "imported_bytes": before, "ratio": peak / must, "ratio_without_imports":
        (peak - before) / must,
    }  # fmt: skip


if __name__ == "__main__":
    main()
