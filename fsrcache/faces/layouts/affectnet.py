"""AffectNet as its authors ship it: lists of faces with boxes, or a file ``_exp.npy`` a picture."""

from collections.abc import Iterator
from pathlib import Path

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import CONTEMPT, expression_named
from fsrcache.faces.layouts import affectnet_lists, affectnet_npy
from fsrcache.faces.layouts.affectnet_labels import NUMBERS, UNDERSTOOD
from fsrcache.faces.listing import Listing, file_listing
from fsrcache.faces.walk import LeftOut, folder_near

NAME = "affectnet"
TITLE = "AffectNet (lists, or files _exp.npy)"


def recognises(path: Path) -> bool:
    """Return whether a path is one of AffectNet's lists, or a folder with them or with ``train_set/annotations``."""
    return bool(affectnet_lists.lists_of(path) or affectnet_npy.sets_of(path))


def read(path: Path, *, votes: str) -> Listing:  # noqa: ARG001  # a layout's signature
    """List the faces that have an expression: eight classes where there is contempt, else seven."""
    return listing_of(path, layout=NAME, with_contempt=True)


def listing_of(path: Path, *, layout: str, with_contempt: bool) -> Listing:
    """List the faces that have an expression, with or without those of contempt."""
    left_out = LeftOut()
    if lists := affectnet_lists.lists_of(path):
        root, pictures = folder_near(lists[0], affectnet_lists.PICTURES, above=2)
        entries = affectnet_lists.entries(lists, pictures, left_out)
    elif sets := affectnet_npy.sets_of(path):
        root = affectnet_npy.root_of(path)
        entries = affectnet_npy.entries(sets, root, left_out)
    else:
        raise FsrcacheError(
            f"{path} holds neither AffectNet's training.csv or validation.csv nor train_set/annotations/1_exp.npy.",
            "Name AffectNet's folder, or one of its lists.",
        )
    if not with_contempt:
        entries = _without_contempt(entries, left_out)
    written: set[str] = set()

    def understand(labels: set[str]) -> dict[str, str]:
        written.update(labels)
        return {label: _meaning(label) for label in labels}

    return file_listing(
        layout,
        root,
        entries=entries,
        understand=understand,
        left_out=left_out,
        notes=lambda count: (
            *affectnet_lists.notes(lists, count),
            *_notes(written, with_contempt=with_contempt),
        ),
    )


def _meaning(label: str) -> str:
    meaning = NUMBERS.get(label) or expression_named(label)
    assert meaning is not None  # the readers refuse other labels
    return meaning


def _without_contempt(entries: Iterator[tuple[str, str, int]], left_out: LeftOut) -> Iterator[tuple[str, str, int]]:
    for name, label, split in entries:
        if _meaning(label) == CONTEMPT:
            left_out.add(CONTEMPT, name)
        else:
            yield name, label, split


def _notes(written: set[str], *, with_contempt: bool) -> tuple[str, ...]:
    """Return which classes there are, and the order of their numbers."""
    notes = [f"numbers mean what AffectNet's authors say: {UNDERSTOOD}"] if written & set(NUMBERS) else []
    if CONTEMPT in map(_meaning, written):
        notes.append("eight classes, contempt among them; --format affectnet-7 leaves it out")
    elif with_contempt:
        notes.append("seven classes: no face is labelled contempt")
    return tuple(notes)
