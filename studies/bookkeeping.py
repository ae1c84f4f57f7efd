"""What a store's metadata cost by the number of faces: order, columns, list of blocks and root, without any feature.

Run as ``python -m studies.bookkeeping --faces 1000000``; ten million take about five gigabytes of memory.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from fsrcache.benchmarks.harness import peak_memory
from fsrcache.faces.listing import string_array
from fsrcache.store.layout import arrays
from fsrcache.store.order import row_order
from fsrcache.store.root import Root, parse_root
from fsrcache.store.spec import DIGESTS, StoreSpec, chunk_and_block
from fsrcache.store.writer import FeatureWriter
from studies.command import StudyCommand

_LETTERS = 24  # of a picture's name
_SIDE, _EMBEDDING = 128, 128  # of the preset paper


@click.command(cls=StudyCommand)
@click.option("--faces", type=click.IntRange(1), required=True, help="Number of faces.")
def main(faces: int) -> None:
    """Measure in this process and print."""
    click.echo(json.dumps(measured(faces)))


def bookkeeping(faces: int) -> dict[str, float]:
    """Return what ``measured`` says of so many faces, in a process of its own."""
    command = [sys.executable, "-m", "studies.bookkeeping", "--faces", str(faces)]
    answer: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return answer


def measured(
    faces: int, *, classes: Sequence[str] = tuple("abcdefgh"), scales: Sequence[int] = range(1, 9)
) -> dict[str, float]:
    """Measure in this process.

    Returns
    -------
    dict
        ``faces``; ``ordering_seconds`` of the rows; ``columns_seconds`` of writing labels, ids and hashes to this disk;
        ``missing_seconds`` of finding which blocks are missing; ``root_bytes`` of a complete store, and
        ``root_seconds`` of reading and checking it; ``imported_bytes`` and ``peak_bytes`` of memory.
    """
    imported = peak_memory()
    random = np.random.default_rng(0)
    names = string_array(f"{number:0{_LETTERS}}" for number in range(faces))
    labels = random.integers(0, len(classes), faces, np.uint8)
    hashes = random.integers(0, 256, (faces, 16), np.uint8)
    length = _SIDE * (_SIDE + 1) // 2
    chunk, block = chunk_and_block(2 * length, {"train": faces})
    spec = StoreSpec(
        digests=dict.fromkeys(DIGESTS, "0" * 64), classes=tuple(classes), scales=tuple(scales),
        widths={"features": length, "embeddings": _EMBEDDING, "probabilities": len(classes)},
        recipe={}, data="", rows={"train": faces}, chunk=chunk, block=block,
    )  # fmt: skip
    result: dict[str, Any] = {"faces": faces, "imported_bytes": imported}

    def timed(name: str, began: float) -> None:
        result[f"{name}_seconds"] = time.perf_counter() - began

    began = time.perf_counter()
    order = row_order(hashes, labels, ids=names)
    timed("ordering", began)
    with TemporaryDirectory(prefix="fsrcache-bookkeeping-") as folder:
        began = time.perf_counter()
        columns: dict[str, Any] = {
            "labels": {"train": labels[order]},
            "ids": {"train": names[order]},
            "hashes": {"train": hashes[order]},
        }
        with FeatureWriter(Path(folder) / "store", spec, **columns) as writer:
            timed("columns", began)
            began = time.perf_counter()
            blocks = len(writer.missing())
            timed("missing", began)
    assert blocks == spec.blocks("train") * len(spec.scales)
    root = Root(spec, {array.name: ["0" * 32] * array.files for array in arrays(spec)}).document()
    began = time.perf_counter()
    parse_root(root, store="it", location="it")
    timed("root", began)
    return {**result, "root_bytes": len(root), "peak_bytes": peak_memory()}


if __name__ == "__main__":
    main()
