"""The store: what is written is read, resuming finds what is there, damage and other content are refused by name."""

import fcntl
import json
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest
import torch
import zarr

from fsrcache.errors import FsrcacheError
from fsrcache.store.order import row_order
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import StoreSpec, chunk_and_block
from fsrcache.store.verify import verify
from fsrcache.store.writer import FeatureWriter, unwritten


def test_what_is_written_is_read(tmp_path, example):
    store = example.written(tmp_path / "s")
    assert store.spec == example.spec
    for split, count in example.spec.rows.items():
        assert store.labels(split).tolist() == example.columns()["labels"][split].tolist()
        assert store.ids(split).tolist() == example.columns()["ids"][split]
        assert np.array_equal(store.hashes(split), example.columns()["hashes"][split])
        for scale in (1, 2):
            expected = example.values(split, scale, slice(0, count))
            for name in ("features", "embeddings"):
                array = getattr(store, name)(split, scale)
                assert array.dtype == np.float16
                assert array.shape == expected[name].shape
                assert np.array_equal(array, expected[name].astype(np.float16))
            assert np.array_equal(store.probabilities(split, scale)[:], expected["probabilities"])


def test_early_features_are_an_output_like_the_others(tmp_path, example):
    spec = replace(example.spec, widths={**example.spec.widths, "early": 3})
    with example.writer(tmp_path / "s", spec=spec) as writer:
        split, scale, block = writer.missing()[0]
        values = example.values(split, scale, writer.rows(split, block), spec)
        with pytest.raises(FsrcacheError, match="early"):
            writer.write(split, scale, block=block, **{**values, "early": None})
        example.fill(writer)
        assert writer.finish()
    store = FeatureStore(tmp_path / "s")
    expected = example.values("train", 2, slice(None), spec)["early"].astype(np.float16)
    assert np.array_equal(store.early("train", 2)[:], expected)
    assert store.digest != example.written(tmp_path / "without").digest
    without = store.without_early()
    assert without.spec.widths == example.spec.widths
    assert np.array_equal(without.features("train", 2)[:], store.features("train", 2)[:])
    with pytest.raises(FsrcacheError, match="early"):
        without.early("train", 2)
    shard = tmp_path / "s/train/x2/early/c/1/0"
    shard.write_bytes(b"?" + shard.read_bytes()[1:])
    (problem,) = verify(tmp_path / "s").problems
    assert "early" in str(problem)


def test_a_process_that_is_started_anew_reads_what_it_is_sent(tmp_path, example):
    """As the workers of a loader do, which get a dataset pickled."""
    store = example.written(tmp_path / "s")
    array, rows = store.features("train", 2), np.array([5, 0, 5])
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as others:
        got = others.submit(array.__getitem__, rows).result()
        labels = others.submit(store.labels, "train").result()
    assert np.array_equal(got, array[rows])
    assert np.array_equal(labels, store.labels("train"))
    assert len(pickle.dumps(array)) < 100_000  # no rows travel


KEYS = [
    slice(None), slice(3, 17), slice(5, 5), slice(None, None, 3), slice(20, 2, -4), slice(-4, None), 7, -1, np.int64(3),
    [], [3, 3, 1], [-1, 0], np.array([[1, 2], [22, 0]]), np.arange(23) % 3 == 0, (slice(2, 9), slice(1, 4)), (5, 2),
    (slice(None), 0), ([1, 2, 3], [0, 5, 1]), ([4, 1], slice(0, 2)), (Ellipsis, 1), Ellipsis, (), None, True,
    (Ellipsis, None), ([[0, 1]], [0]), ([[0, 1], [2, 3]], slice(0, 2)), (3, None, [0, 1]), ([[0, 1], [2, 3]], 2),
    (slice(None), [1, 0]), np.arange(23 * 6).reshape(23, 6) % 5 == 0, (np.arange(23) % 2 == 0, 3),
]  # fmt: skip


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_rows_are_chosen_as_by_numpy(tmp_path, example, key, check):
    example.written(tmp_path / "s")
    array = FeatureStore(tmp_path / "s", check=check).features("train", 2)
    expected = example.values("train", 2, slice(None))["features"].astype(np.float16)
    assert (array.shape, array.dtype, len(array), array.ndim) == (expected.shape, expected.dtype, 23, 2)
    assert np.array_equal(array[key], expected[key])
    assert array[key].shape == expected[key].shape


@pytest.mark.parametrize("key", [23, -24, [0, 23], np.ones(22, bool), 1.5, "a", np.array([]), (0, 6), (..., ...)])
def test_rows_that_are_not_there_are_refused(tmp_path, example, key):
    array = example.written(tmp_path / "s").features("train", 2)
    with pytest.raises(IndexError):
        array[key]


