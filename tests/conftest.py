"""A small store of two splits and two scales, with a ragged last shard and a block of zeros."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import StoreSpec
from fsrcache.store.writer import FeatureWriter

ROWS = {"train": 23, "val": 5}
SPEC = StoreSpec(
    digests={"pictures": "aa", "labels": "bb", "order": "cc", "weights": "dd", "preprocessing": "ee"},
    classes=("happiness", "anger"),
    scales=(1, 2),
    widths={"features": 6, "embeddings": 4, "probabilities": 2},
    recipe={"degradation": {"form": "scale", "border": "replicate", "jpeg": None}},
    data="a test",
    rows=ROWS,
    chunk=4,
    block=8,
)


@dataclass(frozen=True)
class Example:
    """What the store is about, and how to write it anywhere."""

    spec: StoreSpec = field(default=SPEC)

    def columns(self):
        random = np.random.default_rng(0)
        return {
            "labels": {split: random.integers(0, 2, n).astype(np.uint8) for split, n in ROWS.items()},
            "ids": {split: [f"{split}/{i} ü.png" for i in range(n)] for split, n in ROWS.items()},
            "hashes": {split: random.integers(0, 256, (n, 16)).astype(np.uint8) for split, n in ROWS.items()},
        }

    def values(self, split, scale, rows):
        """Return what the rows of a split hold at a scale; block 1 of train is all zeros."""
        random = np.random.default_rng([len(split), scale])
        whole = [random.standard_normal((ROWS[split], width)).astype(np.float32) for width in (6, 4, 2)]
        if split == "train":
            whole = [np.where((np.arange(ROWS[split]) // 8 == 1)[:, None], 0, array) for array in whole]
        return dict(zip(("features", "embeddings", "probabilities"), (array[rows] for array in whole), strict=True))

    def writer(self, place, **more):
        return FeatureWriter(place, more.pop("spec", self.spec), **self.columns(), **more)

    def fill(self, writer, most=None):
        for split, scale, block in writer.missing()[:most]:
            writer.write(split, scale, block=block, **self.values(split, scale, writer.rows(split, block)))

    def written(self, place, **more):
        """Write what is missing, whole; return the files."""
        with self.writer(place, **more) as writer:
            self.fill(writer)
            assert writer.finish()
        return FeatureStore(place)


@pytest.fixture(scope="session")
def example():
    return Example()


@pytest.fixture(scope="session")
def files():
    """Return a function that reads all files below a folder."""

    def read(path):
        return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}

    return read
