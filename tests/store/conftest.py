"""A small store to write and read in several ways; its block 1 of train is all zeros, its last shards are ragged."""

from dataclasses import replace
from types import SimpleNamespace

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


def columns(rows=ROWS):
    random = np.random.default_rng(0)
    return {
        "labels": {split: random.integers(0, 2, n).astype(np.uint8) for split, n in rows.items()},
        "ids": {split: [f"{split}/{i} ü.png" for i in range(n)] for split, n in rows.items()},
        "hashes": {split: random.integers(0, 256, (n, 16)).astype(np.uint8) for split, n in rows.items()},
    }


def values(spec, split, scale):
    """Return all that the rows of a split hold at a scale, by name."""
    random = np.random.default_rng([len(split), scale])
    n = spec.rows[split]
    found = {}
    for name, width in spec.widths.items():
        found[name] = random.standard_normal((n, width)).astype(np.float32)
        if split == "train":
            found[name][spec.rows_of(split, 1)] = 0
    return found


def fill(writer, most=None):
    for split, scale, block in writer.missing()[:most]:
        rows = writer.rows(split, block)
        given = {name: array[rows] for name, array in values(writer.spec, split, scale).items()}
        writer.write(split, scale, block=block, **given)


def write(place, spec=SPEC, **options):
    """Write what is missing of a store; tell whether it is complete."""
    with FeatureWriter(place, spec, **columns(spec.rows), **options) as writer:
        fill(writer)
        return writer.finish()


def written(place, spec=SPEC, **options):
    assert write(place, spec, **options)
    options.pop("part", None)
    return FeatureStore(place, **options)


def files(folder):
    """Return the bytes of every file in a folder, by key."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def sample():
    """What a test needs to write the small store, or one of another layout."""
    return SimpleNamespace(
        spec=SPEC, columns=columns, values=values, fill=fill, write=write, written=written, files=files, replace=replace
    )
