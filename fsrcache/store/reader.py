"""Reading a complete feature store."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.held_out import held_out
from fsrcache.store.fetch import Checksums, fetch_rows
from fsrcache.store.layout import ROOT, Place, columns, digest, outputs
from fsrcache.store.objects import objects_at, read_at_most
from fsrcache.store.remote import ZarrObjects, client_errors
from fsrcache.store.root import MOST_BYTES, read_root, storage_errors
from fsrcache.store.shard import DamagedError, decode
from fsrcache.store.stored import StoredArray

if TYPE_CHECKING:
    from zarr.abc.store import Store

_AGAIN = "Run the same `fsrcache extract` command again: it goes on where it stopped."
_DAMAGED = "`fsrcache verify STORE` tells all that is damaged; after --repair the next extract writes it anew."


class FeatureStore:
    """A complete store, opened for reading. Row ``i`` of a split is the same face at every scale.

    Parameters
    ----------
    place
        The store's folder, which may be a link and in which none is followed; a URL that Zarr opens through fsspec
        (``s3://bucket/features.zarr``); or any Zarr store object. One whose metadata are not those that were written,
        such as an icechunk repository that the arrays were copied into, is read and checked by Zarr.
    check
        Whether every chunk that is read must be what was written in its place, by its checksum and the file's seal.
    storage_options
        Of fsspec, for a URL.

    Attributes
    ----------
    name, spec
        The place, for people, and what the store is about.

    Raises
    ------
    FsrcacheError
        If there is no store, something else is there, its version is unknown, or it is damaged or incomplete.

    Examples
    --------
    >>> store = FeatureStore("fsr/features.zarr")  # doctest: +SKIP
    >>> store.features("train", 4)[:128]  # fp16 [128, P]  # doctest: +SKIP
    """

    def __init__(
        self,
        place: "str | PathLike[str] | Store",
        *,
        check: bool = True,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._objects = objects_at(place, storage_options=storage_options)
        self._check = check
        self._checksums: dict[str, Checksums] = {}  # of shards elsewhere than in a folder, by key
        self.name = self._objects.name
        known = read_root(self._objects)
        if known is None:
            raise FsrcacheError(
                f"There is no feature store at {self.name}.", "Run `fsrcache extract --scales 2..8` first."
            )
        self.spec = known.spec
        if known.shards is None:
            raise FsrcacheError(f"The store {self.name} is incomplete: its extraction did not come to its end.", _AGAIN)
        self._digests = known.shards
        self._foreign = (
            not isinstance(place, str | PathLike) and read_at_most(self._objects, ROOT, MOST_BYTES) != known.document()
        )

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

    def labels(self, split: str) -> NDArray[np.unsignedinteger[Any]]:
        """Return uint8 ``[n]``, indices into ``classes``; uint16 where there are more than 256."""
        return self._column(split, "labels")

    def ids(self, split: str) -> NDArray[np.str_]:
        """Return the ``n`` names of the pictures."""
        return self._column(split, "ids")

    def hashes(self, split: str) -> NDArray[np.uint8]:
        """Return uint8 ``[n, 16]``, of the decoded pictures."""
        return self._column(split, "hashes")

    def held_out(self, split: str = "train") -> NDArray[np.bool_]:
        """Return bool ``[n]``: which pictures are of the tenth that nothing is trained on."""
        return held_out(self.hashes(split))

    def features(self, split: str, scale: int = 1) -> StoredArray:
        """Return the features, ``[n, P]``.

        The extractor's are fp16: vech of the log-covariances, row-major upper triangle, off-diagonals times sqrt 2.
        """
        return self._output(split, scale, "features")

    def embeddings(self, split: str, scale: int = 1) -> StoredArray:
        """Return the embeddings, ``[n, E]``, of the features' dtype."""
        return self._output(split, scale, "embeddings")

    def probabilities(self, split: str, scale: int = 1) -> StoredArray:
        """Return the probabilities, fp32 ``[n, K]``."""
        return self._output(split, scale, "probabilities")

    def _column(self, split: str, name: str) -> NDArray[Any]:
        self._check_split(split)
        place = columns(self.spec, split)[name]
        if self._foreign:
            with self._reading(place):
                values = np.asarray(self._zarr_array(place)[:])
                return np.array(values.tolist(), dtype=np.str_) if place.dtype == "string" else values
        parts = []
        for block, key in enumerate(place.keys):
            with self._reading(place):
                if (data := read_at_most(self._objects, key, place.column_bytes)) is None:
                    raise OSError(f"{key} is not there")
                try:
                    parts.append(decode(place, data, block=block))
                except DamagedError as error:
                    raise OSError(f"{key} is damaged, {error}") from None
                if digest(data) != self._digests[place.name][block]:
                    raise OSError(f"{key} is not what was written there")
        return np.concatenate(parts)

    def _output(self, split: str, scale: int, name: str) -> StoredArray:
        self._check_split(split)
        if scale not in self.scales:
            raise FsrcacheError(
                f"The store {self.name} has no scale {scale}; it has {', '.join(map(str, self.scales))}.",
                f"Add it: `fsrcache extract --scales {scale}`.",
            )
        if name not in self.spec.widths:
            raise FsrcacheError(f"The store {self.name} holds no {name}, only {', '.join(self.spec.widths)}.")
        place = outputs(self.spec, split, scale=scale)[name]
        if not self._foreign:
            return StoredArray(place, partial(self._fetch, place))
        with self._reading(place):
            return StoredArray(place, partial(self._read_by_zarr, place, self._zarr_array(place)))

    def _fetch(self, place: Place, out: NDArray[Any], *, start: int) -> None:
        with self._reading(place):
            seals = self._digests[place.name] if self._check else None
            fetch_rows(self._objects, place, out, start=start, seals=seals, known=self._checksums)

    def _read_by_zarr(self, place: Place, array: Any, out: NDArray[Any], *, start: int) -> None:
        with self._reading(place):
            out[:] = array[start : start + len(out)]

    def _zarr_array(self, place: Place) -> Any:
        import zarr

        assert isinstance(self._objects, ZarrObjects)
        array = zarr.open_array(self._objects.store, path=place.name, mode="r")
        if array.shape != place.shape:
            raise OSError(f"it is {list(array.shape)}, not {list(place.shape)}")
        return array

    def _check_split(self, split: str) -> None:
        if split not in self.splits:
            raise FsrcacheError(f"The store {self.name} has no split {split!r}; it has {', '.join(self.splits)}.")

    @contextmanager
    def _reading(self, place: Place) -> Iterator[None]:
        with storage_errors(f"{place.name} of the store {self.name} cannot be read", remedy=_DAMAGED):
            if isinstance(self._objects, ZarrObjects):  # Zarr lets through what a client raises
                with client_errors(self._objects.secrets):
                    yield
            else:
                yield
