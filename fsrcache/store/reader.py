"""Reading a complete feature store."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.held_out import held_out
from fsrcache.store.layout import Place, columns, outputs, read_array
from fsrcache.store.root import read_root, storage_errors

_AGAIN = "Run the same `fsrcache extract` command again: it goes on where it stopped."
_DAMAGED = "The store is damaged there: remove that file and run the same `fsrcache extract` command again."


class FeatureStore:
    """A complete store, opened for reading. Row ``i`` of a split is the same face at every scale.

    Parameters
    ----------
    path
        The store's folder.

    Attributes
    ----------
    path, spec
        The folder, and what the store is about.

    Raises
    ------
    FsrcacheError
        If there is no store, something else is there, its version is unknown, or it is incomplete.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        known = read_root(self.path)
        if known is None:
            raise FsrcacheError(
                f"There is no feature store at {self.path}.", "Run `fsrcache extract --scales 2..8` first."
            )
        self.spec, complete = known
        if not complete:
            raise FsrcacheError(f"The store {self.path} is incomplete: its extraction did not come to its end.", _AGAIN)

    @property
    def classes(self) -> tuple[str, ...]:
        """The ``K`` class names."""
        return self.spec.classes

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales, ascending; 1 is the full resolution."""
        return self.spec.scales

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have pictures."""
        return self.spec.splits

    @property
    def digest(self) -> str:
        """A hexadecimal digest of what the store is about."""
        return self.spec.digest

    def labels(self, split: str) -> NDArray[np.uint8]:
        """Return uint8 ``[n]``, indices into ``classes``."""
        return np.asarray(self._column(split, "labels"))

    def ids(self, split: str) -> NDArray[np.str_]:
        """Return the ``n`` names of the pictures."""
        return np.array(self._column(split, "ids").tolist(), dtype=np.str_)

    def hashes(self, split: str) -> NDArray[np.uint8]:
        """Return uint8 ``[n, 16]``, of the decoded pictures."""
        return np.asarray(self._column(split, "hashes"))

    def held_out(self, split: str = "train") -> NDArray[np.bool_]:
        """Return bool ``[n]``: which pictures are of the tenth that nothing is trained on."""
        return held_out(self.hashes(split))

    def features(self, split: str, scale: int) -> NDArray[np.float16]:
        """Return fp16 ``[n, P]``: vech of the log-covariances, row-major upper triangle, off-diagonals times sqrt 2."""
        return np.asarray(self._output(split, scale, "features"))

    def embeddings(self, split: str, scale: int) -> NDArray[np.float16]:
        """Return fp16 ``[n, E]``."""
        return np.asarray(self._output(split, scale, "embeddings"))

    def probabilities(self, split: str, scale: int) -> NDArray[np.float32]:
        """Return fp32 ``[n, K]``."""
        return np.asarray(self._output(split, scale, "probabilities"))

    def _column(self, split: str, name: str) -> Any:
        self._check_split(split)
        return self._read(columns(self.spec, split)[name])

    def _output(self, split: str, scale: int, name: str) -> Any:
        self._check_split(split)
        if scale not in self.scales:
            raise FsrcacheError(
                f"The store {self.path} has no scale {scale}; it has {', '.join(map(str, self.scales))}.",
                f"Add it: `fsrcache extract --scales {scale}`.",
            )
        return self._read(outputs(self.spec, split, scale=scale)[name])

    def _check_split(self, split: str) -> None:
        if split not in self.splits:
            raise FsrcacheError(f"The store {self.path} has no split {split!r}; it has {', '.join(self.splits)}.")

    def _read(self, place: Place) -> Any:
        with storage_errors(f"{place.name} of the store {self.path} cannot be read", remedy=_DAMAGED):
            return read_array(self.path, place)
