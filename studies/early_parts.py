"""How fine early features should be: ridge maps at some scales, by the parts that a layer's maps are averaged over.

Run as ``python -m studies.early_parts --workspace DIR --title NAME --out DIR`` on a workspace whose extractor is a
CovPoolFER and whose store has the scales. The maps in front of the last stage are computed again from the faces, and
averaged over ``N x N`` parts for every N; 0 stands for the feature alone, and 3 is what a store keeps. A ridge map
reads feature and means at one scale; no views are read. Accuracy is the frozen head's on the faces held out of
training, at the best of the row ridge's penalties, which the same faces choose. It writes ``early-parts-NAME.json`` and
``early-parts-NAME.md``.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.cli.progress import shown
from fsrcache.errors import FsrcacheError
from fsrcache.extraction.features import view_of
from fsrcache.extraction.source import FaceSource, face_source
from fsrcache.extractors.covpool import CovPoolFER
from fsrcache.extractors.opening import open_extractor
from fsrcache.progress import ProgressCallback, counted
from fsrcache.store.reader import FeatureStore
from fsrcache.training.ridge import RIDGE, Moments
from fsrcache.verbs.data import read_faces
from fsrcache.workspace import Workspace
from studies.command import StudyCommand

_CPU = torch.device("cpu")
_BATCH, _PART = 128, 1024  # faces that are extracted, and rows that are added, at a time


@click.command(cls=StudyCommand)
@click.option(
    "--workspace", required=True, type=click.Path(path_type=Path, exists=True), help="Workspace with a store."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
@click.option("--title", required=True, help="Name of the data in the names of the files.")
@click.option(
    "--scales", multiple=True, type=click.IntRange(2), default=(3, 4, 6), show_default=True, help="Repeatable."
)
@click.option(
    "--parts", multiple=True, type=click.IntRange(0), default=(0, 3, 4, 6, 8), show_default=True, help="Repeatable."
)
def main(workspace: Path, out: Path, title: str, scales: tuple[int, ...], parts: tuple[int, ...]) -> None:
    """Fit the maps and record their accuracy."""
    files = Workspace(workspace)
    store, console = FeatureStore(files.store), Console(stderr=True)
    with shown(console) as on_progress:
        source = source_of(files, store, on_progress)
        record: dict[str, Any] = {
            "machine": machine(_CPU),
            "commit": commit(),
            "extractor": source.extractor.summary,
            "data": store.spec.data,
            "trained": int((~store.held_out()).sum()),
            "held_out": int(store.held_out().sum()),
            "accuracy": {},
        }
        for scale in scales:
            means = means_of(source, scale, parts, on_progress)
            for count in parts:
                fitted = accuracy(store, source, scale, means.get(count))
                record["accuracy"].setdefault(f"{count}", {})[f"{scale}"] = fitted
    out.mkdir(parents=True, exist_ok=True)
    (out / f"early-parts-{title}.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / f"early-parts-{title}.md").write_text("".join(f"{line}\n" for line in table(record)))


def source_of(files: Workspace, store: FeatureStore, on_progress: ProgressCallback) -> FaceSource:
    """Return the faces of a store, read again, and the extractor; a ``FsrcacheError`` where they are others."""
    data, extractor = files.data(), open_extractor(files.extractor_source)
    if data is None or not isinstance(extractor.module, CovPoolFER):
        raise FsrcacheError(f"{files.folder} has no data, or an extractor that is no CovPoolFER.")
    faces, _ = read_faces(data, side=extractor.side, on_progress=on_progress)
    source = face_source(faces, extractor, device=_CPU)
    if not np.array_equal(source.faces.hashes[source.order["train"]], store.hashes("train")):
        raise FsrcacheError(f"The faces of {data.path} are not those of the store {store.name}.")
    return source


@torch.inference_mode()
def means_of(source: FaceSource, scale: int, parts: Sequence[int], on_progress: ProgressCallback) -> dict[int, Tensor]:
    """Return the means of the maps in front of the last stage over so many parts each way, fp16 [n, C parts^2] each.

    Rows are those of the training split; 0 parts have no means.
    """
    module, caught = source.extractor.module, []
    assert isinstance(module, CovPoolFER)
    hook = module.trunk[module.last_stage].register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    found: dict[int, list[Tensor]] = {count: [] for count in parts if count}
    order = source.order["train"]
    batches = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
    try:
        for rows in counted(batches, f"maps at x{scale}", "batches", on_progress, total=len(batches)):
            pictures = view_of(source.batch(rows), scale=scale, degradation=source.degradation)
            module(torch.from_numpy(pictures))
            maps = caught.pop().float()
            for count, means in found.items():
                means.append(adaptive_avg_pool2d(maps, count).flatten(1).half())
    finally:
        hook.remove()
    return {count: torch.cat(means) for count, means in found.items()}


@torch.inference_mode()
def accuracy(store: FeatureStore, source: FaceSource, scale: int, means: Tensor | None) -> float:
    """Return the best accuracy in percent, over the penalties, of a ridge map that reads features and perhaps means."""
    coarse, fine = (torch.from_numpy(store.features("train", one)[:]).float() for one in (scale, 1))
    read = coarse if means is None else torch.cat([coarse, means.float()], 1)
    held_out = torch.from_numpy(store.held_out())
    labels = torch.from_numpy(store.labels("train").astype(np.int64))[held_out]
    moments = Moments(fine.shape[1], read.shape[1] - fine.shape[1])
    for rows in torch.split(torch.arange(len(read))[~held_out], _PART):
        moments.add(read[rows], fine[rows])
    head: nn.Module = source.extractor.frozen_head()
    right: list[float] = []
    for penalty in RIDGE.penalties:
        weight, bias = moments.solve(penalty)
        answers = head(read[held_out] @ weight.float() + bias.float())[1].argmax(1)
        right.append((answers == labels).double().mean().item())
    return 100 * max(right)


def table(record: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the record as Markdown."""
    scales = list(next(iter(record["accuracy"].values())))
    yield (
        f"Accuracy of the frozen head in percent on {record['held_out']:,} faces held out of training, of a ridge map "
        f"at each scale, fitted to {record['trained']:,} faces; standard error "
        f"{100 * (0.16 / record['held_out']) ** 0.5:.1f}. {record['data']}; {record['extractor']}.\n"
    )
    yield f"| early features | {' | '.join(f'x{scale}' for scale in scales)} | mean |"
    yield f"| --- |{' ---: |' * (len(scales) + 1)}"
    for count, found in record["accuracy"].items():
        name = f"{count} x {count}" if int(count) else "none"
        yield f"| {name} | {' | '.join(f'{one:.1f}' for one in found.values())} | {fmean(found.values()):.1f} |"


if __name__ == "__main__":
    main()
