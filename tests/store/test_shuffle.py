"""Shuffled epochs: every row once, as indexing gives it, in an order that only seed and epoch decide."""

import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.store.reader import FeatureStore
from fsrcache.store.shuffle import ShuffledRows
from fsrcache.store.spec import StoreSpec
from fsrcache.store.writer import FeatureWriter

N, CHUNK, WIDTH = 301, 8, 5  # the last chunk has 5 rows, the last shard 1 chunk and those
ROW_BYTES = 2 * WIDTH * 2 + 4 * 2  # features at two scales, probabilities
ONE = 2 * CHUNK * ROW_BYTES  # the least memory


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "s"
    spec = StoreSpec(
        digests=dict.fromkeys(("pictures", "labels", "order", "weights", "preprocessing"), "aa"), classes=("a", "b"),
        scales=(1, 4), widths={"features": WIDTH, "probabilities": 2}, recipe={}, data="a test", rows={"train": N},
        chunk=CHUNK, block=4 * CHUNK,
    )  # fmt: skip
    columns = {"labels": np.zeros(N, np.uint8), "ids": [str(i) for i in range(N)], "hashes": np.zeros((N, 16), "u1")}
    with FeatureWriter(path, spec, **{name: {"train": values} for name, values in columns.items()}) as writer:
        for split, scale, block in writer.missing():
            rows = np.arange(N)[writer.rows(split, block)]
            features = (rows[:, None] + 1000.0 * scale + np.arange(WIDTH) / 8).astype(np.float32)
            writer.write(split, scale, block=block, features=features, probabilities=features[:, :2])
        writer.finish()
    return FeatureStore(path)


def arrays(store):
    return [store.features("train", 4), store.features("train", 1), store.probabilities("train", 4)]


def shuffled(store, *, chunks=5, batch=16, seed=3, rows=None):
    return ShuffledRows(arrays(store), batch=batch, seed=seed, memory=chunks * ONE, rows=rows)


def order(rows, epoch=0, skip=0):
    batches = [batch[0] for batch in rows.epoch(epoch, skip=skip)]
    return np.concatenate(batches) if batches else np.empty(0, np.int64)


