"""The picture of example faces: a row for each scale, a column for each person, and below each face what rows say."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fsrcache.evaluation.layout import scale_name
from fsrcache.evaluation.tables import Table
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import Degradation, low_resolution_view

_TILE, _GAP, _LEFT, _LINE = 150, 12, 118, 30  # pixels: of a face, between faces, of the left column, of a line of text
_TEXT, _TRUTH, _SCALE = 24, 26, 32  # sizes of the font
_INK, _PAPER, _QUIET = (40, 40, 40), (255, 255, 255), (110, 110, 110)
_RIGHT, _WRONG = (0, 114, 178), (190, 70, 0)  # told apart by the colour-blind; tick and cross tell them apart too


def example_sheet(
    table: Table, pictures: Sequence[Pictures], *, rows: Sequence[str], degradation: Degradation
) -> Image.Image:
    """Draw the table's examples as the extractor sees them at each scale, with the classes that rows give them.

    Parameters
    ----------
    table
        The scores, and one example for each picture.
    pictures
        uint8 ``[S, S, 1 or 3]``, at full resolution.
    rows
        Names of the rows that are shown, a line of text each.
    degradation
        How low-resolution views are made.

    Returns
    -------
    PIL.Image.Image
        RGB, narrow enough to be read on a telephone.
    """
    scales = sorted({scale for _, scale in table.examples[0].answers})
    height = _TILE + _LINE * len(rows) + _GAP
    size = _LEFT + len(pictures) * (_TILE + _GAP), 2 * _LINE + _GAP + len(scales) * height
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_GAP, _LINE), "truth", _QUIET, _TEXT)
    for line, scale in enumerate(scales):
        top = 2 * _LINE + line * height
        side = -(-pictures[0].shape[0] // scale)
        _write(draw, (_GAP, top + _TILE / 2 - _LINE / 2), scale_name(scale), _INK, _SCALE)
        _write(draw, (_GAP, top + _TILE / 2 + _LINE / 2), f"{side} px", _QUIET, _TEXT)
        for number, row in enumerate(rows):
            _write(draw, (_GAP, top + _TILE + _LINE * (number + 0.5)), row, _QUIET, _TEXT)
    for column, (example, picture) in enumerate(zip(table.examples, pictures, strict=True)):
        left = _LEFT + column * (_TILE + _GAP)
        _write(draw, (left, _LINE), table.classes[example.label], _INK, _TRUTH)
        for line, scale in enumerate(scales):
            top = 2 * _LINE + line * height
            sheet.paste(_shown(low_resolution_view(picture[None], scale, degradation)[0]), (left, top))
            for number, row in enumerate(rows):
                if (row, scale) in example.answers:
                    answer, middle = example.answers[row, scale], top + _TILE + _LINE * (number + 0.5)
                    _write_answer(draw, (left, middle), table.classes[answer], right=answer == example.label)
    return sheet


def _shown(view: Pictures) -> Image.Image:
    colours = np.broadcast_to(view, (*view.shape[:2], 3)).copy()
    return Image.fromarray(colours).resize((_TILE, _TILE), Image.Resampling.BICUBIC)


def _write_answer(draw: ImageDraw.ImageDraw, position: tuple[float, float], name: str, *, right: bool) -> None:
    """Write a class behind a tick or a cross."""
    left, middle = position
    colour = _RIGHT if right else _WRONG
    if right:
        draw.line([(left + 1, middle), (left + 6, middle + 6), (left + 15, middle - 8)], colour, 3, joint="curve")
    else:
        draw.line([(left + 2, middle - 6), (left + 14, middle + 6)], colour, 3)
        draw.line([(left + 2, middle + 6), (left + 14, middle - 6)], colour, 3)
    _write(draw, (left + 21, middle), name, colour, _TEXT)


def _write(
    draw: ImageDraw.ImageDraw, position: tuple[float, float], text: str, colour: tuple[int, int, int], size: int
) -> None:
    draw.text(position, text, colour, ImageFont.load_default(size), anchor="lm")
