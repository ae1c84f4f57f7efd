"""Crowds of faces with known labels: what finders find at every size, how right expressions are, and how long it takes.

Run as ``python -m studies.crowds --workspace DIR --out benchmarks/results``. The faces are up to 500 of the test
split, or else of validation; they are pasted at 8 to 48 pixels over drawn patches of colour, and over photographs
without faces that lie in scikit-image's wheel. It writes ``crowds.json``, every figure, and ``crowds.md``, the tables.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage import data as skimage_data

from fsrcache import Model, Workspace, imresize, load
from fsrcache.benchmarks.harness import commit, machine
from fsrcache.errors import RequestError
from fsrcache.extraction.features import features_of
from fsrcache.extraction.inputs import luma
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.boxes import Box
from fsrcache.faces.decode import Pictures
from fsrcache.faces.expressions import SPLITS
from fsrcache.prediction.crops import faces_in, square_crop
from fsrcache.prediction.finders import FINDERS, find_faces, open_finder
from fsrcache.prediction.frames import Frame, read_frames
from fsrcache.prediction.framing import framing_of
from fsrcache.prediction.predict import Face, predict_frames
from fsrcache.prediction.temperatures import UNCALIBRATED
from fsrcache.progress import no_progress
from fsrcache.verbs.data import read_faces
from studies.command import StudyCommand

_WIDTH, _HEIGHT, _CELL = 640, 480, 80  # pixels; a face a cell
_FACES = 500  # of a split
_SAME = 0.4  # intersection over union, from which on a box is a face's
_TIMED = 20  # pixels of the faces in the pictures that are timed
_PHOTOGRAPHS = (
    "brick.png", "clock_motion.png", "coffee.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "moon.png",
    "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip

Find = Callable[[Pictures], list[Box]]


class Crowd(NamedTuple):
    """A picture uint8 [H, W, 3], and the box and label of every face in it."""

    picture: Pictures
    boxes: Sequence[Box]
    labels: NDArray[np.int64]


@click.command(cls=StudyCommand)
@click.option(
    "--workspace", required=True, type=click.Path(path_type=Path, file_okay=False), help="A trained workspace."
)
@click.option("--name", default="default", show_default=True, help="Name of the run.")
@click.option("--sizes", default="8,12,16,20,24,32,40,48", show_default=True, help="Sides of the faces in pixels.")
@click.option("--pictures", default=10, show_default=True, help="Pictures a size and background, each of 48 faces.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
def main(workspace: Path, name: str, sizes: str, pictures: int, out: Path) -> None:
    """Compose crowds, search and label them, and write the figures."""
    model, source = load(workspace, name), Workspace(workspace)
    faces, labels = tested_faces(source, model.extractor.side)
    finders: dict[str, Find] = {}
    for finder in FINDERS:
        detect = open_finder(finder)
        framing = framing_of(source, detect, finder, on_progress=no_progress)
        finders[finder] = partial(find_faces, detect=detect, framing=framing)
    record: dict[str, Any] = {
        "machine": machine(torch.device("cpu")), "commit": commit(), "faces": len(faces), "pictures": pictures,
        "sizes": [], "speed": [],
    }  # fmt: skip
    for background in ("drawn", "photographs"):
        for side in map(int, sizes.split(",")):
            crowds = list(compose(faces, labels, side, pictures, photographs=background == "photographs"))
            record["sizes"].append({"background": background, "pixels": side, **measured(model, crowds, finders)})
            click.echo(json.dumps(record["sizes"][-1]))
    crowds = list(compose(faces, labels, _TIMED, pictures, photographs=True))
    for finder, find in finders.items():
        record["speed"].append({"finder": finder, **timed_prediction(model, crowds, find)})
        click.echo(json.dumps(record["speed"][-1]))
    out.mkdir(parents=True, exist_ok=True)
    (out / "crowds.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "crowds.md").write_text("\n".join(tables(record)) + "\n")


def tested_faces(workspace: Workspace, side: int) -> tuple[Pictures, NDArray[np.int64]]:
    """Return faces uint8 [n, S, S, C] of the test split, or else of validation or training, and their labels."""
    data = workspace.data()
    if data is None:
        raise RequestError(f"{workspace.folder} remembers no data.", "Name a workspace that was extracted from faces.")
    faces, _ = read_faces(replace(data, limit=_FACES), on_progress=no_progress, side=side)
    splits = (np.flatnonzero(faces.splits == SPLITS.index(split)) for split in ("test", "val", "train"))
    rows = next(rows for rows in splits if len(rows))
    return faces.batch(rows), faces.labels[rows].astype(np.int64)


def compose(faces: Pictures, labels: NDArray[np.int64], side: int, count: int, *, photographs: bool) -> Iterator[Crowd]:
    """Yield crowds whose faces have a side; at every size and on every background the same faces stand in the cells."""
    random = np.random.default_rng(0)
    cells = [(x, y) for y in range(0, _HEIGHT, _CELL) for x in range(0, _WIDTH, _CELL)]
    rounds = range(-(-count * len(cells) // len(faces)))
    order = np.concatenate([random.permutation(len(faces)) for _ in rounds])  # a face again when all had their turn
    for number, rows in enumerate(np.split(order[: count * len(cells)], count)):
        picture, boxes = _background(number, photographs=photographs), []
        for (x, y), face in zip(cells, faces[rows], strict=True):
            left, top = (int(corner + random.random() * (_CELL - side)) for corner in (x, y))
            picture[top : top + side, left : left + side] = imresize_batch(face[None], size=(side, side))[0]
            boxes.append(Box(left, top, side, side))
        yield Crowd(picture, boxes, labels[rows])


def _background(number: int, *, photographs: bool) -> Pictures:
    """Return a photograph, or drawn patches of soft colour, uint8 [480, 640, 3]."""
    size, method = (_WIDTH, _HEIGHT), Image.Resampling.BICUBIC
    if photographs:
        path = Path(skimage_data.__file__).with_name(_PHOTOGRAPHS[number % len(_PHOTOGRAPHS)])
        return np.array(ImageOps.fit(Image.open(path).convert("RGB"), size, method))
    coarse = np.random.default_rng(number).integers(40, 220, (9, 12, 3)).astype(np.uint8)
    return np.array(Image.fromarray(coarse).resize(size, method))


def measured(model: Model, crowds: Sequence[Crowd], finders: Mapping[str, Find]) -> dict[str, Any]:
    """Return recall and precision of every finder, and the accuracy of expressions with its boxes and the true ones."""
    labels = np.concatenate([crowd.labels for crowd in crowds])
    true = right(model, [square_crop(crowd.picture, box) for crowd in crowds for box in crowd.boxes], labels)
    record: dict[str, Any] = {"faces": len(labels), "true_boxes": _percent(true), "finders": {}}
    for name, find in finders.items():
        boxes = [find(crowd.picture) for crowd in crowds]
        pairs = [(crowd, *pair) for crowd, mine in zip(crowds, boxes, strict=True) for pair in matches(crowd, mine)]
        starts = dict(zip(map(id, crowds), np.cumsum([0, *(len(crowd.boxes) for crowd in crowds)]), strict=False))
        rows = np.array([starts[id(crowd)] + number for crowd, number, _ in pairs], np.int64)
        crops = [square_crop(crowd.picture, box) for crowd, _, box in pairs]
        record["finders"][name] = {
            "recall": 100 * len(rows) / len(labels),
            "precision": 100 * len(rows) / max(sum(map(len, boxes)), 1),
            "its_boxes": _percent(right(model, crops, labels[rows])),
            "true_boxes_of_these_faces": _percent({row: mine[rows] for row, mine in true.items()}),
        }
    return record


def matches(crowd: Crowd, boxes: Sequence[Box]) -> Iterator[tuple[int, Box]]:
    """Yield the number of each face that a box is of, and the box that overlaps it most."""
    for number, truth in enumerate(crowd.boxes):
        best = max(boxes, key=lambda box: _overlap(box, truth), default=None)
        if best is not None and _overlap(best, truth) >= _SAME:
            yield number, best


def _overlap(one: Box, other: Box) -> float:
    """Return intersection over union."""
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    both = max(across, 0) * max(down, 0)
    return both / (one.width * one.height + other.width * other.height - both)


def right(model: Model, crops: list[Pictures], labels: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """Return whether bicubic and FSR-FER label each face rightly, bool [n]."""
    if not crops:
        return {"bicubic": np.zeros(0, bool), "fsr": np.zeros(0, bool)}
    side, border = model.extractor.side, model.degradation.border
    enlarged = np.stack([imresize(crop, size=(side, side), border=border) for crop in crops])
    if model.channels == 1:
        enlarged = np.stack([luma(picture) for picture in enlarged])
    return {
        "bicubic": features_of(model.extractor, enlarged).probabilities.argmax(1) == labels,
        "fsr": model(crops).probabilities.argmax(1) == labels,
    }


def _percent(faces: Mapping[str, NDArray[np.bool_]]) -> dict[str, float | None]:
    return {row: 100 * float(mine.mean()) if len(mine) else None for row, mine in faces.items()}


def timed_prediction(model: Model, crowds: Sequence[Crowd], find: Find) -> dict[str, Any]:
    """Return pictures a second from files to answers, and the percent of time of finder, extractor and generator."""
    seconds: defaultdict[str, float] = defaultdict(float)

    def locate(frame: Frame) -> tuple[list[Face], list[str]]:
        began = time.perf_counter()
        boxes = find(frame.pixels)
        seconds["finder"] += time.perf_counter() - began
        return faces_in(frame.pixels, boxes)

    with TemporaryDirectory() as folder, ExitStack() as timers:
        paths = [f"{folder}/{number}.png" for number in range(len(crowds))]
        for path, crowd in zip(paths, crowds, strict=True):
            Image.fromarray(crowd.picture).save(path)
        timers.enter_context(_timed(model.extractor.module, "embed", seconds, "extractor"))
        timers.enter_context(_timed(model.generator, "forward", seconds, "generator"))
        for part in (paths[:1], paths):  # the first is a warm-up
            seconds.clear()
            began = time.perf_counter()
            frames = predict_frames(model, read_frames(part), locate, temperature=lambda _: UNCALIBRATED, threshold=0.5)
            answers = list(frames)
        whole = time.perf_counter() - began
    faces = sum(len(getattr(answer, "faces", ())) for answer in answers)
    shares = {part: 100 * seconds[part] / whole for part in ("finder", "extractor", "generator")}
    return {"pictures_per_second": len(answers) / whole, "faces_per_picture": faces / len(answers), "percent": shares}


@contextmanager
def _timed(network: Any, method: str, seconds: defaultdict[str, float], part: str) -> Iterator[None]:
    """Add the seconds that a method of a network takes to a part's, until the end of the context."""
    original = getattr(network, method)

    def call(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = original(*arguments)
        seconds[part] += time.perf_counter() - began
        return result

    setattr(network, method, call)
    try:
        yield
    finally:
        delattr(network, method)


def tables(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the tables: recall and precision, accuracy, speed."""
    yield "| background | pixels | " + " | ".join(f"{name}: recall, precision %" for name in FINDERS) + " |"
    yield "|---|" + "---:|" * (1 + len(FINDERS))
    for size in record["sizes"]:
        cells = [f"{mine['recall']:.0f}, {mine['precision']:.0f}" for mine in size["finders"].values()]
        yield f"| {size['background']} | {size['pixels']} | {' | '.join(cells)} |"
    yield ""
    default = FINDERS[0]
    yield (
        f"| background | pixels | all faces, true boxes: bicubic, FSR-FER % | found by {default}, its boxes | "
        "the same faces, true boxes |"
    )
    yield "|---|" + "---:|" * 4
    for size in record["sizes"]:
        mine = size["finders"][default]
        pairs = (size["true_boxes"], mine["its_boxes"], mine["true_boxes_of_these_faces"])
        cells = ["–" if pair["fsr"] is None else f"{pair['bicubic']:.0f}, {pair['fsr']:.0f}" for pair in pairs]
        yield f"| {size['background']} | {size['pixels']} | {' | '.join(cells)} |"
    yield ""
    yield "| finder | pictures/s | faces a picture | finder % | extractor % | generator % |"
    yield "|---|" + "---:|" * 5
    for one in record["speed"]:
        cells = [f"{one['pictures_per_second']:.2f}", f"{one['faces_per_picture']:.0f}"]
        cells += [f"{one['percent'][part]:.1f}" for part in ("finder", "extractor", "generator")]
        yield f"| {one['finder']} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
