"""The way of one face through a trained workspace as a picture: small face, features, label.

Run as ``python -m studies.way_picture --workspace DIR --out way.png`` on the workspace of ``make demo``; the picture in
``docs/way.png`` is made so. The face is the first of the test split whose small version the extractor alone labels
wrongly and the whole model rightly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fsrcache import Model, Workspace, imresize, load
from fsrcache.errors import RequestError
from fsrcache.evaluation.style import own_style, write_figure
from fsrcache.extraction.features import features_of
from fsrcache.faces.decode import Pictures
from fsrcache.spd import unvech, vech_side
from fsrcache.verbs.data import read_faces
from studies.command import StudyCommand

_FACES = 100  # looked through at a time
_LIGHT, _DARK = "#b8c4ce", "#1f6fb2"  # bars of the extractor alone and of the model


@dataclass(frozen=True)
class Way:
    """Pictures uint8; features fp32 [P]; probabilities fp32 [K], of the extractor alone and of the model."""

    face: Pictures
    small: Pictures
    label: str
    fine: NDArray[np.float32]
    coarse: NDArray[np.float32]
    resolved: NDArray[np.float32]
    alone: NDArray[np.float32]
    probabilities: NDArray[np.float32]


@click.command(cls=StudyCommand)
@click.option(
    "--workspace", required=True, type=click.Path(path_type=Path, file_okay=False), help="A trained workspace."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="PNG to write.")
@click.option("--pixels", default=12, show_default=True, help="Side of the small face.")
def main(workspace: Path, out: Path, pixels: int) -> None:
    """Choose a face and draw its way."""
    model = load(workspace)
    way = first_mended(model, Workspace(workspace), pixels)
    write_figure(draw(way, model.classes), out, dpi=130)
    click.echo(f"{out}: {way.label}, {way.small.shape[0]} of {way.face.shape[0]} pixels")


def first_mended(model: Model, workspace: Workspace, pixels: int) -> Way:
    """Return the way of the first test face that the extractor alone labels wrongly and the model rightly."""
    data = workspace.data()
    if data is None:
        raise RequestError(f"{workspace.folder} remembers no data.", "Name the workspace of `make demo`.")
    faces, _ = read_faces(data, on_progress=lambda _: None, side=model.extractor.side)
    tests = np.flatnonzero(faces.splits == 2)
    for start in range(0, len(tests), _FACES):
        rows = tests[start : start + _FACES]
        pictures = faces.batch(rows)
        small = [imresize(picture, size=(pixels, pixels)) for picture in pictures]
        enlarged = np.stack([imresize(one, size=(model.extractor.side, model.extractor.side)) for one in small])
        alone = features_of(model.extractor, enlarged)
        answer = model(small)
        truth = [faces.classes[label] for label in faces.labels[rows]]
        for index, label in enumerate(truth):
            if answer.labels[index] == label != model.classes[alone.probabilities[index].argmax()]:
                fine = features_of(model.extractor, pictures[index : index + 1]).features[0]
                return Way(pictures[index], small[index], label, fine, alone.features[index], answer.features[index],
                           alone.probabilities[index], answer.probabilities[index])  # fmt: skip
    raise RequestError("The model mends no face of the test split.", "Train it longer.")


@own_style()
def draw(way: Way, classes: Sequence[str]) -> Figure:
    """Return the figure: the small face, its feature, the super-resolved one, bars; then the fine face, to compare."""
    figure = Figure(figsize=(10, 2.3))
    side = vech_side(len(way.fine))
    matrices = unvech(torch.from_numpy(np.stack([way.coarse, way.resolved, way.fine]))).numpy()
    limit = float(np.quantile(np.abs(matrices), 0.97))
    boxes = [figure.add_axes((left, 0.1, 0.14, 0.62)) for left in (0.01, 0.18, 0.35, 0.69, 0.85)]
    small, coarse, resolved, face, fine = boxes
    show(small, way.small, f"a face of\n{way.small.shape[1]} x {way.small.shape[0]} pixels")
    show(face, way.face, f"the same face at\n{way.face.shape[1]} x {way.face.shape[0]} pixels")
    titles = ("its feature,\n", "super-resolved,\n", "its feature,\n")
    for axis, matrix, title in zip((coarse, resolved, fine), matrices, titles, strict=True):
        axis.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set_title(f"{title}{side} x {side}", fontsize=9)
        axis.axis("off")
    bars(figure.add_axes((0.59, 0.1, 0.08, 0.62)), way, classes)
    figure.text(0.7, 0.97, "to compare, and never seen:", fontsize=9, style="italic", va="top")
    for left in (0.155, 0.325, 0.493):
        figure.text(left, 0.41, "\N{RIGHTWARDS ARROW}", fontsize=16, va="center")
    return figure


def show(axis: Axes, picture: Pictures, title: str) -> None:
    """Show a picture with its pixels."""
    axis.imshow(picture.squeeze(), cmap="grey", vmin=0, vmax=255, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.axis("off")


def bars(axis: Axes, way: Way, classes: Sequence[str]) -> None:
    """Draw the probability of every class, of the extractor alone and of the model."""
    places = np.arange(len(classes))
    axis.barh(places - 0.2, way.alone, 0.4, color=_LIGHT)
    axis.barh(places + 0.2, way.probabilities, 0.4, color=_DARK)
    axis.set_yticks(places, classes)
    for tick, name in zip(axis.get_yticklabels(), classes, strict=True):
        tick.set_fontweight("bold" if name == way.label else "normal")
    axis.invert_yaxis()
    axis.set_xticks([])
    axis.tick_params(length=0, labelsize=8)
    axis.set_title("the label,\nwithout and with", fontsize=9)
    axis.spines[["top", "right", "bottom"]].set_visible(False)


if __name__ == "__main__":
    main()
