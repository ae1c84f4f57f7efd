"""A chunk is believed in its own place alone: moved with its checksum, within a shard or from anywhere, it is found."""

import shutil
from itertools import count

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, MemoryStore

from fsrcache.errors import FsrcacheError
from fsrcache.store import reader as reading
from fsrcache.store.layout import outputs
from fsrcache.store.objects import objects_at
from fsrcache.store.reader import FeatureStore
from fsrcache.store.shard import encode
from fsrcache.store.verify import verify

NUMBERS = count()
HERE = ("train/x2/features/c/0/0", 0)
FROM = {
    "the same shard": ("train/x2/features/c/0/0", 1),
    "another shard": ("train/x2/features/c/2/0", 1),
    "another scale": ("train/x1/features/c/0/0", 0),
    "another split": ("val/x2/features/c/0/0", 0),
    "a block of zeros": ("train/x2/features/c/1/0", 0),
}
STEP = 4 * 6 * 2 + 4  # bytes of a chunk of features and its checksum


@pytest.fixture(params=["folder", "memory", "store object"])
def place(request, tmp_path, example):
    """Where a whole store is."""
    found = {"folder": tmp_path / "s", "memory": f"memory://places{next(NUMBERS)}/s", "store object": MemoryStore()}
    example.written(found[request.param])
    return found[request.param]


def move(place, origin, target, *, exchange):
    objects = objects_at(place)
    (key, i), (there, j) = target, origin
    data = {name: bytearray(objects.read(name)) for name in {key, there}}
    one, other = slice(i * STEP, (i + 1) * STEP), slice(j * STEP, (j + 1) * STEP)
    taken, left = data[there][other], data[key][one]
    assert taken != left
    data[key][one] = taken
    if exchange:
        data[there][other] = left
    for name, changed in data.items():
        objects.write(name, changed)


@pytest.mark.parametrize("exchange", [True, False], ids=["exchanged", "copied"])
@pytest.mark.parametrize("origin", FROM.values(), ids=FROM)
def test_a_chunk_in_another_place_is_never_given(place, example, origin, exchange):
    expected = example.values("train", 2, slice(None))["features"].astype("f2")
    opened = FeatureStore(place).features("train", 2)
    assert np.array_equal(opened[:], expected)  # so that what is remembered of a shard is from before
    move(place, origin, HERE, exchange=exchange)
    problems = {problem.key for problem in verify(place).problems}
    assert HERE[0] in problems
    for array in (opened, FeatureStore(place).features("train", 2)):
        for rows in (slice(None), slice(0, 4), slice(1, 3), [3, 0], slice(0, 8)):
            with pytest.raises(FsrcacheError, match=r"train/x2/features/c/0/0 is not what was written there"):
                array[rows]
    if origin[0] != HERE[0]:
        assert np.array_equal(FeatureStore(place).features("train", 2)[4:8], expected[4:8])


@pytest.mark.parametrize("name", ["features", "probabilities"])
def test_a_whole_shard_in_another_place_is_never_given(place, name):
    objects = objects_at(place)
    objects.write(f"train/x2/{name}/c/0/0", objects.read(f"train/x1/{name}/c/0/0"))
    for rows in (slice(None), slice(0, 4), [1]):
        with pytest.raises(FsrcacheError, match=rf"train/x2/{name}/c/0/0 is not what was written there"):
            getattr(FeatureStore(place), name)("train", 2)[rows]


def test_checksums_that_are_edited_are_not_believed(place):
    """A chunk moved, and the checksums in the tail made to fit: the seal does not."""
    move(place, FROM["the same shard"], HERE, exchange=True)
    objects = objects_at(place)
    data = bytearray(objects.read(HERE[0]))
    at = len(data) - outputs(FeatureStore(place).spec, "train", scale=2)["features"].tail_bytes
    data[at : at + 8] = data[at + 4 : at + 8] + data[at : at + 4]
    objects.write(HERE[0], data)
    with pytest.raises(FsrcacheError, match="is not what was written there"):
        FeatureStore(place).features("train", 2)[0]


def test_a_whole_shard_of_the_same_place_in_another_store_is_never_given(place, example):
    """As sound as can be, and not what this store says was written there."""
    shard = outputs(example.spec, "train", scale=2)["features"]
    objects_at(place).write(HERE[0], encode(shard, np.ones((8, 6), np.float16), block=0))
    with pytest.raises(FsrcacheError, match="train/x2/features/c/0/0 is not what was written there"):
        FeatureStore(place).features("train", 2)[0]


def test_columns_of_another_split_are_never_given(tmp_path, example):
    """A column's file bears no place of its own: the root's digest knows it."""
    spec = example.spec.__class__(**{**vars(example.spec), "rows": {"train": 5, "val": 5}})
    store = example.written(tmp_path / "s", spec=spec)
    for name in ("labels", "ids", "hashes"):
        (file,), (other,) = ([*(tmp_path / f"s/{split}/{name}/c").rglob("0")][-1:] for split in ("train", "val"))
        kept = file.read_bytes()
        shutil.copyfile(other, file)
        with pytest.raises(FsrcacheError, match=f"train/{name}/c/0.* is not what was written there"):
            getattr(store, name)("train")
        file.write_bytes(kept)
        getattr(store, name)("train")


def test_what_is_not_checked_costs_no_look(tmp_path, example):
    example.written(tmp_path / "s")
    move(tmp_path / "s", FROM["the same shard"], HERE, exchange=True)
    assert FeatureStore(tmp_path / "s", check=False).features("train", 2)[:].shape == (23, 6)


def test_elsewhere_a_seal_is_asked_for_once_a_shard(example, monkeypatch):
    """With the chunks where the last of a shard is among them, by a request of its own otherwise, and then known."""
    place = f"memory://places{next(NUMBERS)}/s"
    array = example.written(place).features("train", 2)
    asked = []
    read = reading.ZarrObjects.read

    def counted(objects, key, **range_):
        asked.append(key)
        return read(objects, key, **range_)

    monkeypatch.setattr(reading.ZarrObjects, "read", counted)
    counts = []
    for rows in (slice(0, 4), slice(0, 4), slice(0, 8), slice(8, 16), slice(8, 12), slice(None)):
        asked.clear()
        assert len(array[rows])
        counts.append(len(asked))
    assert counts == [2, 1, 1, 1, 1, 3]


def test_a_copy_by_zarr_is_read_by_zarr(tmp_path, example):
    """Its shards are Zarr's own and bear no seals of ours."""
    store = example.written(tmp_path / "s")
    copy = LocalStore(tmp_path / "copy")
    group, source = zarr.create_group(copy), zarr.open_group(tmp_path / "s", mode="r")
    group.attrs.update(source.attrs.asdict())
    array = source["train/x2/features"]
    made = {"chunks": array.chunks, "shards": array.shards, "fill_value": 0}
    group.create_array("train/x2/features", shape=array.shape, dtype=array.dtype, **made)[:] = array[:]
    assert np.array_equal(FeatureStore(copy).features("train", 2)[:], store.features("train", 2)[:])
    shard = (tmp_path / "copy/train/x2/features/c/0/0").read_bytes()
    assert len(shard) < len((tmp_path / "s/train/x2/features/c/0/0").read_bytes())