@pytest.mark.parametrize("chunks", [1, 5, 7, 1000])
@pytest.mark.parametrize("batch", [1, 16, 1000])
def test_every_row_once_as_indexing_gives_it(store, chunks, batch):
    rows = shuffled(store, chunks=chunks, batch=batch)
    batches = list(rows.epoch(0))
    assert len(batches) == len(rows) == -(-N // batch)
    assert {len(numbers) for numbers, *_ in batches[:-1]} <= {batch}
    numbers, *values = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert sorted(numbers) == list(range(N)) != numbers.tolist()
    for array, got in zip(arrays(store), values, strict=True):
        assert got.dtype == array.dtype
        assert np.array_equal(got, array[:][numbers])


@pytest.mark.parametrize("chunks", [5, 1000])
def test_the_order_is_of_seed_and_epoch(store, chunks):
    rows = shuffled(store, chunks=chunks)
    first = order(rows)
    assert order(rows, 1).tolist() != first.tolist()
    assert order(rows).tolist() == first.tolist()
    assert order(shuffled(store, chunks=chunks, batch=7)).tolist() == first.tolist()
    assert order(shuffled(store, chunks=chunks, seed=4)).tolist() != first.tolist()


@pytest.mark.parametrize("rows", [np.arange(N) % 10 != 3, np.arange(N) // CHUNK == 20, np.arange(N) == N - 1])
def test_a_subset(store, rows):
    chosen = shuffled(store, rows=rows)
    assert chosen.count == rows.sum()
    numbers, features, *_ = (np.concatenate(parts) for parts in zip(*chosen.epoch(2), strict=True))
    assert sorted(numbers) == np.flatnonzero(rows).tolist()
    assert np.array_equal(features, store.features("train", 4)[:][numbers])


@pytest.mark.parametrize("rows", [None, np.arange(N) % 3 > 0])
def test_an_epoch_goes_on_where_it_was_left(store, rows):
    chosen = shuffled(store, rows=rows)
    whole = order(chosen, 5)
    for skip in range(chosen.count + 1):
        assert order(chosen, 5, skip).tolist() == whole[skip:].tolist()
    with pytest.raises(FsrcacheError, match="cannot be skipped"):
        order(chosen, 5, chosen.count + 1)


class Watched:
    """An array that keeps which rows were read, by how many requests."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.chunk, self.read = array, array.shape, array.dtype, array.chunk, []

    def __len__(self):
        return len(self.array)

    def read_into(self, out, *, start):
        self.read.append((start, start + len(out)))
        self.array.read_into(out, start=start)


def test_what_is_skipped_is_not_read_and_chunks_are_read_whole(store):
    array = Watched(store.features("train", 1))
    rows = ShuffledRows([array], batch=10, seed=0, memory=10 * 2 * CHUNK * WIDTH * 2)
    assert rows.resident == 10
    whole = order(rows)
    assert sorted(row for begin, end in array.read for row in range(begin, end)) == list(range(N))
    assert all(begin % CHUNK == 0 and (end % CHUNK == 0 or end == N) for begin, end in array.read)
    assert len(array.read) < -(-N // CHUNK)  # neighbours by one request
    array.read.clear()
    assert order(rows, skip=250).tolist() == whole[250:].tolist()
    assert sum(end - begin for begin, end in array.read) < 100


def test_rows_of_a_pool_are_shuffled_together(store):
    rows = shuffled(store, chunks=19)  # two pools
    assert rows.resident == 19
    first = order(rows)[: 19 * CHUNK - 3]
    assert len(np.unique(first // CHUNK)) >= 18
    assert np.abs(np.diff(first)).mean() > N / 6  # neighbours of a full shuffle are N / 3 apart


def test_memory_is_what_was_allowed():
    length, width, budget = 40_000, 256, 8 << 20  # 20 MB in all

    class Made:
        shape, dtype, chunk = (length, width), np.dtype("f2"), 512

        def __len__(self):
            return length

        def read_into(self, out, *, start):
            out[:] = np.float16(start // 512)

    rows = ShuffledRows([Made()], batch=128, seed=0, memory=budget)
    tracemalloc.start()
    for epoch in range(2):
        assert sum(len(numbers) for numbers, _ in rows.epoch(epoch)) == length
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert budget / 2 < peak < 1.1 * budget + (1 << 20)  # batches and row numbers beside the buffers


def test_an_epoch_given_up_leaves_no_thread(store):
    before = threading.active_count()
    rows = shuffled(store)
    for _ in range(3):
        epoch = rows.epoch(0)
        next(epoch)
        epoch.close()
    assert threading.active_count() == before
    assert sorted(order(rows)) == list(range(N))


def test_two_epochs_at_once_do_not_share_buffers(store):
    rows = shuffled(store)
    order(rows)  # leaves its buffers to the next
    for (a, first, *_), (b, second, *_) in zip(rows.epoch(0), rows.epoch(1), strict=True):
        assert np.array_equal(first, store.features("train", 4)[a])
        assert np.array_equal(second, store.features("train", 4)[b])


def test_slow_storage_changes_no_order(store):
    class Slow(Watched):
        def read_into(self, out, *, start):
            time.sleep(0.001 * (start % 7))
            super().read_into(out, start=start)

    given = [Slow(array) for array in arrays(store)]
    slow = ShuffledRows(given, batch=16, seed=3, memory=5 * ONE)
    for (a, *left), (b, *right) in zip(slow.epoch(0), shuffled(store).epoch(0), strict=True):
        assert np.array_equal(a, b)
        assert all(map(np.array_equal, left, right))


def test_damage_is_told(store):
    class Broken(Watched):
        def read_into(self, out, *, start):
            if start >= 200:
                raise FsrcacheError("A checksum is wrong.")
            super().read_into(out, start=start)

    before = threading.enumerate()
    with pytest.raises(FsrcacheError, match="checksum"):
        order(ShuffledRows([Broken(store.features("train"))], batch=16, seed=0, memory=ONE))
    for thread in set(threading.enumerate()) - set(before):
        thread.join(10)
        assert not thread.is_alive()


def test_other_processes_draw_the_same_order(store):
    program = (
        "import sys, numpy as np\nfrom fsrcache.store.reader import FeatureStore\n"
        "from fsrcache.store.shuffle import ShuffledRows\nstore = FeatureStore(sys.argv[1])\n"
        "rows = ShuffledRows([store.features('train', 4)], batch=16, seed=3, memory=10_000)\n"
        "print(np.concatenate([b[0] for b in rows.epoch(1)]).tolist())"
    )
    command = [sys.executable, "-c", program, store.name]
    said = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    here = order(ShuffledRows([store.features("train", 4)], batch=16, seed=3, memory=10_000), 1)
    assert said == {f"{here.tolist()}\n"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory": ONE - 1}, f"Allow at least {ONE}"),
        ({"rows": np.zeros(N, np.bool_)}, "not some of bool"),
        ({"rows": np.arange(N)}, "are int64"),
        ({"batch": 0}, "The batch is 0"),
    ],
)
def test_what_cannot_be_is_refused(store, change, said):
    with pytest.raises(FsrcacheError) as error:
        ShuffledRows(arrays(store), **({"batch": 1, "seed": 0, "memory": ONE} | change))
    assert said in f"{error.value} {error.value.remedy}"
