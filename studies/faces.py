"""How fast faces are drawn, resized and read, and how much expression is left in them at each scale.

Run as ``python -m studies.faces [--data PATH]``; it prints one JSON document.
"""

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

import fsrcache
from fsrcache.drawn.face import draw_face, drawn_expression
from fsrcache.faces.bicubic import imresize, imresize_batch
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import low_resolution_view
from fsrcache.faces.index import list_faces
from fsrcache.faces.survey import survey
from studies.command import StudyCommand

_TRAIN, _TEST = 4200, 1400


@click.command(cls=StudyCommand)
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Data set whose reading is timed.")
def main(data: Path | None) -> None:
    """Measure and print."""
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}",
        "versions": {
            "fsrcache": fsrcache.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "torch": torch.__version__,
        },
        "drawing": _drawing(),
        "imresize": _resizing(),
    }
    if data:
        record["reading"] = _reading(data)
    record["drawn_faces_at_scales"] = _hardness()
    click.echo(json.dumps(record, indent=2))


def _drawing() -> dict[str, float]:
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    rates = []
    for seed in range(5):
        start = time.perf_counter()
        for i in range(200):
            draw_face(seed, i)
        rates.append(200 / (time.perf_counter() - start))
    os.sched_setaffinity(0, cores)
    return {"faces_per_second_on_one_core": round(statistics.median(rates)), "slowest": round(min(rates))}


def _resizing() -> dict[str, float]:
    """Time the x4 view of 256 faces: one matrix for the batch, against a picture at a time and against Pillow."""
    pictures = np.random.default_rng(0).integers(0, 256, (256, 100, 100, 3), np.uint8)

    def batch() -> object:
        return imresize_batch(imresize_batch(pictures, scale=1 / 4), size=(100, 100))

    def one_by_one() -> object:
        return [imresize(imresize(picture, scale=1 / 4), size=(100, 100)) for picture in pictures]

    def pillow() -> object:
        bicubic = Image.Resampling.BICUBIC
        return [Image.fromarray(picture).resize((25, 25), bicubic).resize((100, 100), bicubic) for picture in pictures]

    ours, single, theirs = (_median(work) for work in (batch, one_by_one, pillow))
    return {
        "faces_per_second": round(256 / ours),
        "ratio_to_one_by_one": round(single / ours, 2),
        "ratio_to_pillow_whose_pixels_differ": round(theirs / ours, 2),
    }


def _median(work: Callable[[], object], runs: int = 5) -> float:
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _reading(data: Path) -> dict[str, float]:
    start = time.perf_counter()
    listing = list_faces(data)
    listed = time.perf_counter()
    survey(listing)
    decoded = time.perf_counter()
    return {
        "pictures": len(listing.names),
        "listing_seconds": round(listed - start, 2),
        "decoding_seconds": round(decoded - listed, 2),
        "peak_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _hardness() -> dict[str, Any]:
    """Train a small CNN on drawn faces, at full resolution and at each scale; test both on other people."""
    train, train_labels = _drawn(seed=1, count=_TRAIN)
    test, test_labels = _drawn(seed=2, count=_TEST)
    whole = _fit(train, train_labels)
    rows = []
    for scale in (1, 4, 8):
        view = low_resolution_view(test, scale)
        at_scale = whole if scale == 1 else _fit(low_resolution_view(train, scale), train_labels)
        rows.append(
            {
                "scale": scale,
                "trained_at_hr": _accuracy(whole, view, test_labels),
                "trained_at_this_scale": _accuracy(at_scale, view, test_labels),
            }
        )
    return {"train": _TRAIN, "test": _TEST, "seed": 0, "accuracy_percent": rows}


def _drawn(*, seed: int, count: int) -> tuple[Pictures, NDArray[np.int64]]:
    pictures = np.stack([draw_face(seed, i) for i in range(count)])
    return pictures, np.array([drawn_expression(seed, i) for i in range(count)], np.int64)


def _fit(pictures: Pictures, labels: NDArray[np.int64], *, epochs: int = 12, batch: int = 64) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before, after in ((3, 24), (24, 48), (48, 96), (96, 128)):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Dropout(0.3), nn.Linear(1152, 7))
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    truth = torch.from_numpy(labels)
    order = np.random.default_rng(0)
    for _ in range(epochs):
        for rows in order.permutation(len(labels))[: steps // epochs * batch].reshape(-1, batch):
            views = pictures[rows]
            views = views[:, :, ::-1].copy() if order.random() < 0.5 else views
            loss = nn.functional.cross_entropy(network(_tensor(views)), truth[rows], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
            optimiser.step()
            schedule.step()
    return network.eval()


def _accuracy(network: nn.Module, pictures: Pictures, labels: NDArray[np.int64]) -> float:
    with torch.inference_mode():
        guesses = torch.cat([network(_tensor(part)).argmax(1) for part in np.array_split(pictures, 14)])
    return round(100 * float((guesses.numpy() == labels).mean()), 1)


def _tensor(pictures: Pictures) -> torch.Tensor:
    """Return the pictures at half size, float32 ``[B, 3, 50, 50]`` in -1..1."""
    whole = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()
    return nn.functional.avg_pool2d(whole / 127.5 - 1, 2)


if __name__ == "__main__":
    main()