def test_reading_into_a_buffer(tmp_path, example):
    array = example.written(tmp_path / "s").features("train", 1)
    out = np.full((30, 6), 7, np.float16)
    array.read_into(out[5:18], start=9)
    assert np.array_equal(out[5:18], array[9:22])
    assert (out[:5] == 7).all()
    assert (out[18:] == 7).all()
    for wrong in (np.empty((3, 6), np.float32), np.empty((3, 5), np.float16), np.empty((6, 3), np.float16).T):
        with pytest.raises(ValueError, match="The buffer is"):
            array.read_into(wrong)
    with pytest.raises(ValueError, match="Rows 20 to 25 were asked for; there are 23"):
        array.read_into(out[:5], start=20)
    with pytest.raises(TypeError, match="float"):
        array.read_into(out[:5], start=1.0)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="The buffer is read-only float16"):
        array.read_into(out[:5])


def test_zarr_reads_it_without_us(tmp_path, example):
    store = example.written(tmp_path / "s")
    array = zarr.open_group(tmp_path / "s", mode="r")["train/x2/features"]
    assert np.array_equal(array[:], store.features("train", 2)[:])
    assert array.shards == (8, 6)
    assert array.chunks == (4, 6)


def test_every_shard_is_rows_and_checksums(tmp_path, example):
    example.written(tmp_path / "s")
    for block, rows in ((0, 8), (1, 8)):
        shard = (tmp_path / f"s/train/x2/features/c/{block}/0").read_bytes()
        chunks = rows // 4
        assert len(shard) == rows * 6 * 2 + 4 * chunks + 4 * chunks + 16 + 16 + 16 * chunks + 4
        body = shard[: rows * 6 * 2 + 4 * chunks]
        checksums = body[48:52] + body[100:104]
        assert shard[-76:-68] == checksums
        assert shard[-68:-52] == blake2b(body, digest_size=16).digest()
        key = f"train/x2/features/c/{block}/0".encode()
        assert shard[-52:-36] == blake2b(key + shard[-76:-52], digest_size=16).digest()
        first = np.frombuffer(shard[: 4 * 6 * 2], "<f2").reshape(4, 6)
        assert np.array_equal(
            first, example.values("train", 2, slice(8 * block, 8 * block + 4))["features"].astype("f2")
        )


def test_resuming_writes_only_what_is_missing(tmp_path, example, files):
    example.written(tmp_path / "whole")
    with example.writer(tmp_path / "s") as writer:
        example.fill(writer, most=3)
    with pytest.raises(FsrcacheError, match="is incomplete"):
        FeatureStore(tmp_path / "s")
    before = files(tmp_path / "s")
    (tmp_path / "s/train/x1/features/c/0/half.partial").write_text("left by a kill")
    with example.writer(tmp_path / "s") as writer:
        assert writer.resumed_from == 3
        assert len(writer.missing()) == (3 + 1) * 2 - 3
        with pytest.raises(FsrcacheError, match="lacks 5 blocks"):
            writer.finish()
        example.fill(writer)
        assert writer.finish()
    after = files(tmp_path / "s")
    assert after == files(tmp_path / "whole")
    assert all(after[name] == data for name, data in before.items() if name != "zarr.json")


def test_what_is_unwritten_is_known_without_a_writer(tmp_path, example, files):
    nothing_there = unwritten(tmp_path / "s", example.spec)[1]
    assert not (tmp_path / "s").exists()
    with example.writer(tmp_path / "s") as writer:
        assert nothing_there == writer.missing()
        split, scale, block = nothing_there[0]
        values = example.values(split, scale, writer.rows(split, block))
        writer.write(split, scale, block=block, **values)
        before = files(tmp_path / "s")
        assert unwritten(tmp_path / "s", example.spec)[1] == nothing_there[1:]  # beside a writer
        halves = [unwritten(tmp_path / "s", example.spec, part=(i, 2))[1] for i in (1, 2)]
        assert sorted([*halves[0], *halves[1]]) == sorted(nothing_there[1:])
        assert files(tmp_path / "s") == before
    more = replace(example.spec, scales=(1, 5))
    spec, missing = unwritten(tmp_path / "s", more)
    assert spec.scales == tuple(sorted({*example.spec.scales, 5}))
    assert (split, 5, block) in missing
    with pytest.raises(FsrcacheError, match="of other content: its extractor has other weights"):
        unwritten(tmp_path / "s", replace(example.spec, digests={**example.spec.digests, "weights": "ff"}))


