"""Reading a complete feature store."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, arguments, call
from fsrcache.held_out import held_out
from fsrcache.records import shortened
from fsrcache.split_names import view_number
from fsrcache.store.dataset import PairDataset
from fsrcache.store.existing import missing_store, read_root
from fsrcache.store.fetch import Checksums, fetch_rows
from fsrcache.store.frame import frame_of
from fsrcache.store.layout import ROOT, ArrayLayout, columns, digest, outputs
from fsrcache.store.metadata import MOST_BYTES
from fsrcache.store.objects import location_of, objects_at, storage_errors
from fsrcache.store.remote import ZarrObjects, client_errors
from fsrcache.store.shard import DamagedError, decode
from fsrcache.store.spec import UNLABELLED
from fsrcache.store.stored import StoredArray

if TYPE_CHECKING:
    import pandas
    from zarr.abc.store import Store


class FeatureStore:
    """A complete store, opened for reading. Row ``i`` of a split is the same face at every scale.

    Parameters
    ----------
    location
        The store's folder, which may be a link and in which none is followed; a URL that Zarr opens through fsspec
        (``s3://bucket/features.zarr``); or any Zarr store object. One whose metadata are not those that were written,
        such as an icechunk repository that the arrays were copied into, is read and checked by Zarr.
    check
        Whether every chunk that is read must be what was written there, by its checksum and the file's seal.
    storage_options
        Options of fsspec, for a URL.

    Attributes
    ----------
    name, spec
        Location in words, and what the store is about.

    Raises
    ------
    FsrcacheError
        If there is no store, something else is there, its version is unknown, or it is damaged or incomplete.

    Examples
    --------
    >>> store = FeatureStore("fsr/features.zarr")
    >>> store.features("train", 4)[:128].shape
    (128, 2080)
    """

    def __init__(
        self,
        location: "str | PathLike[str] | Store",
        *,
        check: bool = True,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._objects = objects_at(location, storage_options=storage_options)
        self._check = check
        opened = self._objects.folder or location  # absolute: a process may have another working folder
        self._open_again = partial(FeatureStore, opened, check=check, storage_options=storage_options)
        self._checksums: dict[str, Checksums] = {}  # of shards elsewhere than in a folder, by key
        self.name = self._objects.name
        self._location = location_of(self._objects)
        self._damaged = Remedy(
            "`{}` names every damaged file; with `{}` it removes them, and the next extraction writes them again.",
            call("verify", store=self._location), arguments(repair=True),
        )  # fmt: skip
        root = read_root(self._objects)
        if root is None:
            raise missing_store(self._objects)
        self.spec = root.spec
        if root.shards is None:
            raise FsrcacheError(
                f"The store {self.name} is incomplete: its extraction did not come to its end.",
                Remedy(
                    "The same extraction goes on where it stopped: `{}`, and its other options if it had any.",
                    call("extract", store=self._location, scales=[*self.scales[1:]] or [1]),
                ),
            )
        self._digests = root.shards
        self._foreign = (
            not isinstance(location, str | PathLike) and self._objects.read(ROOT, most=MOST_BYTES) != root.document()
        )

    def __repr__(self) -> str:
        """Return in a line what there is: rows by split, scales, widths and dtype of a row, the extractor."""
        if not hasattr(self, "spec"):  # it could not be opened
            return f"FeatureStore({getattr(self, 'name', '')!r})"
        spec = self.spec
        rows = ", ".join(f"{split} {spec.count(split):,}" for split in spec.every_split)
        side = spec.recipe.get("spd_side")
        form = f", the triangle of {side} x {side}" if type(side) is int else ""
        others = "".join(f", {name} {spec.widths[name]}" for name in spec.widths if name != "features")
        extractor = shortened(spec.recipe.get("extractor", "unknown")).strip("'")
        return (
            f"FeatureStore({self.name!r}: {rows}; scales {shortened(spec.scales)[1:-1].rstrip(',')}; "
            f"features {spec.dtype} {spec.widths['features']:,}{form}{others}; extractor {extractor})"
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
        """The splits that have pictures; not those that only trainings read, ``spec.extra``."""
        return self.spec.splits

    @property
    def digest(self) -> str:
        """A hexadecimal digest of what the store is about."""
        return self.spec.digest

    def at_scales(self, scales: Sequence[int]) -> "FeatureStore":
        """Return the same store with some of its scales alone, full resolution always among them; nothing is copied.

        Raises
        ------
        RequestError
            If there is no such scale.
        """
        for scale in scales:
            self._check_scale(scale)
        store = copy.copy(self)
        store.spec = replace(self.spec, scales=tuple(sorted({1, *scales})))
        return store

    def with_extra(self, splits: Iterable[str]) -> "FeatureStore":
        """Return the same store with some of the extra splits alone, those that only trainings read; nothing is copied.

        Raises
        ------
        RequestError
            If there is no such extra split.
        """
        chosen = set(splits)
        for split in sorted(chosen - self.spec.extra.keys()):
            has = ", ".join(self.spec.extra) or "none"
            what = f"The store {self.name} has no extra split {shortened(split)}; it has {has}."
            raise RequestError(what, self._extra_remedy(split))
        store = copy.copy(self)
        store.spec = replace(self.spec, extra={name: one for name, one in self.spec.extra.items() if name in chosen})
        return store

    def without_early(self) -> "FeatureStore":
        """Return the same store without its early features, if it has any; nothing is copied."""
        store = copy.copy(self)
        widths = {name: width for name, width in self.spec.widths.items() if name != "early"}
        store.spec = replace(self.spec, widths=widths)
        return store

    def labels(self, split: str) -> NDArray[np.integer[Any]]:
        """Return uint8 ``[n]``, indices into ``classes``; uint16 where there are more than 256.

        Those of ``unlabelled`` are int16, all -1.
        """
        return self._column(split, "labels")

    def ids(self, split: str) -> NDArray[np.str_]:
        """Return the ``n`` names of the pictures."""
        return self._column(split, "ids")

    def hashes(self, split: str) -> NDArray[np.uint8]:
        """Return uint8 ``[n, 16]``, of the decoded pictures; of a view that of the picture it is made from."""
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

    def early(self, split: str, scale: int = 1) -> StoredArray:
        """Return the early features, ``[n, Q]``, of the features' dtype: what an earlier layer says.

        Raises
        ------
        FsrcacheError
            If the store has none, ``"early" not in store.spec.widths``; or there is no such split or scale.
        """
        return self._output(split, scale, "early")

    def probabilities(self, split: str, scale: int = 1) -> StoredArray:
        """Return the probabilities, fp32 ``[n, K]``."""
        return self._output(split, scale, "probabilities")

    def dataset(self, split: str, scale: int) -> PairDataset:
        """Return the pairs of a split as a data set for PyTorch's DataLoader: features at a scale and at full size.

        A shuffled order reads a whole chunk for every face that no other of its batch shares it with; where that is too
        slow, :class:`fsrcache.store.shuffle.ShuffledRows` shuffles chunks. A store that was opened from a Zarr store
        object has its workers spawned (``multiprocessing_context="spawn"``), unless that object outlives a fork.

        Parameters
        ----------
        split
            Name of the split.
        scale
            Scale of the low resolution.

        Returns
        -------
        PairDataset
            Items are ``(lr, hr, label)``: fp32 ``[P]`` each, and an int.

        Raises
        ------
        FsrcacheError
            If there is no such split or scale.

        Examples
        --------
        >>> pairs = store.dataset("train", 4)
        >>> loader = DataLoader(pairs, batch_size=128, shuffle=True)
        >>> for lr, hr, label in loader:
        ...     print(lr.shape, hr.dtype, label.dtype)
        torch.Size([128, 2080]) torch.float32 torch.int64
        torch.Size([72, 2080]) torch.float32 torch.int64
        """
        lr, _ = self.features(split, scale), self.features(split, 1)  # what is not there is refused here, in no worker
        return PairDataset(self._open_again, split, scale, rows=len(lr))

    def to_pandas(self, split: str) -> "pandas.DataFrame":
        """Return the labels and probabilities of a split as a table, a row a picture in the store's order.

        Columns: ``id``; ``label``, a categorical of the class names; and where the store holds probabilities a column
        fp32 a scale and class, such as ``x4 happiness``; ``x1`` is full resolution.

        Raises
        ------
        RequestError
            If pandas is not installed (``pip install 'fsrcache[pandas]'``).
        FsrcacheError
            If there is no such split, or it cannot be read.
        """
        return frame_of(self, split)

    def _column(self, split: str, name: str) -> NDArray[Any]:
        self._check_split(split)
        array = columns(self.spec, split)[name]
        if self._foreign:
            with self._reading(array):
                values = np.asarray(self._zarr_array(array)[:])
                return np.array(values.tolist(), dtype=np.str_) if array.dtype == "string" else values
        parts = []
        for block, key in enumerate(array.keys):
            with self._reading(array):
                if (data := self._objects.read(key, most=array.column_bytes)) is None:
                    raise OSError(f"{key} is not there")
                try:
                    parts.append(decode(array, data, block=block))
                except DamagedError as error:
                    raise OSError(f"{key} is damaged, {error}") from None
                if digest(data) != self._digests[array.name][block]:
                    raise OSError(f"{key} is not what was written there")
        return np.concatenate(parts)

    def _output(self, split: str, scale: int, name: str) -> StoredArray:
        self._check_split(split)
        self._check_scale(scale)
        if name not in self.spec.widths:
            raise FsrcacheError(f"The store {self.name} holds no {name}, only {', '.join(self.spec.widths)}.")
        array = outputs(self.spec, split, scale=scale)[name]
        if not self._foreign:
            return StoredArray(array, partial(self._fetch, array))
        with self._reading(array):
            return StoredArray(array, partial(self._read_by_zarr, array, self._zarr_array(array)))

    def _fetch(self, array: ArrayLayout, out: NDArray[Any], *, start: int) -> None:
        with self._reading(array):
            seals = self._digests[array.name] if self._check else None
            fetch_rows(self._objects, array, out, start=start, seals=seals, known=self._checksums)

    def _read_by_zarr(self, array: ArrayLayout, opened: Any, out: NDArray[Any], *, start: int) -> None:
        with self._reading(array):
            out[:] = opened[start : start + len(out)]

    def _zarr_array(self, array: ArrayLayout) -> Any:
        import zarr

        assert isinstance(self._objects, ZarrObjects)
        opened = zarr.open_array(self._objects.store, path=array.name, mode="r")
        if opened.shape != array.shape:
            raise OSError(f"it is {list(opened.shape)}, not {list(array.shape)}")
        return opened

    def _check_split(self, split: str) -> None:
        if split not in (every := self.spec.every_split):
            raise FsrcacheError(f"The store {self.name} has no split {split!r}; it has {', '.join(every)}.")

    def _check_scale(self, scale: int) -> None:
        if scale not in self.scales:
            raise RequestError(
                f"The store {self.name} has no scale {scale}; it has {', '.join(map(str, self.scales))}.",
                Remedy("Add it: `{}`.", call("extract", store=self._location, scales=[scale])),
            )

    def _extra_remedy(self, split: str) -> Remedy:
        """Return how an extra split is added, or what the names of extra splits are."""
        if split == UNLABELLED:
            return Remedy("Add it: `{}`.", call("extract", store=self._location, unlabelled=Blank("PATH")))
        if number := view_number(split):
            return Remedy("Add it: `{}`.", call("extract", store=self._location, views=number))
        return Remedy(f"Extra splits are view-1, view-2 and so on, and {UNLABELLED}.")

    @contextmanager
    def _reading(self, array: ArrayLayout) -> Iterator[None]:
        what = f"{array.name} of the store {self.name} cannot be read"
        with storage_errors(what, self._objects, remedy=self._damaged):
            if isinstance(self._objects, ZarrObjects):  # Zarr lets through what a client raises
                with client_errors(self._objects.secrets):
                    yield
            else:
                yield
