"""Test pictures that also stand in training, pixel for pixel: an honest table counts without them too."""

import numpy as np
from numpy.typing import NDArray

from fsrcache.evaluation.arguments import check_array


def twins(test_hashes: NDArray[np.uint8], train_hashes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return, for each test picture, whether a training picture has the same pixels, whatever its label.

    Parameters
    ----------
    test_hashes, train_hashes
        uint8 [n, 16] and [m, 16], hashes of the decoded pictures.

    Returns
    -------
    NDArray[np.bool_]
        [n].

    Raises
    ------
    RequestError
        If hashes are something else.
    """
    for name, hashes in (("test_hashes", test_hashes), ("train_hashes", train_hashes)):
        check_array(hashes, "u", None, 16, name=name, wanted="a NumPy array [n, 16] of uint8")
    known = {row.tobytes() for row in train_hashes}
    return np.fromiter((row.tobytes() in known for row in test_hashes), dtype=bool, count=len(test_hashes))
