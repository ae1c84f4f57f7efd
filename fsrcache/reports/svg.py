"""Figures and pictures inside a page: SVG in the page's own colours and font, PNG as data URIs."""

import re
from base64 import b64encode
from io import BytesIO, StringIO

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from fsrcache.evaluation.style import KINDS, own_style
from fsrcache.faces.decode import Pictures

# What matplotlib writes, and the page's own: colours that hold on light and dark ground.
_COLOURS = {
    "#000000": "currentColor",
    "#333333": "currentColor",
    "#555555": "var(--c-grey)",
    "#e4e4e4": "var(--rule)",
    "#0072b2": "var(--c-blue)",
    "#d55e00": "var(--c-red)",
}
_FONT = "system-ui, sans-serif"


def inline_svg(figure: Figure, *, name: str, text: str) -> Markup:
    """Return a figure as an ``<svg>`` element without a ground, for the body of a page.

    Parameters
    ----------
    figure
        Drawn inside ``own_style``.
    name
        Begins every id of the element, so that figures of one page share none.
    text
        What the figure shows, for whom does not see it.
    """
    file = StringIO()
    with own_style(), mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(file, format="svg", transparent=True, metadata=dict(KINDS[".svg"]))
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda colour: _COLOURS.get(colour[0], colour[0]), svg)
    svg = svg.replace("'DejaVu Sans'", _FONT)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    head = Markup('<svg role="img" fill="currentColor" aria-label="{}" {} xmlns="http://www.w3.org/2000/svg" ').format(
        text, Markup(box[0])
    )
    head += Markup('xmlns:xlink="http://www.w3.org/1999/xlink">')
    return head + Markup(svg[svg.index(">") + 1 :])


def picture_uri(picture: Pictures) -> str:
    """Return a picture, uint8 ``[S, S, 1 or 3]``, as the data URI of a PNG."""
    file = BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else np.ascontiguousarray(picture)).save(file, "PNG")
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
