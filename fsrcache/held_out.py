"""The tenth of the training split that nothing is trained on: it alone chooses epochs and checkpoints."""

import numpy as np
from numpy.typing import NDArray

_ONE_IN = 10


def held_out(hashes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell which pictures are held out, wherever training pictures are concerned.

    The picture alone decides, so that equal pictures stand on the same side, in every data set and order.

    Parameters
    ----------
    hashes
        uint8 ``[n, 16]``, of the decoded pictures.

    Returns
    -------
    numpy.ndarray
        bool ``[n]``: whether the first eight bytes, a big-endian number, are divisible by ten.
    """
    numbers = np.ascontiguousarray(hashes[:, :8]).view(">u8")[:, 0]
    return np.asarray(numbers % _ONE_IN == 0)
