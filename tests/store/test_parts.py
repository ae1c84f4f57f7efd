"""Several writers of one store: disjoint parts in any order, one writer a part, leftovers of the dead taken away."""

import re
import subprocess
import sys
from dataclasses import replace
from itertools import permutations

import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.store import existing, writer
from fsrcache.store.existing import read_root
from fsrcache.store.lock import writer_lock
from fsrcache.store.reader import FeatureStore
from fsrcache.store.verify import verify
from fsrcache.store.writer import FeatureWriter

HOLD = """
import sys, time
from pathlib import Path
from fsrcache.store.lock import writer_lock
with writer_lock(Path(sys.argv[1]), (1, 1)):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory, example, files):
    folder = tmp_path_factory.mktemp("whole") / "s"
    example.written(folder)
    return files(folder)


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
def test_parts_in_any_order_make_the_same_store(tmp_path, example, files, whole, order):
    for number, i in enumerate(order, 1):
        with example.writer(tmp_path / "s", part=(i, 3)) as writer:
            assert writer.resumed_from == 0
            example.fill(writer)
            assert writer.finish() == (number == 3)
        if number < 3:
            with pytest.raises(FsrcacheError, match="is incomplete"):
                FeatureStore(tmp_path / "s")
    assert files(tmp_path / "s") == whole


def test_parts_at_the_same_time(tmp_path, example, files, whole):
    with example.writer(tmp_path / "s", part=(1, 2)) as one, example.writer(tmp_path / "s", part=(2, 2)) as two:
        assert not {*one.missing()} & {*two.missing()}
        example.fill(two)
        assert not two.finish()
        example.fill(one)
        assert one.finish()
        assert two.finish()
    assert files(tmp_path / "s") == whole


def test_a_store_that_another_part_begins_meanwhile_is_taken_up(tmp_path, example, files, whole, monkeypatch):
    example.write(tmp_path / "s", part=(1, 2))
    answers = iter([None])  # to the first question, as before the other part had written anything
    monkeypatch.setattr(existing, "read_root", lambda objects: next(answers, read_root(objects)))
    assert example.write(tmp_path / "s", part=(2, 2))
    assert files(tmp_path / "s") == whole


def test_parts_that_name_the_pictures_otherwise_and_begin_together(tmp_path, example, monkeypatch):
    columns = example.columns()
    others = {**columns, "ids": {split: [f"b/{name}" for name in names] for split, names in columns["ids"].items()}}
    write, begun = writer.write_columns, []

    def write_after_the_other(*arguments):
        if not begun:
            begun.append(None)
            begun[0] = FeatureWriter(tmp_path / "s", example.spec, **others, part=(2, 2))
        return write(*arguments)

    monkeypatch.setattr(writer, "write_columns", write_after_the_other)
    with example.writer(tmp_path / "s", part=(1, 2)) as one, begun[0] as two:
        example.fill(one)
        assert not one.finish()
        example.fill(two)
        assert two.finish()
    assert set(FeatureStore(tmp_path / "s").ids("train")) == set(columns["ids"]["train"])
    assert verify(tmp_path / "s").ok


def test_scales_that_another_part_adds_meanwhile_are_not_forgotten(tmp_path, example):
    more = replace(example.spec, scales=(1, 2, 4))
    place = tmp_path / "s"
    with example.writer(place, part=(1, 2)) as one, example.writer(place, part=(2, 2), spec=more) as two:
        example.fill(two)
        example.fill(one)
        assert not one.finish()  # the other part's scale is not there for its own blocks
        assert not two.finish()
    with example.writer(tmp_path / "s", part=(1, 2)) as one:
        assert {scale for _, scale, _ in one.missing()} == {4}
        example.fill(one)
        assert one.finish()
    assert FeatureStore(tmp_path / "s").scales == (1, 2, 4)
    assert verify(tmp_path / "s").ok


def test_more_parts_than_blocks(tmp_path, example, files, whole):
    for i in range(1, 8):
        with example.writer(tmp_path / "s", part=(i, 7)) as writer:
            example.fill(writer)
            writer.finish()
    assert files(tmp_path / "s") == whole


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (1, 0), (1.0, 2), (1,), 5, None, ("1", "2")])
def test_a_part_that_is_none_is_refused(tmp_path, example, part):
    with pytest.raises(FsrcacheError, match=rf"part is {re.escape(repr(part))}.\nIt is \(i, n\)"):
        example.writer(tmp_path / "s", part=part)
    assert not (tmp_path / "s").exists()


def test_the_second_writer_is_told_who_holds_it_and_a_dead_one_holds_nothing(tmp_path, example, files, whole):
    folder = tmp_path / "s"
    folder.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for part in ((1, 1), (1, 2)):  # the same part, and one of another division
        with pytest.raises(FsrcacheError, match=f"is being written by process {holder.pid} on "):
            example.writer(folder, part=part)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert list(folder.glob(".writer-*"))
    example.written(folder)
    assert files(folder) == whole


def test_a_lock_is_given_back_whatever_happens(tmp_path, example):
    folder = tmp_path / "s"
    with pytest.raises(ZeroDivisionError), example.writer(folder):
        1 / 0  # noqa: B018
    with writer_lock(folder, (1, 1)):
        pass
    assert not list(folder.glob(".writer-*"))


def test_a_part_leaves_the_half_written_files_of_others(tmp_path, example):
    folder = tmp_path / "s"
    with example.writer(folder, part=(1, 2)) as writer:
        mine = next(iter(writer.missing()))
    with example.writer(folder, part=(2, 2)) as writer:
        other = next(iter(writer.missing()))
    planted = []
    for split, scale, block in (mine, other):
        path = folder / f"{split}/x{scale}/features/c/{block}/0.ff.partial"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        planted.append(path)
    with example.writer(folder, part=(1, 2)):
        assert [path.exists() for path in planted] == [False, True]
    (folder / "zarr.json.ff.partial").write_bytes(b"half")
    for i in (1, 2):
        with example.writer(folder, part=(i, 2)) as writer:
            example.fill(writer)
            writer.finish()
    assert not list(folder.rglob("*.partial"))  # whoever completes the store takes them all
