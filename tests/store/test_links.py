"""What is no file of a store: never followed, opened, waited for or written through; named as damage, and taken out."""

import os
import shutil
import socket
import stat

import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.store import lock
from fsrcache.store.lock import writer_lock
from fsrcache.store.reader import FeatureStore
from fsrcache.store.verify import Problem, repair, verify

SHARD = "train/x2/features/c/1/0"
PLACES = ["zarr.json", "train", "train/zarr.json", "train/x2", "train/x2/features/zarr.json", "train/labels/c/0",
          "val/ids/c", "train/x2/features/c", SHARD]  # fmt: skip


@pytest.fixture
def outside(tmp_path):
    """A folder that is somebody's, with what a careless writer would take for its own."""
    folder = tmp_path / "outside"
    (folder / "inner").mkdir(parents=True)
    for name in ("precious", "half.partial", "inner/0.ab12.partial", ".writer-1-of-1"):
        (folder / name).write_text("mine")
    return folder


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def make(kind, path, outside):
    """Put something of a kind in the place of whatever stands there."""
    remove(path)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            working = os.open(".", os.O_RDONLY)
            os.chdir(path.parent)  # a socket's path may not be long
            bound.bind(path.name)
            os.fchdir(working)
            os.close(working)
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "folder":
        shutil.copytree(outside, path)
        (path / "link").symlink_to(outside)
    elif kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to({"link to a file": outside / "precious", "link to a folder": outside}.get(kind, "nowhere"))


KINDS = ["link to a file", "link to a folder", "broken link", "pipe", "socket", "empty folder", "folder", "file"]
CASES = [(key, kind) for key in PLACES for kind in KINDS
         if (kind in ("empty folder", "folder")) <= (key.endswith(("json", "/0"))) and (kind == "file") <= (
             not key.endswith(("json", "/0")))]  # fmt: skip


@pytest.mark.parametrize(("key", "kind"), CASES, ids=lambda value: value)
def test_what_stands_in_a_files_place_is_named_and_taken_out(store, example, files, outside, key, kind):
    undisturbed, theirs = files(store), files(outside)
    make(kind, store / key, outside)
    expected = "link" if "link" in kind else "irregular"
    for look in (verify, repair):
        found = look(store)
        assert {(problem.key, problem.kind) for problem in found.problems if problem.kind != "missing"} >= {
            (key, expected)
        }
        assert not found.ok
        assert len({problem.key for problem in found.problems}) == len(found.problems)
    assert not (store / key).is_symlink()
    assert files(outside) == theirs
    example.written(store)
    assert files(store) == undisturbed
    assert verify(store).ok
    assert files(outside) == theirs


@pytest.mark.parametrize("key", ["train", "train/x2", "train/x2/features/c", SHARD])
def test_a_link_is_read_by_nobody_even_to_what_belongs_there(store, tmp_path, example, key):
    (store / key).rename(tmp_path / "elsewhere")
    (store / key).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FsrcacheError, match=f"{key} is a symbolic link") as error:
        FeatureStore(store).features("train", 2)[:]
    assert f"`fsrcache.verify(store='{store}')`" in error.value.remedy
    assert "repair=True" in error.value.remedy
    assert (
        Problem(key.partition("/c/")[0] if "/c/" in key else key.rpartition("/")[0], key, "link")
        in verify(store).problems
    )
    if key != SHARD:  # the name of a file is written anew, the link goes
        with pytest.raises(FsrcacheError, match=f"{key} is a symbolic link"):
            example.written(store)


def test_a_store_may_itself_be_reached_through_a_link(store, tmp_path, example, files):
    (tmp_path / "link").symlink_to(store)
    before = files(store)
    assert verify(tmp_path / "link").ok
    assert example.written(tmp_path / "link").features("train", 2)[:].shape == (23, 6)
    (store / SHARD).unlink()
    repair(tmp_path / "link")
    example.written(tmp_path / "link")
    assert files(store) == before


def test_half_written_files_outside_are_left(store, example, files, outside):
    theirs = files(outside)
    (store / "train/x2/more").symlink_to(outside)
    (store / "linked.partial").symlink_to(outside / "precious")
    (store / "mine.partial").write_text("half")
    (store / SHARD).unlink()
    example.written(store)
    assert files(outside) == theirs
    assert not (store / "mine.partial").exists()
    found = verify(store)
    assert [(problem.key, problem.kind) for problem in found.problems] == [
        ("linked.partial", "link"),
        ("train/x2/more", "link"),
    ]
    assert found.complete
    repair(store)
    assert verify(store).ok  # nothing of the store was lost with them
    assert files(outside) == theirs


