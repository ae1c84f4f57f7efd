"""A split as a DataLoader's data set: the right pairs in the right order, from workers of every kind and storage."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Subset
from zarr.storage import FsspecStore

from fsrcache.errors import FsrcacheError
from fsrcache.store.dataset import Pair
from fsrcache.store.reader import FeatureStore

FORKED = pytest.mark.filterwarnings("default:.*fork:DeprecationWarning")  # Python 3.12's
MORE_THAN_CORES = pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker")  # where there is one core
METHODS = [pytest.param("fork", marks=FORKED), pytest.param("spawn", marks=pytest.mark.slow)]


@pytest.fixture
def dataset(store):
    return FeatureStore(store).dataset("train", 2)


@pytest.fixture(scope="module")
def expected(whole):
    """The whole split: fp32 [23, 6] at scale 2, [23, 6] at full resolution, int64 [23]."""
    store = FeatureStore(whole)
    lr, hr = (store.features("train", scale)[:].astype(np.float32) for scale in (2, 1))
    return Pair(lr, hr, store.labels("train").astype(np.int64))


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert (np.shape(ours), np.asarray(ours).dtype) == (np.shape(theirs), np.asarray(theirs).dtype)
        assert np.array_equal(ours, theirs)


def test_an_item_is_a_pair_and_a_label(dataset, expected):
    assert len(dataset) == 23
    assert not np.array_equal(expected.lr, expected.hr)
    for row in (0, 22, -1, np.int64(7)):
        item = dataset[row]
        assert_same(item, Pair(*(part[row] for part in expected)))
        assert type(item.label) is int
    assert repr(dataset) == "PairDataset(split='train', scale=2, rows=23)"


KEYS = [
    slice(3, 17), slice(20, 2, -4), slice(-4, None), slice(5, 5), [], [3, 3, -1], np.arange(23) % 3 == 0,
    [False, True] * 11 + [True], np.array([[1, 2], [22, 0]]), Ellipsis, True,
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_several_rows_are_chosen_as_by_numpy(dataset, expected, key):
    assert_same(dataset[key], Pair(*(part[key] for part in expected)))


@pytest.mark.parametrize("key", [23, -24, [0, 23], np.ones(22, bool), 1.5, "a", (0, 2), (slice(None), 0)], ids=str)
def test_rows_that_are_not_there_are_refused(dataset, key):
    with pytest.raises(IndexError):
        dataset[key]


@pytest.mark.parametrize(("split", "scale"), [("test", 2), ("train", 3)])
def test_what_the_store_has_not_is_refused_before_any_worker(store, split, scale):
    with pytest.raises(FsrcacheError, match=r"has no (split 'test'|scale 3)"):
        FeatureStore(store).dataset(split, scale)


def batches(dataset, **options):
    return Pair(*map(torch.cat, zip(*DataLoader(dataset, batch_size=5, **options), strict=True)))


@MORE_THAN_CORES
@pytest.mark.parametrize("method", METHODS)
def test_a_loader_with_workers_yields_every_pair(store, expected, method, monkeypatch):
    monkeypatch.chdir(store.parent)
    dataset = FeatureStore(store.name).dataset("train", 2)
    monkeypatch.chdir("/")
    found = batches(dataset, num_workers=2, multiprocessing_context=method)
    assert found.label.dtype == torch.int64
    assert_same((part.numpy() for part in found), expected)


def test_a_batch_reads_a_chunk_once(dataset, expected, monkeypatch):
    reads = []
    preadv = os.preadv
    dataset[0]
    monkeypatch.setattr(os, "preadv", lambda *words: reads.append(words) or preadv(*words))
    rows = [8, 3, 10, 0, 3]  # of two chunks
    found = dataset.__getitems__(rows)
    assert len(reads) == 4
    assert_same(Pair(*map(np.stack, zip(*found, strict=True))), Pair(*(part[rows] for part in expected)))


def test_samplers_and_subsets_choose_rows(dataset, expected):
    rows = [4, 21, 0, 9, 9, 2]
    assert_same((part.numpy() for part in batches(Subset(dataset, rows))), Pair(*(part[rows] for part in expected)))
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(23, generator=generator.clone_state()).tolist()
    sampler = BatchSampler(RandomSampler(dataset, generator=generator), batch_size=23, drop_last=False)
    (found,) = DataLoader(dataset, sampler=sampler, batch_size=None)  # one read a batch, nothing collated
    assert_same((part.numpy() for part in found), Pair(*(part[order] for part in expected)))


def test_it_pickles_closed_and_without_rows(dataset, expected):
    dataset[3]
    data = pickle.dumps(dataset)
    assert len(data) < 1000
    assert_same(pickle.loads(data)[:], expected)


@MORE_THAN_CORES
@pytest.mark.parametrize(
    ("location", "method"),
    [
        pytest.param("url", "fork", marks=FORKED),
        pytest.param("url", "spawn", marks=pytest.mark.slow),
        pytest.param("store", "spawn", marks=pytest.mark.slow),
    ],
)
def test_workers_read_object_storage(example, s3_server, expected, location, method):
    url, options = f"s3://bucket/{location}-{method}/s.zarr", {"key": "k", "secret": "s", "endpoint_url": s3_server}
    example.written(url, storage_options=options)
    if location == "url":
        store = FeatureStore(url, storage_options=options)
    else:
        store = FeatureStore(FsspecStore.from_url(url, storage_options=options))
    dataset = store.dataset("train", 2)
    dataset[0]  # opens a connection, which no fork survives
    assert_same(
        (part.numpy() for part in batches(dataset, num_workers=2, multiprocessing_context=method, timeout=60)), expected
    )


def test_the_store_needs_neither_torch_nor_pandas():
    program = "import sys, fsrcache.store.reader; print([name for name in ('torch', 'pandas') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"
