"""Object storage: a store at a URL is the local one, object for object; a server that fails harms nothing."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import numpy as np
import obstore
import pytest
import s3fs
import zarr
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from zarr.storage import FsspecStore, MemoryStore, ObjectStore

from fsrcache.errors import FsrcacheError
from fsrcache.store.reader import FeatureStore
from fsrcache.store.remote import ZarrObjects
from fsrcache.store.verify import repair, verify
from fsrcache.store.writer import FeatureWriter

KEY, SECRET = "AKIARECOGNISABLE", "s3cr3t/Recognis+able"
NUMBERS = count()


def options(address, **client):
    """Return what fsspec gives to s3fs: credentials, where the server is, and little patience."""
    settings = {"read_timeout": 0.5, "connect_timeout": 0.5, "retries": {"max_attempts": 2}, **client}
    return {
        "key": KEY,
        "secret": SECRET,
        "client_kwargs": {"endpoint_url": address, "region_name": "us-east-1"},
        "config_kwargs": settings,
    }


@pytest.fixture
def url():
    return f"s3://bucket/{next(NUMBERS)}/features.zarr"


@pytest.fixture(scope="module")
def local(example, tmp_path_factory):
    """The same store in a folder."""
    path = tmp_path_factory.mktemp("local") / "s"
    example.written(path)
    return path


def assert_equal_stores(found, expected):
    for split in expected.splits:
        assert found.labels(split).tolist() == expected.labels(split).tolist()
        assert found.ids(split).tolist() == expected.ids(split).tolist()
        rows = [2, 0, 4, 4, -1, *range(len(expected.labels(split)))]
        for scale in expected.scales:
            for name in ("features", "embeddings", "probabilities"):
                theirs, ours = getattr(found, name)(split, scale), getattr(expected, name)(split, scale)
                assert np.array_equal(theirs[:], ours[:])
                assert np.array_equal(theirs[1:4], ours[1:4])
                assert np.array_equal(theirs[rows], ours[rows])


def test_a_store_on_s3_is_the_local_one_object_for_object(example, s3_server, url, local, files, objects):
    found = example.written(url, storage_options=options(s3_server))
    assert objects(s3_server, url) == files(local)
    assert_equal_stores(found, FeatureStore(local))
    assert verify(url, storage_options=options(s3_server)).ok


@pytest.mark.slow
def test_resumed_added_to_damaged_and_repaired(example, s3_server, url, tmp_path, files, objects):
    given = options(s3_server)
    with FeatureWriter(url, example.spec, **example.columns(), storage_options=given) as writer:
        example.fill(writer, most=3)
    with pytest.raises(FsrcacheError, match="is incomplete"):
        FeatureStore(url, storage_options=given)
    with FeatureWriter(url, example.spec, **example.columns(), storage_options=given) as writer:
        assert writer.resumed_from == 3
        example.fill(writer)
        assert writer.finish()
    more = replace(example.spec, scales=(1, 2, 4))
    example.written(url, spec=more, storage_options=given)
    example.written(tmp_path / "s", spec=more)
    whole = files(tmp_path / "s")
    assert objects(s3_server, url) == whole

    fs = s3fs.S3FileSystem(skip_instance_cache=True, **given)
    root, shards = url.removeprefix("s3://"), [key for key in whole if "/x4/" in key and "/c/" in key][:3]
    fs.rm_file(f"{root}/{shards[0]}")
    fs.pipe_file(f"{root}/{shards[1]}", whole[shards[1]][:-1])
    fs.pipe_file(f"{root}/{shards[2]}", bytes([whole[shards[2]][0] ^ 1]) + whole[shards[2]][1:])
    found = repair(url, storage_options=given)
    assert {(problem.key, problem.kind) for problem in found.problems} == set(
        zip(shards, ("missing", "short", "corrupt"), strict=True)
    )
    assert objects(s3_server, url).keys() == whole.keys() - set(shards)
    example.written(url, spec=more, storage_options=given)
    assert objects(s3_server, url) == whole


@pytest.mark.slow
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_parts_in_any_order_complete_it(example, s3_server, url, local, order, files, objects):
    for i in order:
        done = example.write(url, part=(i, 2), storage_options=options(s3_server))
        assert done == (i == order[1])
    assert objects(s3_server, url) == files(local)


@pytest.mark.slow
def test_parts_at_the_same_time(example, s3_server, url, local, files, objects):
    """Both may find the store whole when they end, or one of them; run once more, it is complete."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda i: example.write(url, part=(i, 2), storage_options=options(s3_server)), (1, 2)))
    assert example.write(url, storage_options=options(s3_server))
    assert objects(s3_server, url) == files(local)