@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "broken link", "pipe", "socket", "folder"])
@pytest.mark.parametrize("name", [".writer-1-of-1", ".writer-2-of-3"])
def test_a_lock_that_is_no_file_is_neither_followed_nor_waited_for(store, example, files, outside, name, kind):
    undisturbed, theirs = files(store), files(outside)
    (store / name).touch()
    make(kind, store / name, outside)
    with pytest.raises(FsrcacheError, match=rf"{name} is no regular file, as a writer's lock is") as error:
        example.writer(store)
    assert f"`fsrcache.verify(store='{store}', repair=True)`" in error.value.remedy
    for look in (verify, repair):
        problems = [problem for problem in look(store).problems if problem.key == name]
        assert problems == [Problem("", name, "link" if "link" in kind else "irregular")]
    assert not os.path.lexists(store / name)
    assert verify(store).ok
    assert files(outside) == theirs
    example.written(store)
    assert files(store) == undisturbed


def test_a_lock_is_made_new_and_nothing_written_into_what_has_its_name(store, outside):
    os.link(outside / "precious", store / ".writer-1-of-1")
    with writer_lock(store, (1, 1)):
        assert "process" in (store / ".writer-1-of-1").read_text()
    assert (outside / "precious").read_text() == "mine"


def test_a_folder_of_links_is_no_place_for_a_new_store(tmp_path, example, outside):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").symlink_to(outside / "precious")
    with pytest.raises(FsrcacheError, match=r"'a\.png' for one"):
        example.writer(tmp_path / "photos")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.png"]


def test_files_folders_and_locks_are_as_the_umask_says(tmp_path, example):
    before = os.umask(0o002)
    try:
        with example.writer(tmp_path / "s") as writer:
            assert stat.S_IMODE((tmp_path / "s/.writer-1-of-1").stat().st_mode) == 0o664
            example.fill(writer)
            writer.finish()
    finally:
        os.umask(before)
    for path in [tmp_path / "s", *(tmp_path / "s").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o775 if path.is_dir() else 0o664), path


def test_a_relative_place_is_where_it_was_opened(tmp_path, example, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with example.writer("s") as writer:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        example.fill(writer)
        assert writer.finish()
    monkeypatch.chdir(tmp_path)
    store = FeatureStore("s")
    monkeypatch.chdir("/")
    assert store.features("train", 2)[:].shape == (23, 6)
    assert len(store.labels("train")) == 23
    assert not [*(tmp_path / "elsewhere").iterdir()]


def test_a_home_is_expanded(tmp_path, example, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    example.written("~/s")
    assert (tmp_path / "s/zarr.json").exists()
    assert not (tmp_path / "~").exists()
    assert verify("~/s").ok
    assert FeatureStore("~/s").name == "~/s"


@pytest.mark.parametrize("place", [5, None, ["s"]])
def test_what_is_no_place_is_refused(place):
    with pytest.raises(FsrcacheError, match="The location of a store is"):
        FeatureStore(place)


def test_where_there_are_no_locks_a_store_is_read_and_not_written(store, example, files, monkeypatch):
    before = files(store)
    monkeypatch.setattr(lock, "fcntl", None)
    assert FeatureStore(store).features("train", 2)[:].shape == (23, 6)
    assert verify(store).ok
    for work in (lambda: example.writer(store), lambda: repair(store)):
        with pytest.raises(FsrcacheError, match="has no `fcntl`") as error:
            work()
        assert "WSL" in error.value.remedy
    assert files(store) == before


def test_where_folders_have_no_descriptors_a_store_is_refused(store, monkeypatch):
    monkeypatch.setattr(os, "supports_dir_fd", set())
    with pytest.raises(FsrcacheError, match="has no descriptors of folders"):
        FeatureStore(store)


@pytest.mark.parametrize("key", ["zarr.json", "train/x2/zarr.json", "train/labels/c/0", "train/ids/c/0", SHARD])
def test_a_file_larger_than_its_place_is_not_read_whole(store, example, files, key):
    undisturbed = files(store)
    os.truncate(store / key, 1 << 36)  # of holes, more than memory holds
    (problem,) = verify(store).problems
    assert problem.key == key
    assert problem.kind in ("short", "corrupt")
    if key != "train/x2/zarr.json":  # which no reader needs
        with pytest.raises(FsrcacheError):
            _all_of(FeatureStore(store))
    repair(store)
    example.written(store)
    assert files(store) == undisturbed


def _all_of(store):
    return store.labels("train"), store.ids("train"), store.features("train", 2)[:]
