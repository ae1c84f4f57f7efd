"""How much of a table is memory: the accuracy of its rows by the distance of a face to the nearest face of training.

Run as ``python -m studies.near_twins --workspace DIR --out FOLDER`` after ``fsrcache evaluate`` there, whose kept
predictions it reads. Data sets have faces twice, cut a little otherwise or photographed a moment later, and no hash
finds them. Distances are those of the features at full resolution, standardised, from a scored face to the trained ones
and their mirrored twins, where the store has a view of them. It writes ``near-twins.json`` and ``near-twins.md``.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.evaluation.predictions import KIND
from fsrcache.models.weights import read_weights
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace

# shares of the faces, the nearest first; the last two are sums
SHARES = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0), (0.0, 0.25), (0.25, 1.0))
_PART = 512  # faces at a time


@click.command
@click.option("--workspace", "folder", required=True, type=click.Path(path_type=Path, exists=True), help="Its folder.")
@click.option("--split", default="val", show_default=True, help="Split that was evaluated.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
def main(folder: Path, split: str, out: Path) -> None:
    """Write accuracy by distance."""
    workspace = Workspace(folder)
    store = FeatureStore(workspace.store)
    distances = distances_to_training(store, split)
    right = rows_right(workspace.predictions, split, store.labels(split))
    record = {
        "machine": machine(torch.device("cpu")),
        "commit": commit(),
        "data": store.spec.data,
        "split": split,
        "faces": len(distances),
        "groups": groups(distances, right),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "near-twins.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "near-twins.md").write_text(in_markdown(record))


def distances_to_training(store: FeatureStore, split: str) -> NDArray[np.float32]:
    """Return the distance of every face of a split, fp32 [n], to the nearest one that is trained on."""
    own, trained = _features(store, split), _features(store, "train")[~store.held_out()]
    mirrored = [_features(store, name)[~store.held_out(name)] for name in store.spec.extra if name == "view-1"]
    mean, deviation = trained.mean(0), trained.std(0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    others = (torch.cat([trained, *mirrored]) - mean) / scale
    own = (own - mean) / scale
    parts = [torch.cdist(own[start : start + _PART], others).amin(1) for start in range(0, len(own), _PART)]
    distances: NDArray[np.float32] = torch.cat(parts).numpy()
    return distances


def rows_right(predictions: Path, split: str, labels: NDArray[np.integer]) -> dict[str, dict[int, NDArray[np.float64]]]:
    """Return by row and scale the share of its seeds that are right about each face with the frozen head, [n]."""
    kept: dict[str, dict[int, list[NDArray[np.bool_]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(predictions.rglob(f"{split}-frozen.safetensors")):
        row, *seed = path.parent.relative_to(predictions).parts
        if len(seed) > 1:  # one network of several
            continue
        for name, probabilities in read_weights(path, kind=KIND)[0].items():
            kept[row][int(name.removeprefix("x"))].append(probabilities.numpy().argmax(1) == labels)
    return {row: {scale: np.mean(seeds, axis=0) for scale, seeds in scales.items()} for row, scales in kept.items()}


def groups(distances: NDArray[np.float32], right: dict[str, dict[int, NDArray[np.float64]]]) -> list[dict[str, Any]]:
    """Return the groups of faces from the nearest to the farthest, with each row's accuracies in percent."""
    order, described = distances.argsort(kind="stable"), []
    for low, high in SHARES:
        chosen = order[int(low * len(order)) : int(high * len(order))]
        accuracies = {
            row: {
                "full_resolution": 100 * scales[1][chosen].mean() if 1 in scales else None,
                "coarse": 100 * np.mean([values[chosen].mean() for scale, values in scales.items() if scale > 1]),
            }
            for row, scales in right.items()
        }
        farthest = float(distances[chosen].max())
        described.append({"from": low, "to": high, "faces": len(chosen), "farthest": farthest, "rows": accuracies})
    return described


def in_markdown(record: dict[str, Any]) -> str:
    """Return the record as a table: mean accuracy over the coarse scales, and the extractor at full resolution."""
    first = record["groups"][0]["rows"]
    lines = [
        f"Accuracy in percent on {record['split']} of {record['data']}, frozen head, by the distance to the nearest "
        "trained face: mean over the coarse scales, and bicubic at full resolution.",
        "",
        "| row | " + " | ".join(_in_words(group) for group in record["groups"]) + " |",
        "| --- |" + " ---: |" * len(record["groups"]),
        "| faces | " + " | ".join(f"{group['faces']:,}" for group in record["groups"]) + " |",
        "| farthest | " + " | ".join(f"{group['farthest']:.1f}" for group in record["groups"]) + " |",
    ]
    cells = [group["rows"]["bicubic"]["full_resolution"] for group in record["groups"] if "bicubic" in first]
    lines += ["| full resolution | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |"] if cells else []
    lines += [
        f"| {row} | " + " | ".join(f"{group['rows'][row]['coarse']:.1f}" for group in record["groups"]) + " |"
        for row in first
    ]
    return "\n".join(lines) + "\n"


def _in_words(group: dict[str, Any]) -> str:
    return f"{100 * group['from']:.0f} to {100 * group['to']:.0f} %"


def _features(store: FeatureStore, split: str) -> Tensor:
    return torch.from_numpy(store.features(split, 1)[: len(store.labels(split))]).float()


if __name__ == "__main__":
    main()
