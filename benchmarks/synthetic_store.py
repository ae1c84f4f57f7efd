"""A store of random numbers for the benchmarks, and the same rows in the peers' formats."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import DIGESTS, StoreSpec, chunk_and_block
from fsrcache.store.writer import FeatureWriter

Values = Callable[[NDArray[np.int64]], NDArray[np.floating]]
_TAR_ROWS = 2048
_LENGTH = np.dtype(np.float16).itemsize


def synthetic_store(path: Path, *, rows: int, width: int, seed: int = 0, values: Values | None = None) -> FeatureStore:
    """Write a complete store of one split and scale, fp16 ``[rows, width]`` of random numbers or of ``values``."""
    chunk, block = chunk_and_block(_LENGTH * width, {"train": rows})
    spec = StoreSpec(
        digests=dict.fromkeys(DIGESTS, "00"), classes=("a", "b"), scales=(1,), widths={"features": width},
        recipe={}, data="drawn numbers", rows={"train": rows}, chunk=chunk, block=block,
    )  # fmt: skip
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 256, (rows, 16)).astype(np.uint8)
    columns = {"labels": np.zeros(rows, np.uint8), "ids": list(map(str, range(rows))), "hashes": hashes}
    with FeatureWriter(path, spec, **{name: {"train": column} for name, column in columns.items()}) as writer:  # type: ignore[arg-type]
        for split, scale, number in writer.missing():
            span = writer.rows(split, number)
            numbers = np.arange(span.start, span.stop)
            drawn = values(numbers) if values else random.standard_normal((len(numbers), width), dtype=np.float32)
            writer.write(split, scale, block=number, features=drawn)
        writer.finish()
    return FeatureStore(path)


def write_webdataset(folder: Path, features: NDArray[np.float16]) -> list[Path]:
    """Write rows as webdataset's tar files, each row a ``.f2`` member; return their paths."""
    folder.mkdir()
    paths = []
    for start in range(0, len(features), _TAR_ROWS):
        path = folder / f"{start // _TAR_ROWS:05}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for row in range(start, min(start + _TAR_ROWS, len(features))):
                member = tarfile.TarInfo(f"{row:09}.f2")
                member.size = features[row].nbytes
                tar.addfile(member, io.BytesIO(features[row].tobytes()))
        paths.append(path)
    return paths


def write_mds(folder: Path, features: NDArray[np.float16]) -> None:
    """Write rows as MosaicML streaming's MDS shards, 64 MB each as its writer does."""
    from streaming import MDSWriter

    form = {"row": "int64", "features": f"ndarray:float16:{features.shape[1]}"}
    with MDSWriter(out=str(folder), columns=form) as writer:
        for row, values in enumerate(features):
            writer.write({"row": row, "features": values})


def forget(folder: Path) -> None:
    """Ask the system to drop every file of a folder from its cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