OTHERS = {
    "pictures": "its faces are as many, train 23, val 5 of a test, and others",
    "labels": "its faces are the same under other labels",
    "order": "its faces are in another order",
    "weights": "its extractor has other weights",
    "preprocessing": "its pixels are prepared otherwise",
}


@pytest.mark.parametrize("digest", OTHERS)
def test_other_content_is_refused_in_words(tmp_path, digest, example, files):
    example.written(tmp_path / "s")
    before = files(tmp_path / "s")
    other = replace(example.spec, digests={**example.spec.digests, digest: "ff"})
    with pytest.raises(FsrcacheError) as error:
        example.writer(tmp_path / "s", spec=other)
    assert error.value.what == f"The store {tmp_path}/s is of other content: {OTHERS[digest]}."
    assert files(tmp_path / "s") == before


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("name", ["labels", "hashes"])
def test_other_columns_are_refused_and_other_names_kept(tmp_path, example, files, name, whole):
    with example.writer(tmp_path / "s") as writer:
        example.fill(writer, most=None if whole else 2)
        if whole:
            writer.finish()
    before, given = files(tmp_path / "s"), example.columns()
    given[name]["val"] = 1 - given[name]["val"]
    with pytest.raises(FsrcacheError, match=f"val/{name} are others there"):
        FeatureWriter(tmp_path / "s", example.spec, **given)
    assert files(tmp_path / "s") == before
    given = example.columns() | {
        "ids": {split: [f"moved/{i}" for i in range(n)] for split, n in example.spec.rows.items()}
    }
    with FeatureWriter(tmp_path / "s", example.spec, **given) as writer:
        example.fill(writer)
        writer.finish()
    assert FeatureStore(tmp_path / "s").ids("val").tolist() == example.columns()["ids"]["val"]
    assert verify(tmp_path / "s").ok


def test_a_damaged_column_stops_the_writer(tmp_path, example):
    with example.writer(tmp_path / "s") as writer:
        example.fill(writer)
    (tmp_path / "s/train/labels/c/0").write_bytes(b"")
    with pytest.raises(FsrcacheError, match=r"train/labels/c/0 of the store .* is damaged: it is short"):
        example.writer(tmp_path / "s")


@pytest.mark.parametrize(("name", "value"), [("features", 1e5), ("embeddings", np.nan), ("probabilities", np.inf)])
def test_what_half_precision_cannot_keep_is_refused_with_its_picture(tmp_path, name, value, example):
    given = example.values("val", 2, slice(0, 5))
    given[name][3, 1] = value
    said = f"{name} of the picture 'val/3 ü.png' holds {value}".replace("+", r"\+")
    with example.writer(tmp_path / "s") as writer:
        with pytest.raises(FsrcacheError, match=said):
            writer.write("val", 2, block=0, **given)
        assert ("val", 2, 0) in writer.missing()
    assert not list((tmp_path / "s/val/x2").rglob("c/*"))


def test_a_flipped_bit_is_noticed(tmp_path, example):
    store = example.written(tmp_path / "s")
    shard = tmp_path / "s/train/x1/features/c/0/0"
    data = bytearray(shard.read_bytes())
    data[5] ^= 16
    shard.write_bytes(data)
    with pytest.raises(FsrcacheError, match=r"train/x1/features of the store .* cannot be read"):
        store.features("train", 1)[:]


def test_a_lost_shard_is_noticed(tmp_path, example):
    store = example.written(tmp_path / "s")
    (tmp_path / "s/train/x1/features/c/1/0").unlink()
    with pytest.raises(FsrcacheError, match="train/x1/features/c/1/0 is not there"):
        store.features("train", 1)[:]


def test_what_is_no_store_is_refused(tmp_path, example):
    with pytest.raises(FsrcacheError) as error:
        FeatureStore(tmp_path / "none")
    assert error.value.remedy == f"Write it first: `fsrcache.extract(workspace, store='{tmp_path}/none', data=PATH)`."
    zarr.create_group(tmp_path / "other")
    with pytest.raises(FsrcacheError, match="not a feature store"):
        FeatureStore(tmp_path / "other")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"")
    with pytest.raises(FsrcacheError, match=r"'a\.png' for one"):
        example.writer(tmp_path / "photos")


def test_what_is_not_there_is_said(tmp_path, example):
    store = example.written(tmp_path / "s")
    with pytest.raises(FsrcacheError, match=r"has no scale 3; it has 1, 2\."):
        store.features("train", 3)
    with pytest.raises(FsrcacheError, match=r"has no split 'test'; it has train, val\."):
        store.labels("test")


