"""An exported model in ONNX Runtime against PyTorch: equality, accuracy, speed and size of every precision.

Run as ``python -m studies.export --workspace DIR --out benchmarks/results/export.json``. The faces are those of the
validation split, or else of the test split, at every scale, in their true pixels; ONNX Runtime and PyTorch have as many
threads, in one process.
"""

import json
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

import fsrcache
from fsrcache.cli.options import parse_scales
from fsrcache.errors import RequestError
from fsrcache.extractors.onnx_graph import open_session
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.decode import Pictures
from fsrcache.faces.expressions import SPLITS
from fsrcache.progress import no_progress
from fsrcache.verbs.data import read_faces
from fsrcache.workspace import Workspace
from studies.command import StudyCommand

_PACKAGES = ("fsrcache", "torch", "onnx", "onnxscript", "onnxruntime")
_BATCH = 64
_Probabilities = NDArray[np.float32]


@click.command(cls=StudyCommand)
@click.option("--workspace", required=True, type=click.Path(path_type=Path, exists=True), help="A trained workspace.")
@click.option("--name", default="default", show_default=True, help="Name of the training run.")
@click.option("--scales", default="1,2,4,8", show_default=True, callback=parse_scales, help="Scales to measure.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="JSON file to write.")
def main(workspace: Path, name: str, scales: list[int], out: Path) -> None:
    """Measure every precision and write the figures."""
    model = fsrcache.load(workspace, name)
    split, faces, labels = scored_faces(Workspace(workspace), model.extractor.side, model.classes)
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {package: version(package) for package in _PACKAGES},
        "extractor": model.extractor.summary,
        "split": split,
        "faces": len(faces),
        "models": [],
    }
    views = {scale: imresize_batch(faces, scale=1 / scale) for scale in scales}  # as the extraction makes them coarse
    answers = {scale: _timed(lambda batch: model(batch).probabilities, view) for scale, view in views.items()}
    with TemporaryDirectory() as folder:
        for precision in ("fp32", "fp16", "int8"):
            result = fsrcache.export(Path(folder) / precision, workspace, name=name, precision=precision)
            session = open_session((Path(folder) / precision / "model.onnx").read_bytes(), where=Path(folder))

            def ask(batch: Pictures, session: Any = session) -> _Probabilities:
                answer: _Probabilities = session.run(None, {"faces": batch.transpose(0, 3, 1, 2)})[0]
                return answer

            for scale, view in views.items():
                expected, seconds = answers[scale]
                found, theirs = _timed(ask, view)
                row = {
                    "precision": precision,
                    "megabytes": result.onnx_bytes / 1e6,
                    "scale": scale,
                    "accuracy": 100 * float((found.argmax(1) == labels).mean()),
                    "accuracy_pytorch": 100 * float((expected.argmax(1) == labels).mean()),
                    "same_labels": int((found.argmax(1) == expected.argmax(1)).sum()),
                    "difference": float(np.abs(found - expected).max()),
                    "beyond_1e-4": int((np.abs(found - expected).max(1) > 1e-4).sum()),
                    "faces_per_second": len(view) / theirs,
                    "times_pytorch": seconds / theirs,
                }
                record["models"].append(row)
                click.echo(json.dumps(row))
    out.write_text(json.dumps(record, indent=1) + "\n")


def scored_faces(workspace: Workspace, side: int, classes: Sequence[str]) -> tuple[str, Pictures, NDArray[np.int64]]:
    """Return the validation split, or else the test split: its name, faces and labels.

    The faces are in colour, uint8 [n, S, S, 3]; the labels are indices into ``classes``.

    Raises
    ------
    RequestError
        If the workspace remembers no data, or these have neither split.
    """
    data = workspace.data()
    if data is None:
        raise RequestError(f"{workspace.folder} remembers no data.", "Name a workspace that was extracted from faces.")
    faces, _ = read_faces(data, on_progress=no_progress, side=side)
    for split in ("val", "test"):
        if len(rows := np.flatnonzero(faces.splits == SPLITS.index(split))):
            pictures = faces.batch(rows)
            colours = np.repeat(pictures, 3, axis=3) if pictures.shape[3] == 1 else pictures
            return split, colours, np.array([classes.index(faces.classes[label]) for label in faces.labels[rows]])
    raise RequestError(f"{data.in_words} has neither val nor test.", "Name a workspace whose data have one of them.")


def _timed(ask: Callable[[Pictures], _Probabilities], faces: Pictures) -> tuple[_Probabilities, float]:
    """Return probabilities [n, K] of faces by batches of 64, and the seconds that they took."""
    ask(faces[:_BATCH])
    began = time.perf_counter()
    parts = [ask(faces[start : start + _BATCH]) for start in range(0, len(faces), _BATCH)]
    return np.concatenate(parts), time.perf_counter() - began


if __name__ == "__main__":
    main()
