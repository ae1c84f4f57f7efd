"""AffectNet without contempt, the seven classes of the other data sets; by name alone."""

from pathlib import Path

from fsrcache.faces.layouts.affectnet import listing_of
from fsrcache.faces.listing import Listing

NAME = "affectnet-7"
TITLE = "AffectNet without contempt"


def recognises(path: Path) -> bool:  # noqa: ARG001  # a layout's signature
    """Return False: whether contempt counts is the user's choice."""
    return False


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the faces of the seven expressions; those of contempt are left out and counted."""
    return listing_of(path, layout=NAME, with_contempt=False)