@pytest.mark.slow
def test_an_object_of_the_stores_own_name_is_beside_it(example, s3_server, url, local, files, objects):
    s3fs.S3FileSystem(skip_instance_cache=True, **options(s3_server)).pipe_file(url, b"a file")
    example.written(url, storage_options=options(s3_server))
    assert objects(s3_server, url) == files(local)


@pytest.mark.slow
def test_a_resumption_asks_little(example, proxy, url):
    """A finished store opened for writing: one list a thousand objects, no question after any shard."""
    example.write(url, storage_options=options(proxy.address))
    proxy.seen.clear()
    assert example.write(url, storage_options=options(proxy.address))
    assert sum("list-type=2" in path for _, path in proxy.seen) == 2
    assert not [path for _, path in proxy.seen if re.search(r"/x\d+/[^?]*/c/", path)]
    assert all(method in ("GET", "HEAD") for method, _ in proxy.seen)


def test_memory(example, local):
    place = f"memory://{next(NUMBERS)}/s"
    with FeatureWriter(place, example.spec, **example.columns()) as writer:
        example.fill(writer, most=3)
    assert_equal_stores(example.written(place), FeatureStore(local))
    assert verify(place).ok


@pytest.mark.parametrize(
    "make", [MemoryStore, lambda: ObjectStore(obstore.store.MemoryStore())], ids=["zarr", "obstore"]
)
def test_store_objects_of_zarr(example, local, make, files):
    place = make()
    with FeatureWriter(place, example.spec, **example.columns()) as writer:
        example.fill(writer, most=3)
    assert_equal_stores(example.written(place), FeatureStore(local))
    assert verify(place).ok
    whole = files(local)
    read = {key: zarr.core.sync.sync(place.get(key, zarr.core.buffer.default_buffer_prototype())) for key in whole}
    assert {key: data.to_bytes() for key, data in read.items()} == whole


@pytest.mark.slow
def test_obstore_on_s3(example, s3_server, url, local, files, objects):
    prefix = url.removeprefix("s3://bucket/")
    client = obstore.store.S3Store(
        "bucket", prefix=prefix, endpoint=s3_server, access_key_id=KEY, secret_access_key=SECRET, region="us-east-1",
        client_options={"allow_http": True},
    )  # fmt: skip
    assert_equal_stores(example.written(ObjectStore(client)), FeatureStore(local))
    assert objects(s3_server, url) == files(local)


@pytest.fixture(scope="module")
def fewer(example):
    """A store of 29 objects, so that every request of it may fail."""
    return replace(example.spec, rows={"train": 9, "val": 3}, widths={"features": 6})


@pytest.fixture(scope="module")
def fewer_files(example, fewer, tmp_path_factory, files):
    path = tmp_path_factory.mktemp("fewer") / "s"
    example.written(path, spec=fewer)
    return files(path)


SOME = {
    "500s": lambda r: 500 if r.number % 15 == 2 else None,
    "503s": lambda r: 503 if r.number % 15 == 1 else None,
    "slow bodies": lambda r: "slow" if r.number % 5 == 0 else None,
    "truncated bodies": lambda r: "truncate" if r.method == "GET" and r.number % 5 == 0 else None,
    "time-outs": lambda r: "hang" if r.number in (4, 37) else None,
}


@pytest.mark.parametrize("fault", [pytest.param(name, marks=pytest.mark.slow) for name in SOME])
def test_some_faults_are_survived(example, proxy, url, fewer, fewer_files, fault, objects):
    given = {"storage_options": options(proxy.address, retries={"max_attempts": 5})}
    proxy.plan = SOME[fault]
    found = example.written(url, spec=fewer, **given)
    assert np.array_equal(
        found.features("train", 2)[:], example.values("train", 2, slice(None), fewer)["features"].astype("f2")
    )
    assert verify(url, **given).ok
    assert objects(proxy.server, url) == fewer_files


