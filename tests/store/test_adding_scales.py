"""Scales are added to a complete store: its readers read on, whatever the moment, and whoever adds is killed."""

import shutil
import signal
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from fsrcache.errors import FsrcacheError
from fsrcache.store import lock, writer
from fsrcache.store.local import LocalObjects
from fsrcache.store.reader import FeatureStore
from fsrcache.store.remote import ZarrObjects
from fsrcache.store.verify import repair, verify
from fsrcache.store.writer import FeatureWriter
from fsrcache.verbs.info import info
from studies.program import Running, run


@pytest.fixture(scope="module")
def more(example):
    """The spec of a store that has more scales than the example's, 1 and 2."""
    return replace(example.spec, scales=(1, 4))


@pytest.fixture(scope="module")
def at_once(tmp_path_factory, example, more, files):
    """The files of a store whose scales were written at once."""
    folder = tmp_path_factory.mktemp("at once") / "s"
    example.written(folder, spec=more.with_scales((2,)))
    return files(folder)


@pytest.fixture(params=["folder", "object storage"])
def location(request, tmp_path, example):
    """Where a complete store of scales 1 and 2 is."""
    place = tmp_path / "s" if request.param == "folder" else MemoryStore()
    example.written(place)
    return place


def assert_reads(example, opened, scales=(1, 2)):
    assert opened.scales == scales
    for split in opened.splits:
        for scale in scales:
            expected = example.values(split, scale, slice(None))["probabilities"]
            assert np.array_equal(opened.probabilities(split, scale)[:], expected)


def test_readers_read_on_and_then_have_the_new_scale(location, example, more):
    before = FeatureStore(location)
    with example.writer(location, spec=more) as writer:
        assert writer.spec.scales == (1, 2, 4)
        assert {scale for _, scale, _ in writer.missing()} == {4}
        example.fill(writer, most=2)
        assert_reads(example, before)
        assert_reads(example, FeatureStore(location))
        assert info(store=location).complete
        assert verify(location).ok
        with pytest.raises(FsrcacheError, match="has no scale 4"):
            FeatureStore(location).features("train", 4)
        with pytest.raises(FsrcacheError, match="lacks 2 blocks"):
            writer.finish()
        example.fill(writer)
        assert_reads(example, FeatureStore(location))
        assert writer.finish()
    assert_reads(example, before)
    assert_reads(example, FeatureStore(location), scales=(1, 2, 4))
    assert verify(location).ok


def test_no_reader_of_zarr_sees_an_array_that_has_holes(location, example, more):
    with example.writer(location, spec=more) as writer:
        example.fill(writer, most=2)
        with pytest.raises(FileNotFoundError):
            zarr.open_array(location, path="train/x4/features", mode="r")
        example.fill(writer)
        writer.finish()
    assert zarr.open_array(location, path="train/x4/features", mode="r").shape == (23, 6)


@pytest.mark.parametrize("kind", [LocalObjects, ZarrObjects])
def test_a_kill_at_any_write_leaves_the_store_complete_and_goes_on(
    tmp_path, example, more, files, at_once, monkeypatch, kind
):
    """Kills before every write in turn, until one kill comes too late."""
    write, writes = kind.write, []

    def killed(objects, key, data):
        if len(writes) == kills:
            raise KeyboardInterrupt
        writes.append(key)
        write(objects, key, data)

    for kills in range(100):  # noqa: B007
        shutil.rmtree(tmp_path / "s", ignore_errors=True)
        example.written(tmp_path / "s")
        place = tmp_path / "s" if kind is LocalObjects else zarr.storage.LocalStore(tmp_path / "s")
        with monkeypatch.context() as patch:
            patch.setattr(kind, "write", killed)
            writes.clear()
            try:
                example.written(place, spec=more)
                break
            except KeyboardInterrupt:
                pass
        assert_reads(example, FeatureStore(place))
        assert verify(place).ok
        example.written(place, spec=more)
        assert files(tmp_path / "s") == at_once
    assert writes[-1] == "zarr.json"
    assert len(writes) == kills == 4 * 3 + 2 * 4 + 1  # shards, metadata, the root


def test_two_parts_add_a_scale(tmp_path, example, more, files, at_once):
    example.written(tmp_path / "s")
    with (
        example.writer(tmp_path / "s", spec=more, part=(1, 2)) as one,
        example.writer(tmp_path / "s", spec=more, part=(2, 2)) as two,
    ):
        example.fill(one)
        assert not one.finish()
        assert_reads(example, FeatureStore(tmp_path / "s"))
        example.fill(two)
        assert two.finish()
        assert one.finish()
    assert files(tmp_path / "s") == at_once


@contextmanager
def two_writers(example, more):
    """Give a place with a store, and two writers of other scales that have all but finished."""
    place = MemoryStore()
    example.written(place)
    with (
        example.writer(place, spec=more) as one,
        example.writer(place, spec=replace(more, scales=(1, 5))) as two,
    ):
        example.fill(one)
        example.fill(two)
        yield place, one, two


def test_scales_that_two_writers_add_at_one_time_are_both_there(example, more):
    with two_writers(example, more) as (place, one, two):
        assert one.finish()
        assert two.finish()
    assert FeatureStore(place).scales == (1, 2, 4, 5)
    assert verify(place).ok


def test_scales_that_another_writer_completes_meanwhile_stay(example, more):
    with two_writers(example, more) as (place, one, two):
        ends = iter([two.finish])
        assert one.finish(lambda _: next(ends, bool)())
    assert not [*ends]
    assert FeatureStore(place).scales == (1, 2, 4, 5)
    assert verify(place).ok


