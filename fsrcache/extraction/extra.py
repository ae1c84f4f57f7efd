"""The faces of the splits that only trainings read: views of the training faces, and faces without labels."""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.extraction.inputs import luma
from fsrcache.faces.decode import Pictures
from fsrcache.faces.faces import Faces
from fsrcache.faces.views import recipe, view_of_face
from fsrcache.split_names import view_split
from fsrcache.store.columns import NO_LABEL
from fsrcache.store.order import row_order


@dataclass(frozen=True, eq=False)
class ExtraFaces:
    """The faces of one split.

    Attributes
    ----------
    faces
        The pictures, of the extractor's side.
    order
        int64 ``[n]``: rows of ``faces`` in the store's order.
    labels
        Integers ``[n]``, in that order.
    digest
        Hexadecimal SHA-256 of the pictures and of what is done to them.
    view
        Number of the view of each face, from 1; 0 for the faces as they are.
    grey
        Whether colours become luma, as the labelled faces are all grey.
    """

    faces: Faces
    order: NDArray[np.int64]
    labels: NDArray[np.integer]
    digest: str
    view: int = 0
    grey: bool = False

    def batch(self, rows: NDArray[np.int64]) -> Pictures:
        """Return the pictures of some rows of the faces, uint8 ``[B, S, S, C]``."""
        pictures = self.faces.batch(rows, threads=1)
        if self.grey:
            pictures = np.stack([luma(picture) for picture in pictures])
        if self.view:
            for i, picture_hash in enumerate(self.faces.hashes[rows]):
                pictures[i] = view_of_face(pictures[i], number=self.view, picture_hash=picture_hash)
        return pictures


def views_of(faces: Faces, order: NDArray[np.int64], *, views: int) -> dict[str, ExtraFaces]:
    """Return so many splits of views of faces; row i of each is a view of the face in row i of the order."""
    pictures = faces.hashes[order].tobytes()
    numbers = range(1, views + 1)
    digests = [sha256(f"{recipe(number)} {number} ".encode() + pictures).hexdigest() for number in numbers]
    return {
        view_split(number): ExtraFaces(faces, order, faces.labels[order], digest, number)
        for number, digest in zip(numbers, digests, strict=True)
    }


def unlabelled_faces(faces: Faces, labelled: Faces) -> ExtraFaces:
    """Return the split of faces without labels; pictures that are among the labelled ones are left out.

    Colours become luma where the labelled faces are all grey, as they do in a prediction.

    Raises
    ------
    FsrcacheError
        If no picture is left, or their sides differ.
    """
    if faces.side != labelled.side:
        raise FsrcacheError(f"The faces without labels have {faces.side} pixels a side, the others {labelled.side}.")
    known = {picture_hash.tobytes() for picture_hash in labelled.hashes}
    rows = np.array([row for row, one in enumerate(faces.hashes) if one.tobytes() not in known], np.int64)
    if not len(rows):
        raise FsrcacheError(
            f"All {len(faces.rows):,} faces without labels are among the labelled ones.", "Name other faces."
        )
    hashes = faces.hashes[rows]
    order = rows[row_order(hashes, np.zeros(len(rows), np.uint8), ids=faces.names[rows])]
    labels = np.full(len(order), NO_LABEL, np.int16)
    grey = labelled.grey and not faces.grey
    digest = sha256(b"luma " * grey + faces.hashes[order].tobytes()).hexdigest()
    return ExtraFaces(faces, order, labels, digest, grey=grey)
