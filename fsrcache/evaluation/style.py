"""The one style of all figures, whatever a person has configured for figures of their own, and how they are written."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from types import MappingProxyType

import matplotlib as mpl
from matplotlib.figure import Figure

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.files import as_path, write_whole

# Metadata of a file, by the end of its name.
KINDS: Mapping[str, Mapping[str, None]] = MappingProxyType(
    {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}
)


@contextmanager
def own_style() -> Iterator[None]:
    """Draw as matplotlib does by default, with its own font; then everything is as it was. It decorates functions too.

    Some settings count where a text or an axis is made, others where it is written: both are done inside.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "font.family": "DejaVu Sans",
                "font.size": 9.0,
                "svg.fonttype": "path",
                "svg.hashsalt": "fsrcache",
                "text.parse_math": False,  # a name may hold a $
            }
        )
        yield


def write_figure(figure: Figure, path: str | PathLike[str], *, dpi: int = 200) -> None:
    """Write a figure whole, as the name ends: PNG, SVG or PDF; the same figure gives the same bytes, without any date.

    Parameters
    ----------
    figure
        Drawn inside ``own_style``.
    path
        Ends in one of ``KINDS``, in any case.
    dpi
        Pixels an inch of a PNG.

    Raises
    ------
    RequestError
        If it is no path, or the name ends otherwise.
    FsrcacheError
        If it cannot be drawn or written.
    """
    path = as_path(path)
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise RequestError(f"A figure cannot be written as {path.name!r}.", f"End it in {' or '.join(KINDS)}.")
    picture = BytesIO()
    with own_style():
        try:
            figure.savefig(picture, format=kind[1:], dpi=dpi, metadata=dict(KINDS[kind]), facecolor="white")
        except (OSError, ValueError, RuntimeError) as error:  # a font that is missing, or is none
            raise FsrcacheError(
                f"{path} cannot be drawn: {error}.", "Install matplotlib again; its own fonts are taken."
            ) from error
    write_whole(path, picture.getvalue())
