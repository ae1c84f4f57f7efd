"""Other readers of Zarr v3 read our store and find what we find; what zarr-python would have written is what we write.

Tried: zarr-python, zarr-python with the codecs of zarrs, tensorstore (all but the ids: it has no strings), icechunk.
"""

import json
from dataclasses import replace

import icechunk
import numpy as np
import pytest
import tensorstore
import zarr

from fsrcache.store.layout import arrays
from fsrcache.store.reader import FeatureStore

WIDTHS = {"features": 6, "embeddings": 4, "probabilities": 2}
LAYOUTS = {  # changes of the spec
    "two chunks a shard": {},
    "a chunk a shard": {"chunk": 8},
    "many chunks a shard": {"chunk": 1, "block": 7},
    "one shard": {"chunk": 6, "block": 24},
    "fits exactly": {"rows": {"train": 16, "val": 8}},
    "a row": {"rows": {"train": 9, "val": 1}},
    "single precision": {"dtype": "float32"},
    "features alone": {"widths": {"features": 10}},
}


@pytest.fixture(scope="module", params=LAYOUTS)
def folder(request, example, tmp_path_factory):
    """A finished store, for reading."""
    path = tmp_path_factory.mktemp("layout") / "s"
    example.written(path, spec=replace(example.spec, **LAYOUTS[request.param]))
    return path


def ours(store, array):
    """Return what our reader finds in an array."""
    split, *rest = array.name.split("/")
    if len(rest) == 1:
        return getattr(store, rest[0])(split)
    return getattr(store, rest[1])(split, int(rest[0][1:]))[:]


def assert_read(folder, read, *, but=()):
    """Compare what a reader gives for the name of every array, those of some types left out, with ours."""
    store = FeatureStore(folder)
    compared = 0
    for array in arrays(store.spec):
        if array.dtype not in but:
            theirs, expected = read(array.name), ours(store, array)
            assert theirs.shape == expected.shape
            assert theirs.tolist() == expected.tolist() if array.dtype == "string" else np.array_equal(theirs, expected)
            compared += 1
    assert compared == len(arrays(store.spec)) - 2 * len(but)


def test_zarr_python(folder):
    group = zarr.open_group(folder, mode="r")
    assert_read(folder, lambda name: group[name][:])
    rows = [3, 0, 4, 3, 0]
    some = group["val/x2/features"]
    if some.shape[0] > 4:
        assert np.array_equal(some.oindex[rows], FeatureStore(folder).features("val", 2)[rows])


@pytest.mark.filterwarnings("ignore:Array is unsupported by ZarrsCodecPipeline")  # strings: zarr-python's codecs do it
def test_zarrs(folder):
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        group = zarr.open_group(folder, mode="r")
        pipeline = group["train/x1/features"]._async_array.codec_pipeline
        assert type(pipeline).__module__.startswith("zarrs")
        assert_read(folder, lambda name: group[name][:])


def test_tensorstore(folder):
    def read(name):
        kvstore = {"driver": "file", "path": f"{folder / name}/"}
        return np.asarray(tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result().read().result())

    assert_read(folder, read, but=["string"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_icechunk_holds_a_store_and_we_read_it(folder, tmp_path, kind):
    storage = icechunk.in_memory_storage() if kind == "memory" else icechunk.local_filesystem_storage(str(tmp_path))
    repository = icechunk.Repository.create(storage)
    session = repository.writable_session("main")
    copy(zarr.open_group(folder, mode="r"), zarr.create_group(session.store))
    session.commit("a store")
    again = FeatureStore(repository.readonly_session("main").store)
    store = FeatureStore(folder)
    assert again.spec == store.spec
    for array in arrays(store.spec):
        assert ours(again, array).tolist() == ours(store, array).tolist()
    rows = np.random.default_rng(0).integers(0, len(store.labels("train")), 40)
    assert np.array_equal(again.features("train", 2)[rows], store.features("train", 2)[rows])


def copy(source, target):
    """Copy a group, what is below it, and all attributes."""
    target.attrs.update(source.attrs.asdict())
    for name, member in source.members():
        if isinstance(member, zarr.Group):
            copy(member, target.create_group(name))
        else:
            target.create_array(name, data=member[:], chunks=member.chunks, shards=member.shards, fill_value=0) if (
                member.dtype.kind in "fu"
            ) else target.create_array(name, data=member[:], chunks=member.chunks)


def test_zarr_python_writes_the_same_bytes(folder, tmp_path):
    """The same metadata, empty, in another folder, and the rows written by zarr: a shard of ours has a seal more."""
    store = FeatureStore(folder)
    for array in arrays(store.spec):
        (tmp_path / array.name).mkdir(parents=True)
        (tmp_path / array.name / "zarr.json").write_bytes((folder / array.name / "zarr.json").read_bytes())
        with zarr.config.set({"array.write_empty_chunks": True}):
            values = ours(store, array)
            zarr.open_array(tmp_path / array.name, mode="r+")[:] = (
                values.astype(object) if array.dtype == "string" else values
            )
        for block, key in enumerate(array.keys):
            written, expected = (folder / key).read_bytes(), (tmp_path / key).read_bytes()
            if array.chunk is None:
                assert written == expected, key
                continue
            body = array.shard_bytes(block) - array.tail_bytes
            assert len(written) == len(expected) + 4 * (array.block // array.chunk) + 16 + 16
            assert chunks(written, array) == chunks(expected, array), key
            assert written[:body] == b"".join(chunks(written, array)), key


def chunks(shard, array):
    """Return the bytes of a shard's chunks that are there, checksums included, as its index has them."""
    count = array.block // array.chunk
    index = np.frombuffer(shard[-16 * count - 4 : -4], "<u8").reshape(count, 2)
    return [shard[int(start) : int(start + length)] for start, length in index if start != 2**64 - 1]


def test_the_metadata_are_what_zarr_says_of_them(folder):
    """Nothing in a document is unknown to zarr-python or read by it as something else."""
    store = FeatureStore(folder)
    for array in arrays(store.spec):
        ours = json.loads((folder / array.name / "zarr.json").read_bytes())
        theirs = zarr.open_array(folder / array.name, mode="r").metadata.to_dict()
        theirs = json.loads(json.dumps(theirs, default=lambda value: getattr(value, "value", str(value))))
        assert {name: theirs[name] for name in ("shape", "fill_value", "chunk_grid", "dimension_names")} == {
            name: ours[name] for name in ("shape", "fill_value", "chunk_grid", "dimension_names")
        }
