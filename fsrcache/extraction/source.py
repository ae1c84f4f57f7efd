"""The input of an extraction: faces in the store's order, the extractor, and how low-resolution views are made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.device import check_device
from fsrcache.errors import FsrcacheError
from fsrcache.extraction.extra import ExtraFaces, unlabelled_faces, views_of
from fsrcache.extraction.features import view_of
from fsrcache.extractors.extractor import Extractor
from fsrcache.extractors.identity import preprocessing_digest
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import SCALE_FORM, Degradation, coarse_pictures
from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.faces import Faces
from fsrcache.faces.relabel import relabel
from fsrcache.store.layout import ITEMSIZE
from fsrcache.store.order import row_order
from fsrcache.store.spec import UNLABELLED, StoreSpec, chunk_and_block

_ORDER = "hash, label, id; then one shuffle, PCG64, seed 0"
_DTYPE = "float16"


class SuperResolver(NamedTuple):
    """What enlarges small faces in place of bicubic.

    Attributes
    ----------
    digest
        Hexadecimal SHA-256 of its weights.
    enlarge
        Function of small pictures uint8 ``[B, s, s, C]``, the scale and the side S that returns uint8 ``[B, S, S, C]``;
        several threads call it at a time.
    """

    digest: str
    enlarge: Callable[[Pictures, int, int], Pictures]


@dataclass(frozen=True, eq=False)
class FaceSource:
    """Faces, the extractor that sees them, and how coarse.

    Attributes
    ----------
    faces
        The pictures, of the extractor's side.
    extractor
        The frozen network, on its device.
    order
        int64 ``[n]`` for every split: rows of ``faces`` in the store's order.
    degradation
        How low-resolution views are made.
    super_resolver
        What enlarges the small faces; None for bicubic.
    extra
        The faces of the splits that only trainings read.
    early
        Whether the early features are kept too, if the extractor has any.
    """

    faces: Faces
    extractor: Extractor
    order: Mapping[str, NDArray[np.int64]]
    degradation: Degradation
    super_resolver: SuperResolver | None = None
    extra: Mapping[str, ExtraFaces] = field(default_factory=dict)
    early: bool = True

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return which of its pictures are the rows of a split, int64 ``[n]``, in the store's order."""
        return self.extra[split].order if split in self.extra else self.order[split]

    def ids(self, split: str, rows: slice = slice(None)) -> NDArray[np.str_]:
        """Return the names of a split's pictures ``[n]``, or of some of its rows, in the store's order."""
        faces = self.extra[split].faces if split in self.extra else self.faces
        return faces.listing.names[faces.rows[self.rows(split)[rows]]]

    def batch(self, rows: NDArray[np.int64], *, split: str = "train") -> Pictures:
        """Return pictures of a split by their rows, uint8 ``[B, S, S, C]``; all but the extra splits share the rows."""
        return self.extra[split].batch(rows) if split in self.extra else self.faces.batch(rows, threads=1)

    def columns(self) -> dict[str, dict[str, Any]]:
        """Return ``labels``, ``ids`` and ``hashes`` of every split, as a ``FeatureWriter`` takes them."""
        labels: dict[str, Any] = {split: self.faces.labels[rows] for split, rows in self.order.items()}
        hashes = {split: self.faces.hashes[rows] for split, rows in self.order.items()}
        labels |= {split: one.labels for split, one in self.extra.items()}
        hashes |= {split: one.faces.hashes[one.order] for split, one in self.extra.items()}
        return {"labels": labels, "ids": {split: self.ids(split) for split in labels}, "hashes": hashes}

    def view(self, pictures: Pictures, scale: int) -> Pictures:
        """Return pictures uint8 ``[B, S, S, C]`` as the extractor sees them at a scale, ``[B, C, S, S]``."""
        if self.super_resolver is None or scale == 1:
            return view_of(pictures, scale=scale, degradation=self.degradation)
        small = coarse_pictures(pictures, scale, self.degradation)
        enlarged = self.super_resolver.enlarge(small, scale, pictures.shape[1])
        return np.ascontiguousarray(enlarged.transpose(0, 3, 1, 2))