@pytest.mark.parametrize(
    ("field", "value"), [("version", 1), ("widths", {"features": 0}), ("scales", [2, 1]), ("block", 9), ("new", 1)]
)
def test_an_edited_record_is_refused(tmp_path, field, value, example):
    example.written(tmp_path / "s")
    path = tmp_path / "s/zarr.json"
    root = json.loads(path.read_text())
    root["attributes"]["fsrcache"][field] = value
    path.write_text(json.dumps(root))
    with pytest.raises(FsrcacheError, match=field):
        FeatureStore(tmp_path / "s")


def test_the_order_is_of_content_alone():
    random = np.random.default_rng(0)
    hashes = random.integers(0, 3, (200, 16)).astype(np.uint8)
    hashes[100:150] = hashes[:50]  # twins
    labels = random.integers(0, 2, 200).astype(np.uint8)
    ids = [f"{i:03}" for i in range(200)]
    order = row_order(hashes, labels, ids=ids)
    assert sorted(order) == list(range(200))
    moved = random.permutation(200)
    again = row_order(hashes[moved], labels[moved], ids=[ids[i] for i in moved])
    assert np.array_equal(hashes[order], hashes[moved][again])
    assert np.array_equal(labels[order], labels[moved][again])
    assert order.tolist() == moved[again].tolist()
    assert order.tolist() != sorted(order)


@pytest.mark.parametrize("length", [1, 528, 2080, 8256])
def test_chunks_are_of_one_to_two_megabytes(length):
    chunk, block = chunk_and_block(2 * length, {"train": 10**7})
    assert 1 << 20 <= 2 * length * chunk <= 2 << 20
    assert block % chunk == 0
    assert chunk_and_block(2 * length, {"train": 3}) == (3, 3)


