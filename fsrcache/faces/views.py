"""Views of a face: mirrored or not, and shifted by up to two pixels each way."""

import numpy as np
from numpy.typing import NDArray

from fsrcache.faces.decode import Pictures

SHIFT = 2  # pixels, at most
RECIPE = f"mirrored if odd, shifted by up to {SHIFT}, never by 0 0; PCG64 of number and hash"


def view_of_face(picture: Pictures, *, number: int, picture_hash: NDArray[np.uint8]) -> Pictures:
    """Return a view of a face, a function of its number and of the face's hash; pixels of the edge are repeated.

    Parameters
    ----------
    picture
        uint8 ``[S, S, C]``.
    number
        Number of the view, from 1; the odd ones are mirrored.
    picture_hash
        uint8 ``[16]``.
    """
    random = np.random.Generator(np.random.PCG64([number, *picture_hash.tolist()]))
    side = 2 * SHIFT + 1
    chosen = int(random.integers(side * side - 1))
    down, right = divmod(chosen + (chosen >= side * SHIFT + SHIFT), side)  # the middle, no shift, is left out
    wide = np.pad(picture[:, ::-1] if number % 2 else picture, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    return wide[down : down + len(picture), right : right + len(picture)]