def face_source(
    faces: Faces,
    extractor: Extractor | str | PathLike[str],
    *,
    device: torch.device,
    degradation: Degradation = SCALE_FORM,
    super_resolver: SuperResolver | None = None,
    views: int = 0,
    unlabelled: Faces | None = None,
    early: bool = True,
) -> FaceSource:
    """Open the extractor, and put the faces in the store's order and their classes in the extractor's.

    Parameters
    ----------
    faces, extractor, device, degradation, super_resolver
        Labelled faces, and what sees them how.
    views
        Number of views of every training face.
    unlabelled
        Faces whose labels are not known, of the same side; those that are among the labelled ones are left out.
    early
        Whether the early features are kept too.

    Raises
    ------
    FsrcacheError
        If there is no such extractor, or it has other classes or another side than the faces.
    """
    check_device(device)
    extractor = open_extractor(extractor, device=device)
    faces = relabel(faces, extractor.classes, extractor=extractor.name)
    if faces.side != extractor.side:
        raise FsrcacheError(
            f"The faces have {faces.side} pixels a side; {extractor.name} takes {extractor.side}.",
            f"Read them at its side: usable_faces(listing, side={extractor.side}).",
        )
    order = _order(faces)
    extra = views_of(faces, order["train"], views=views) if views and "train" in order else {}
    if unlabelled is not None:
        extra[UNLABELLED] = unlabelled_faces(unlabelled, faces)
    return FaceSource(faces, extractor, order, degradation, super_resolver, extra, early)


def store_spec(source: FaceSource, *, scales: Sequence[int], data: str) -> StoreSpec:
    """Return what a store of a source's features is about; scale 1 is always in it.

    Parameters
    ----------
    source
        Faces and extractor.
    scales
        Scales from 1, in any order.
    data
        The data in one line, for people.
    """
    faces, extractor = source.faces, source.extractor
    rows = {split: len(chosen) for split, chosen in source.order.items()}
    length = extractor.form.length
    chunk, block = chunk_and_block(length * ITEMSIZE[_DTYPE], rows)
    every = np.concatenate(list(source.order.values()))
    return StoreSpec(
        digests={
            "pictures": sha256(faces.hashes[every].tobytes()).hexdigest(),
            "labels": sha256(",".join(faces.classes).encode() + faces.labels[every].tobytes()).hexdigest(),
            "order": sha256(f"{_ORDER} {rows}".encode()).hexdigest(),
            "weights": extractor.digest,
            "preprocessing": preprocessing_digest(extractor, source.degradation),
        },
        classes=faces.classes,
        scales=tuple(sorted({1, *scales})),
        widths={
            "features": length,
            "embeddings": extractor.embedding,
            "probabilities": len(faces.classes),
            **({"early": extractor.form.early} if source.early and extractor.form.early else {}),
        },
        dtype=_DTYPE,
        recipe={
            "extractor": extractor.name,
            "side": faces.side,
            "channels": 1 if faces.grey else 3,
            "spd_side": extractor.form.side,
            "degradation": asdict(source.degradation),
            **({} if source.super_resolver is None else {"super_resolver": source.super_resolver.digest}),
        },
        data=data,
        rows=rows,
        extra={split: {"rows": len(one.order), "digest": one.digest} for split, one in source.extra.items()},
        chunk=chunk,
        block=block,
    )


def _order(faces: Faces) -> dict[str, NDArray[np.int64]]:
    """Return which pictures are the rows of every split that has any, in the store's order."""
    hashes, labels, names = faces.hashes, faces.labels, faces.names
    order = {}
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(faces.splits == number)
        if len(rows):
            order[split] = rows[row_order(hashes[rows], labels[rows], ids=names[rows])]
    return order