@pytest.mark.parametrize("complete", [True, False])
def test_a_store_that_another_writer_completes_while_one_begins_stays(example, more, monkeypatch, complete):
    """The other one completes it between the look at its root and the list of its files."""
    place = MemoryStore()
    if complete:
        example.written(place)
    with example.writer(place, spec=more) as other:
        example.fill(other)
        ends = iter([other.finish])

        class Late(writer.Inventory):
            def __init__(self, objects):
                next(ends, bool)()
                super().__init__(objects)

        monkeypatch.setattr(writer, "Inventory", Late)
        with example.writer(place, spec=replace(more, scales=(1, 5)) if complete else more) as one:
            assert not [*ends]
            assert FeatureStore(place).scales == (1, 2, 4)[:: 1 if complete else 2]
            example.fill(one)
            assert one.finish()
    assert FeatureStore(place).scales == ((1, 2, 4, 5) if complete else (1, 4))
    assert verify(place).ok


def test_nobody_completes_a_folder_while_a_writer_begins(tmp_path, example, more, monkeypatch):
    example.written(tmp_path / "s")

    def update(_, files):
        with pytest.raises(FsrcacheError, match="has been locked by another process"), lock.alone(tmp_path / "s"):
            pass
        updates.append(files)

    updates = []
    monkeypatch.setattr(lock, "_PATIENCE", 0)
    monkeypatch.setattr(writer.Inventory, "update", update)
    with example.writer(tmp_path / "s", spec=more):
        assert updates


def test_a_damaged_block_of_the_new_scale_is_named_and_taken_out(tmp_path, example, more, files, at_once):
    example.written(tmp_path / "s")
    with example.writer(tmp_path / "s", spec=more) as writer:
        example.fill(writer, most=2)
    shard = tmp_path / "s/train/x4/features/c/1/0"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    verdict = verify(tmp_path / "s")
    assert [(problem.key, problem.kind) for problem in verdict.problems] == [("train/x4/features/c/1/0", "corrupt")]
    assert verdict.complete
    with pytest.raises(FsrcacheError, match=r"train/x4/features/c/1/0 .* is damaged"):
        example.write(tmp_path / "s", spec=more)
    assert_reads(example, FeatureStore(tmp_path / "s"))
    repair(tmp_path / "s")
    assert_reads(example, FeatureStore(tmp_path / "s"))
    example.written(tmp_path / "s", spec=more)
    assert files(tmp_path / "s") == at_once


@pytest.mark.parametrize("key", ["train/x2/features/c/1/0", "val/ids/c/0"])
@pytest.mark.parametrize("part", [(1, 1), (2, 2)])
def test_a_file_of_another_store_is_not_taken_over(tmp_path, example, more, key, part, files, at_once):
    example.written(tmp_path / "s")
    columns = example.columns()
    columns["ids"] = {split: [f"{name} of another" for name in names] for split, names in columns["ids"].items()}
    with FeatureWriter(tmp_path / "other", example.spec, **columns) as other:
        for split, scale, block in other.missing():
            values = example.values(split, scale, other.rows(split, block))
            other.write(split, scale, block=block, **{name: value + 1 for name, value in values.items()})
        assert other.finish()
    shutil.copy(tmp_path / "other" / key, tmp_path / "s" / key)
    if part == (2, 2):
        assert not example.write(tmp_path / "s", spec=more, part=(1, 2))
    with pytest.raises(FsrcacheError, match=rf"{key} .* is damaged: it is not what was written there"):
        example.write(tmp_path / "s", spec=more, part=part)
    assert [(problem.key, problem.kind) for problem in repair(tmp_path / "s").problems] == [(key, "wrong_digest")]
    example.written(tmp_path / "s", spec=more)
    assert files(tmp_path / "s") == at_once


def test_a_store_that_lacks_a_file_is_closed_to_readers(tmp_path, example, more):
    example.written(tmp_path / "s")
    (tmp_path / "s/val/x2/features/c/0/0").unlink()
    with example.writer(tmp_path / "s", spec=more), pytest.raises(FsrcacheError, match="is incomplete"):
        FeatureStore(tmp_path / "s")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows stops no process")
def test_commands_work_while_another_process_adds_scales_and_after_it_is_killed(trained, tmp_path, files):
    shutil.copytree(trained, tmp_path / "here")
    here, store = {"cwd": tmp_path / "here"}, tmp_path / "here/fsr/features.zarr"
    adding, until = Running("extract", "--scales", "2..5", **here), time.monotonic() + 100
    while not list(store.glob("*/x3/features/c/0/0")) and time.monotonic() < until:
        time.sleep(0.001)
    adding.signal(signal.SIGSTOP)
    for end in (None, signal.SIGKILL):
        if end:
            adding.signal(end)
            assert adding.wait().returncode == -end
        assert run("info", "--json", **here).answer["complete"]
        assert run("verify", "--json", **here).answer["ok"]
        assert run("train", "--steps", "3", "--name", str(end), "--json", **here).returncode == 0
    assert FeatureStore(store).scales == (1, 2)
    added = run("extract", "--scales", "2..5", "--json", **here).answer
    assert added["complete"]
    assert added["scales"] == [1, 2, 3, 4, 5]
    assert run("extract", "--scales", "2..5", "--store", "at once.zarr", **here).returncode == 0
    assert files(store) == files(tmp_path / "here/at once.zarr")
