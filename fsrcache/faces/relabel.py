"""Labels in the class order of an extractor."""

from dataclasses import replace

import numpy as np

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import expression_named, plain
from fsrcache.faces.faces import Faces


def relabel(faces: Faces, classes: tuple[str, ...], *, extractor: str) -> Faces:
    """Return the same faces with the class names, and the order, of an extractor.

    Classes are matched by name: ``Happy`` is ``happiness``, and case, spaces and marks do not count.

    Parameters
    ----------
    faces
        Labelled faces.
    classes
        Class names of the extractor in the order of its logits.
    extractor
        Name of the extractor, for the error.

    Raises
    ------
    FsrcacheError
        If the classes are not the same, with both lists.
    """
    if faces.classes == classes:
        return faces
    meanings = [_meaning(name) for name in classes]
    here = [_meaning(name) for name in faces.classes]
    if sorted(meanings) != sorted(here) or len(set(meanings)) != len(meanings):
        raise FsrcacheError(
            f"The classes of the faces are {', '.join(faces.classes)}; those of {extractor} are {', '.join(classes)}.",
            "Use an extractor of these classes, or pre-train one on these data, in a workspace of its own.",
        )
    index = np.array([meanings.index(meaning) for meaning in here])
    names = dict(zip(faces.classes, (classes[i] for i in index), strict=True))
    listing, votes = faces.listing, faces.listing.soft_labels
    return replace(
        faces,
        listing=replace(
            listing,
            classes=classes,
            labels=index[listing.labels].astype(listing.labels.dtype),
            mapping={name: names.get(label, label) for name, label in listing.mapping.items()},
            soft_labels=None if votes is None else votes[:, np.argsort(index)],
        ),
    )


def _meaning(name: str) -> str:
    return expression_named(name) or plain(name)
