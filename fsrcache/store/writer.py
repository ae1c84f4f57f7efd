"""Writing a feature store block by block, so that running the same work again goes on where it stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from fsrcache.errors import FsrcacheError
from fsrcache.store.layout import Place, columns, create_array, outputs, write_rows
from fsrcache.store.root import KEY, read_root, root_attributes, storage_errors
from fsrcache.store.spec import StoreSpec

_AGAIN = "See that the disk has room and the folder can be written, then run the same command again."


class FeatureWriter:
    """A store being written: created, or opened again where one of the same content is.

    A block of rows at a scale is the unit: one file in each of three arrays, whole or not there.

    Parameters
    ----------
    path
        The store's folder. Files that a killed writer left half-written in it are removed.
    spec
        What the store is about. Scales that an existing store lacks are added to it.
    labels, ids, hashes
        Of every split, in the order of the rows: uint8 ``[n]``, ``n`` names, uint8 ``[n, 16]``.

    Attributes
    ----------
    path, spec
        The folder, and what the store is about, an existing store's scales included.

    Raises
    ------
    FsrcacheError
        If the columns do not fit the spec, the store there is about something else, or it cannot be written.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        spec: StoreSpec,
        *,
        labels: Mapping[str, NDArray[np.uint8]],
        ids: Mapping[str, Sequence[str]],
        hashes: Mapping[str, NDArray[np.uint8]],
    ) -> None:
        self.path = Path(path)
        self._ids = ids
        _check_columns(spec, {"labels": labels, "ids": ids, "hashes": hashes})
        known = read_root(self.path)
        if known:
            _refuse_other_content(self.path, known[0], spec)
            spec = replace(known[0], scales=tuple(sorted({*known[0].scales, *spec.scales})))
        self.spec = spec
        with storage_errors(f"The store {self.path} cannot be written", remedy=_AGAIN):
            if not known:
                _refuse_other_files(self.path)
            for leftover in sorted(self.path.rglob("*.partial")):
                leftover.unlink()
            if not known:
                zarr.create_group(self.path, attributes=root_attributes(spec, complete=False))
            elif self.missing() and known != (spec, False):
                self._write_attributes(complete=False)
            self._write_columns({"labels": labels, "ids": ids, "hashes": hashes})
            self._create_outputs()

    def blocks(self, split: str) -> int:
        """Return how many blocks the rows of a split are written in."""
        return -(-self.spec.rows[split] // self.spec.block)

    def rows(self, split: str, block: int) -> slice:
        """Return which rows of a split a block holds; the last block may be short."""
        start = block * self.spec.block
        return slice(start, min(start + self.spec.block, self.spec.rows[split]))

    def missing(self) -> list[tuple[str, int, int]]:
        """Return the (split, scale, block) not yet written, the scales of a block next to each other."""
        lacking = {
            (split, scale, block)
            for split in self.spec.splits
            for scale in self.spec.scales
            for place in outputs(self.spec, split, scale=scale).values()
            for block in place.missing(self.path)
        }
        return sorted(lacking, key=lambda item: (self.spec.splits.index(item[0]), item[2], item[1]))

    def write(
        self,
        split: str,
        scale: int,
        *,
        block: int,
        features: NDArray[np.floating],
        embeddings: NDArray[np.floating],
        probabilities: NDArray[np.floating],
    ) -> None:
        """Write a block at a scale.

        Parameters
        ----------
        split, scale, block
            Which one.
        features, embeddings, probabilities
            ``[rows, P]``, ``[rows, E]``, ``[rows, K]``; the first two are rounded to half precision.

        Raises
        ------
        FsrcacheError
            If there is no such block, a shape is another, a number is not finite or becomes infinite in half
            precision (the message says of which picture), or writing fails. Nothing is written then, but for the last.
        """
        if split not in self.spec.rows or scale not in self.spec.scales or not 0 <= block < self.blocks(split):
            raise FsrcacheError(f"The store {self.path} has no block {block} of {split} at scale {scale}.")
        rows = self.rows(split, block)
        given = {"features": features, "embeddings": embeddings, "probabilities": probabilities}
        places = outputs(self.spec, split, scale=scale)
        values = {name: self._stored_form(place, rows, given[name]) for name, place in places.items()}
        for name, place in places.items():
            with storage_errors(f"{self.path / place.keys[block]} cannot be written", remedy=_AGAIN):
                write_rows(self.path, place, rows=rows, values=values[name])

    def finish(self) -> None:
        """Mark the store as complete.

        Raises
        ------
        FsrcacheError
            If blocks are missing.
        """
        if missing := self.missing():
            split, scale, block = missing[0]
            raise FsrcacheError(
                f"The store {self.path} lacks {len(missing)} blocks, first block {block} of {split} at scale {scale}.",
                "Run the same command again: it writes what is missing.",
            )
        if read_root(self.path) != (self.spec, True):
            with storage_errors(f"The store {self.path} cannot be written", remedy=_AGAIN):
                self._write_attributes(complete=True)

    def _stored_form(self, place: Place, rows: slice, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return values as they are stored, all finite."""
        shape = (rows.stop - rows.start, place.shape[1])
        if values.shape != shape:
            raise FsrcacheError(f"The block of {place.name} has the shape {list(values.shape)}, not {list(shape)}.")
        with np.errstate(over="ignore"):
            stored = values.astype(place.dtype)
        if not (finite := np.isfinite(stored)).all():
            row, column = np.argwhere(~finite)[0]
            split = place.name.split("/")[0]
            raise FsrcacheError(
                f"{place.name} of the picture {str(self._ids[split][rows.start + row])!r} holds {values[row, column]}, "
                f"which {place.dtype} cannot keep.",
                "Look at that picture and at the extractor's weights: a sound extractor stays below 65504.",
            )
        return stored

    def _write_attributes(self, *, complete: bool) -> None:
        zarr.open_group(self.path, mode="r+").attrs.update(root_attributes(self.spec, complete=complete))

    def _write_columns(self, given: Mapping[str, Mapping[str, Any]]) -> None:
        for split in self.spec.splits:
            self._create_group(split)
            for name, place in columns(self.spec, split).items():
                self._create_array(place)
                if place.missing(self.path):
                    write_rows(self.path, place, rows=slice(None), values=np.asarray(given[name][split]))

    def _create_outputs(self) -> None:
        for split in self.spec.splits:
            for scale in self.spec.scales:
                self._create_group(f"{split}/x{scale}")
                for place in outputs(self.spec, split, scale=scale).values():
                    self._create_array(place)

    def _create_group(self, name: str) -> None:
        if not (self.path / name / "zarr.json").exists():
            zarr.create_group(self.path, path=name)

    def _create_array(self, place: Place) -> None:
        if not (self.path / place.name / "zarr.json").exists():
            create_array(self.path, place)


def _check_columns(spec: StoreSpec, given: Mapping[str, Mapping[str, Any]]) -> None:
    for split in spec.splits:
        for name, place in columns(spec, split).items():
            if split not in given[name]:
                raise FsrcacheError(f"The spec has a split {split!r}, but there are no {name} of it.")
            values = np.asarray(given[name][split])
            kind = "U" if place.dtype == "string" else "u"
            if values.shape != place.shape or values.dtype.kind != kind:
                raise FsrcacheError(
                    f"The {name} of {split} are {values.dtype} {list(values.shape)}, "
                    f"not {place.dtype} {list(place.shape)}."
                )


def _refuse_other_content(path: Path, there: StoreSpec, wanted: StoreSpec) -> None:
    if names := wanted.differences(there):
        stored, asked = there.compared(), wanted.compared()
        changes = "; ".join(f"{name} is {stored[name]!r} there and {asked[name]!r} now" for name in names)
        raise FsrcacheError(
            f"The store {path} is of other content: {changes}.",
            "Keep this work apart with --workspace, or remove the store to write it anew.",
        )


def _refuse_other_files(path: Path) -> None:
    """Refuse a folder of something else: what no store's beginning leaves behind."""
    others = (
        [item.name for item in path.iterdir() if not item.match(f"zarr.{'[0-9a-f]' * 32}.partial")]
        if path.exists()
        else []
    )
    if others:
        raise FsrcacheError(
            f"{path} holds {len(others)} other things and no {KEY} store, {min(others)!r} for one.",
            "Name a folder that is empty or not there yet.",
        )