ALL = {
    "500": lambda _: 500,
    "403": lambda _: 403,
    "403 to lists": lambda r: 403 if "list-type" in r.path else None,
    "403 to reads": lambda r: 403 if r.method in ("GET", "HEAD") and "list-type" not in r.path else None,
    "403 to writes": lambda r: 403 if r.method == "PUT" else None,
    "truncated lists": lambda r: "truncate" if "list-type" in r.path else None,
    "truncated reads": lambda r: "truncate" if r.method == "GET" else None,
}
QUICK = ("403 to writes",)


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in ALL]
)
def test_a_server_that_fails_harms_nothing(example, proxy, url, fewer, fewer_files, monkeypatch, fault, objects):
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)  # the client's own patience
    given = {"storage_options": options(proxy.address)}
    with FeatureWriter(url, fewer, **example.columns(fewer.rows), **given) as writer:
        example.fill(writer, most=3)
    before = objects(proxy.server, url)
    proxy.plan = ALL[fault]
    tries = [lambda: example.write(url, spec=fewer, **given)]
    if fault != "403 to writes":
        tries += [lambda: verify(url, **given), lambda: repair(url, **given)]
    for attempt in tries:
        with pytest.raises(FsrcacheError) as error:
            attempt()
        assert KEY not in str(error.value)
        assert SECRET not in str(error.value)
    assert objects(proxy.server, url) == before
    proxy.plan = lambda _: None
    assert example.write(url, spec=fewer, **given)
    assert objects(proxy.server, url) == fewer_files


def test_a_server_that_hangs_is_given_up(proxy, url):
    proxy.plan = lambda _: "hang"
    store = FsspecStore.from_url(url, storage_options=options(proxy.address, read_timeout=60))
    with pytest.raises(OSError, match="no answer in time"):
        ZarrObjects(store, name="slow", patience=0.3).read("zarr.json")


@pytest.mark.slow
def test_a_shard_that_cannot_be_read_is_not_removed(example, proxy, url, objects):
    """Repair takes what the server does not give for what may be sound."""
    given = {"storage_options": options(proxy.address)}
    example.write(url, **given)
    before = objects(proxy.server, url)
    proxy.plan = lambda r: 403 if "/train/x2/features/c/1/0" in r.path else None
    found = repair(url, **given)
    assert [(problem.key, problem.kind) for problem in found.problems] == [("train/x2/features/c/1/0", "unreadable")]
    proxy.plan = lambda _: None
    assert objects(proxy.server, url) == before
    assert verify(url, **given).ok


@pytest.mark.slow
def test_a_removal_that_is_refused_is_said(example, proxy, url):
    given = {"storage_options": options(proxy.address)}
    example.write(url, **given)
    fs = s3fs.S3FileSystem(skip_instance_cache=True, **options(proxy.address))
    fs.pipe_file(f"{url}/train/x1/features/c/0/0", b"damaged")
    proxy.plan = lambda r: 403 if r.method in ("DELETE", "POST") else None
    with pytest.raises(FsrcacheError, match="cannot be repaired: Access Denied"):
        repair(url, **given)


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(example, monkeypatch):
    """fsspec's general walk passes over folders that it cannot list; ours must not."""

    place = f"memory://{next(NUMBERS)}/s"
    example.written(place)

    def refuse(*_, **__):
        raise PermissionError("the folder may not be listed")

    monkeypatch.setattr(MemoryFileSystem, "find", AbstractFileSystem.find)
    assert verify(place).ok
    monkeypatch.setattr(MemoryFileSystem, "ls", refuse)
    with pytest.raises(FsrcacheError, match="may not be listed"):
        verify(place)
    with pytest.raises(FsrcacheError, match="may not be listed"):
        example.write(place)


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_said(example, s3_server):
    with pytest.raises(FsrcacheError, match="bucket does not exist"):
        example.write("s3://no-bucket/s", storage_options=options(s3_server))


@pytest.mark.parametrize("path", ["s?versionId=1", "s*", "a[1]/s"])
def test_wildcards_are_refused(path):
    with pytest.raises(FsrcacheError, match="which no URL of a store may have"):
        FeatureStore(f"s3://bucket/{path}")