@pytest.mark.parametrize(("rows", "blocks"), [(7_000, 10), (28_709, 15), (10**6, 489), (10**7, 611), (10**8, 6104)])
def test_blocks_are_neither_few_nor_many(rows, blocks):
    chunk, block = chunk_and_block(2 * 2080, {"train": rows})
    assert chunk == 256
    assert -(-rows // block) == blocks


@pytest.mark.parametrize("number", range(24))
def test_any_layout_is_read_as_zarr_reads_it(tmp_path, example, number):
    """Chunks of one row to all, blocks of one chunk to many, ragged last ones: ranges, permuted and repeated rows."""
    random = np.random.default_rng(number)
    chunk = int(random.integers(1, 9))
    spec = replace(
        example.spec, rows={"train": int(random.integers(1, 60)), "test": int(random.integers(1, 9))}, chunk=chunk,
        block=chunk * int(random.integers(1, 5)), dtype=str(random.choice(["float16", "float32"])), scales=(1, 3),
        widths={"features": int(random.integers(1, 40)), "probabilities": 2},
    )  # fmt: skip
    example.written(tmp_path / "s", spec=spec)
    group = zarr.open_group(tmp_path / "s", mode="r")
    for check in (True, False):
        store = FeatureStore(tmp_path / "s", check=check)
        for split, count in spec.rows.items():
            for name in spec.widths:
                array, expected = getattr(store, name)(split, 3), group[f"{split}/x3/{name}"][:]
                assert array.dtype == expected.dtype
                assert np.array_equal(array[:], expected)
                chosen = random.integers(-count, count, 2 * count)
                assert np.array_equal(array[chosen], expected[chosen])
                first, last = sorted(random.integers(0, count + 1, 2))
                out = np.full((last - first, spec.widths[name]), np.nan, expected.dtype)
                array.read_into(out, start=int(first))
                assert np.array_equal(out, expected[first:last])


def test_numbers_of_numpy_are_numbers(tmp_path):
    spec = StoreSpec.for_vectors(np.int64(3), rows={"train": np.int32(2)}, classes=("a", "b"), content={})
    columns = {"labels": {"train": np.array([0, 1])}, "ids": {"train": ["a", "b"]}}
    with FeatureWriter(tmp_path / "s", spec, **columns) as writer:
        writer.write("train", np.int64(1), block=np.int64(0), features=[[1, 2, 3], [4, 5, 6]])
        assert writer.finish()
    store = FeatureStore(tmp_path / "s")
    assert store.features("train", np.int64(1))[np.int64(1)].tolist() == [4, 5, 6]
    assert verify(tmp_path / "s").ok


@pytest.mark.parametrize("count", [256, 257, 65_536])
def test_so_many_classes(tmp_path, count):
    labels = np.array([0, count - 1, 255])
    spec = StoreSpec.for_vectors(2, rows={"train": 3}, classes=tuple(map(str, range(count))), content={})
    with FeatureWriter(tmp_path / "s", spec, labels={"train": labels}, ids={"train": ["a", "b", "c"]}) as writer:
        writer.write("train", 1, block=0, features=np.zeros((3, 2)))
        assert writer.finish()
    stored = FeatureStore(tmp_path / "s").labels("train")
    assert stored.dtype == (np.uint8 if count == 256 else np.uint16)
    assert np.array_equal(stored, labels)
    assert np.array_equal(zarr.open_group(tmp_path / "s", mode="r")["train/labels"][:], labels)
    assert verify(tmp_path / "s").ok


@pytest.mark.parametrize(
    "wrong", [{"width": 1.5}, {"width": 0}, {"rows": {"train": 2.5}}, {"rows": {"train": 0}}, {"rows": {}},
              {"rows": {"all": 3}}, {"classes": ()}, {"scales": (2,)}, {"dtype": "int8"}, {"content": {"x": b""}},
              {"content": {"weights": None}}, {"content": 5}, {"content": {3: b"", "x": b""}},
              {"classes": tuple(map(str, range(65_537)))}],
    ids=lambda wrong: str(wrong)[:40],
)  # fmt: skip
def test_a_wrong_spec_is_refused_and_not_called_damaged(wrong):
    given = {"width": 3, "rows": {"train": 2}, "classes": ("a", "b"), "content": {}} | wrong
    with pytest.raises(FsrcacheError) as error:
        StoreSpec.for_vectors(given.pop("width"), **given)
    assert "damaged" not in f"{error.value.what} {error.value.remedy}"


def test_wrong_columns_and_values_are_refused(tmp_path, example):
    columns = example.columns()
    labels = {**columns["labels"], "val": torch.zeros(5, dtype=torch.int64)}
    with pytest.raises(
        FsrcacheError, match=r"labels of val are torch.int64 \[5\] in a Tensor, not whole numbers \[5\]"
    ):
        FeatureWriter(tmp_path / "s", example.spec, **{**columns, "labels": labels})
    columns["labels"]["val"][2] = 2
    with pytest.raises(FsrcacheError, match="labels of val go from 0 to 2, but there are 2 classes"):
        FeatureWriter(tmp_path / "s", example.spec, **columns)
    columns["labels"]["val"] = np.array([0, 1, 1, 0, -1])
    with pytest.raises(FsrcacheError, match="labels of val go from -1 to 1"):
        FeatureWriter(tmp_path / "s", example.spec, **columns)
    with pytest.raises(FsrcacheError, match="labels of train are texts"):
        FeatureWriter(tmp_path / "s", example.spec, **example.columns() | {"labels": {"train": [0] * 23, "val": [0]}})
    with example.writer(tmp_path / "s") as writer:
        values = example.values("val", 1, slice(None))
        for odd in ({"features": values["features"] * 1j}, {"features": values["features"].astype(str)}):
            with pytest.raises(FsrcacheError, match="not real numbers"):
                writer.write("val", 1, block=0, **values | odd)
        for place in (("val", 1.5, 0), ("val", 1, 0.5), ("val", 1, -1), ("dev", 1, 0)):
            with pytest.raises(FsrcacheError, match="has no block"):
                writer.write(*place[:2], block=place[2], **values)
    with pytest.raises(FsrcacheError, match="is closed"):
        writer.write("val", 1, block=0, **values)


def test_a_pipe_in_a_files_place_is_not_waited_for(tmp_path, example):
    store = example.written(tmp_path / "s")
    shard = tmp_path / "s/train/x2/features/c/1/0"
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(FsrcacheError, match="cannot be read"):
        store.features("train", 2)[:]
    assert [problem.key for problem in verify(tmp_path / "s").problems] == ["train/x2/features/c/1/0"]
    (tmp_path / "s/zarr.json").unlink()
    os.mkfifo(tmp_path / "s/zarr.json")
    with pytest.raises(FsrcacheError, match="no regular file"):
        FeatureStore(tmp_path / "s")


def test_a_folder_that_somebody_locks_is_given_up(tmp_path, example, monkeypatch):
    example.written(tmp_path / "s")
    monkeypatch.setattr("fsrcache.store.lock._PATIENCE", 0.2)
    descriptor = os.open(tmp_path / "s", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(FsrcacheError, match="locked by another process"):
            example.write(tmp_path / "s")
    finally:
        os.close(descriptor)
    assert example.write(tmp_path / "s")
