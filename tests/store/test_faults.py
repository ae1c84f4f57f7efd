"""Storage that fails at any operation, is full or vanishes: words, nothing finished harmed, the same call completes."""

import errno
import os
import shutil
import subprocess

import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.store.local import LocalObjects
from fsrcache.store.verify import repair, verify

FAULTS = (errno.EIO, errno.ENOSPC, errno.EACCES)


class Failing:
    """Makes the k-th operation of a local folder fail, counted over all of them."""

    def __init__(self, monkeypatch):
        self.count, self.at, self.number = 0, -1, errno.EIO
        for name in ("read", "write", "remove", "entries"):
            monkeypatch.setattr(LocalObjects, name, self.wrapped(getattr(LocalObjects, name)))

    def wrapped(self, method):
        def failing(objects, *arguments, **more):
            self.count += 1
            if self.count - 1 == self.at:
                raise OSError(self.number, os.strerror(self.number))
            return method(objects, *arguments, **more)

        return failing


def raised_by(work):
    try:
        work()
    except FsrcacheError as error:
        return error
    return None


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_folder_after(tmp_path, monkeypatch):
    """What a power cut needs, in this order; that the disk keeps what it has confirmed is not tested."""
    done = []
    sync, rename = os.fsync, os.replace

    def synced(descriptor):
        done.append(("synced", os.fstat(descriptor).st_ino))
        sync(descriptor)

    def renamed(name, target, *, src_dir_fd, dst_dir_fd):
        done.append(("renamed", os.stat(name, dir_fd=src_dir_fd).st_ino))
        rename(name, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    LocalObjects(tmp_path).write("a/b", b"some")
    file, folder = ((tmp_path / name).stat().st_ino for name in ("a/b", "a"))
    assert done[-3:] == [("synced", file), ("renamed", file), ("synced", folder)]
    assert ("synced", tmp_path.stat().st_ino) in done  # which holds the new folder


@pytest.mark.slow
def test_every_operation_may_fail_once(tmp_path, example, files, monkeypatch):
    example.written(tmp_path / "whole")
    undisturbed = files(tmp_path / "whole")
    storage = Failing(monkeypatch)
    k = 0
    while True:
        place, storage.number = tmp_path / f"s{k}", FAULTS[k % len(FAULTS)]
        storage.count, storage.at = 0, k
        error = raised_by(lambda place=place: example.written(place))
        if error is None:
            break
        assert os.strerror(storage.number) in error.what
        assert error.remedy
        storage.at = -1
        before = {key: data for key, data in files(place).items() if "/c/" in key} if place.exists() else {}
        assert all(undisturbed[key] == data for key, data in before.items())
        example.written(place)
        assert files(place) == undisturbed
        shutil.rmtree(place)
        k += 1
    assert k > 50


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB, where mounting works."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def test_a_full_disk_and_then_a_larger_one(small_disk, tmp_path, example, files):
    example.written(tmp_path / "whole")
    with pytest.raises(FsrcacheError, match="No space left on device") as error, example.writer(small_disk / "s") as w:
        example.fill(w)
    assert "See that there is room" in error.value.remedy
    assert not list(small_disk.rglob("*.partial"))
    whole = files(tmp_path / "whole")
    assert all(whole[key] == data for key, data in files(small_disk / "s").items() if "/c/" in key)
    remount(small_disk, "size=4m")
    example.written(small_disk / "s")
    assert files(small_disk / "s") == whole


def test_a_read_only_store_is_read_and_not_written(small_disk, example, files):
    remount(small_disk, "size=4m")
    example.written(small_disk / "s")
    before = files(small_disk / "s")
    remount(small_disk, "ro")
    assert verify(small_disk / "s").ok
    with pytest.raises(FsrcacheError, match="Read-only file system"):
        example.writer(small_disk / "s")
    remount(small_disk, "rw")
    assert files(small_disk / "s") == before


def test_a_folder_that_vanishes_is_said_and_written_anew(tmp_path, example, files):
    example.written(tmp_path / "whole")
    with example.writer(tmp_path / "s") as writer:
        example.fill(writer, most=2)
        shutil.rmtree(tmp_path / "s")
        with pytest.raises(FsrcacheError, match="No such file or directory"):
            example.fill(writer)
    assert not (tmp_path / "s").exists()
    example.written(tmp_path / "s")
    assert files(tmp_path / "s") == files(tmp_path / "whole")


@pytest.mark.parametrize("phase", ["completing", "verifying", "repairing"])
def test_ctrl_c_in_every_phase_of_the_store(tmp_path, example, files, phase):
    example.written(tmp_path / "whole")

    def interrupt(_):
        raise KeyboardInterrupt

    with example.writer(tmp_path / "s") as writer:
        example.fill(writer)
        if phase == "completing":
            with pytest.raises(KeyboardInterrupt):
                writer.finish(on_progress=interrupt)
        else:
            assert writer.finish()
    if phase != "completing":
        with pytest.raises(KeyboardInterrupt):
            (verify if phase == "verifying" else repair)(tmp_path / "s", on_progress=interrupt)
    example.written(tmp_path / "s")
    assert files(tmp_path / "s") == files(tmp_path / "whole")
