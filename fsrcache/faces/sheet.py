"""Contact sheets: a row of pictures per class, or one picture per class at every scale."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fsrcache.errors import RequestError
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import low_resolution_view
from fsrcache.faces.faces import Faces

_LEAST, _MOST = 100, 200  # pixels of a picture on the sheet
_GAP, _LABEL, _HEAD = 4, 92, 22
_INK, _PAPER = (40, 40, 40), (250, 249, 246)


def class_sheet(faces: Faces, *, columns: int = 10) -> Image.Image:
    """Draw a row of pictures per class, spread evenly over the data.

    Parameters
    ----------
    faces
        The faces.
    columns
        Number of pictures per class at most, at least 1.

    Returns
    -------
    PIL.Image.Image
        RGB; its ``save`` writes it to a path, text or ``Path``.

    Raises
    ------
    RequestError
        If the number of columns is below 1.
    """
    if not isinstance(columns, int) or columns < 1:
        raise RequestError(f"The sheet has {columns!r} columns.", "It should be a whole number of at least 1.")
    rows, shown = [], replace(faces, side=min(faces.side, _MOST))  # photographs would take minutes at their own
    for k in range(len(faces.classes)):
        members = np.flatnonzero(faces.labels == k)
        chosen = members[np.linspace(0, len(members) - 1, min(columns, len(members))).astype(int)]
        rows.append([_tile(picture) for picture in shown.batch(chosen)])
    return _sheet(rows, names=faces.classes, heads=[""] * max(map(len, rows)), tile=_tile_side(shown.side))


def scale_sheet(faces: Faces, scales: list[int]) -> Image.Image:
    """Draw a row per class: its first picture at each scale, as the extractor will see it.

    Parameters
    ----------
    faces
        The faces.
    scales
        Scales, whole numbers of at least 1, one column each.

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    RequestError
        If there is no scale, or one is no whole number of at least 1.
    """
    if not isinstance(scales, list | tuple) or not scales:
        raise RequestError(f"The scales are {scales!r}.", "They should be a list of whole numbers of at least 1.")
    rows = []
    for k in range(len(faces.classes)):
        picture = faces.batch(np.flatnonzero(faces.labels == k)[:1])  # [0 or 1, S, S, C]
        rows.append([_tile(view) for scale in scales for view in low_resolution_view(picture, scale)])
    heads = ["HR" if scale == 1 else f"x{scale}: {-(-faces.side // scale)} px" for scale in scales]
    return _sheet(rows, names=faces.classes, heads=heads, tile=_tile_side(faces.side))


def _tile_side(side: int) -> int:
    """Return the pixels of a picture on the sheet: a multiple of its own, or fewer where it is large."""
    return min(side * max(1, -(-_LEAST // side)), _MOST)


def _tile(picture: Pictures) -> Image.Image:
    """Return a picture uint8 ``[S, S, C]`` as it is on the sheet."""
    side = len(picture)
    tile = _tile_side(side)
    shown = Image.fromarray(np.broadcast_to(picture, (side, side, 3)).copy())
    return shown.resize((tile, tile), Image.Resampling.NEAREST if tile >= side else Image.Resampling.BOX)


def _sheet(rows: list[list[Image.Image]], *, names: tuple[str, ...], heads: list[str], tile: int) -> Image.Image:
    head = _HEAD if any(heads) else _GAP
    sheet = Image.new("RGB", (_LABEL + len(heads) * (tile + _GAP), head + len(rows) * (tile + _GAP)), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, text in enumerate(heads):
        draw.text((_LABEL + column * (tile + _GAP) + tile / 2, head / 2), text, _INK, font, anchor="mm")
    for row, (name, pictures) in enumerate(zip(names, rows, strict=True)):
        top = head + row * (tile + _GAP)
        draw.text((_LABEL - 8, top + tile / 2), name, _INK, font, anchor="rm")
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (_LABEL + column * (tile + _GAP), top))
    return sheet
