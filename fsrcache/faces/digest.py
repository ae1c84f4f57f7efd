"""The digest of a data set's content, independent of the names and location of its files."""

from hashlib import sha256

import numpy as np

from fsrcache.faces.faces import Faces


def content_digest(faces: Faces) -> str:
    """Return a hexadecimal digest of the pictures with their labels, splits and side, in no particular order."""
    rows = np.column_stack([faces.hashes, faces.labels, faces.splits])
    rows = rows[np.lexsort(rows.T[::-1])]
    return sha256(f"{faces.side} {','.join(faces.classes)} ".encode() + rows.tobytes()).hexdigest()
