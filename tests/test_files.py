"""Files as the umask says, whole or not there, and nothing behind a link."""

import os
import secrets
import stat

import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.files import open_regular, read_regular, write_whole, write_whole_in
from fsrcache.models.weights import write_weights
from fsrcache.workspace import Data, Workspace


def put_weights(path):
    write_weights(path, {"x": torch.ones(2)}, kind="test", record={})


def put_bytes(path):
    write_whole(path, b"new")


def put_in_folder(path):
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        write_whole_in(folder, path.name, b"new")
    finally:
        os.close(folder)


@pytest.fixture(params=[0o022, 0o027, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.parametrize("write", [put_weights, put_bytes, put_in_folder])
def test_permissions_are_the_umasks(tmp_path, umask, write):
    write(tmp_path / "file")
    write(tmp_path / "file")  # and once more, over what is there
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("write", [put_weights, put_bytes, put_in_folder])
def test_nothing_is_written_through_a_link(tmp_path, write):
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "file").symlink_to(other)
    write(tmp_path / "file")
    assert other.read_text() == "mine"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other"]


@pytest.mark.parametrize("write", [put_weights, put_bytes, put_in_folder])
def test_a_link_that_has_the_name_of_a_half_written_file_is_not_followed(tmp_path, monkeypatch, write):
    (tmp_path / "other").write_text("mine")
    (tmp_path / ".file.0.partial").symlink_to(tmp_path / "other")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "0")
    with pytest.raises((FsrcacheError, FileExistsError), match="File exists"):
        write(tmp_path / "file")
    assert (tmp_path / "other").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".file.0.partial", "other"]


@pytest.mark.parametrize("write", [put_weights, put_bytes, put_in_folder])
@pytest.mark.parametrize("name", ["a" * 255, "\N{GRINNING FACE}" * 63], ids=["narrow", "wide"])
def test_a_file_has_a_name_as_long_as_names_may_be(tmp_path, write, name):
    write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("write", [put_weights, put_bytes, put_in_folder])
def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch, write):
    write(tmp_path / "file")
    before = (tmp_path / "file").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((FsrcacheError, OSError), match="No space left on device"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_only_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "full").symlink_to("/dev/full")
    (tmp_path / "dangling").symlink_to("nothing")
    for name, told in (("pipe", "a pipe"), ("folder", "a folder"), ("full", "a device|a link")):
        for flags in (os.O_RDONLY, os.O_WRONLY | os.O_APPEND):
            with pytest.raises(FsrcacheError, match=f"{name} is no file: ({told})|{name} is (a link)"):
                open_regular(tmp_path / name, flags)
    for name in ("link", "dangling"):
        with pytest.raises(FsrcacheError, match=f"{name} is a link, and nothing is written through one"):
            open_regular(tmp_path / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    assert read_regular(tmp_path / "link", most=4) == b"text"
    with pytest.raises(FsrcacheError, match="file has 4 bytes; 3 are the most"):
        read_regular(tmp_path / "file", most=3)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none", os.O_RDONLY)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "data.json: the record is"),
        ("null", "data.json: the record is None"),
        ('{"layout": null, "votes": "majority", "on_error": "fail"}', "data.json: path is missing"),
        ('{"path": "x", "votes": "majority", "on_error": "fail", "more": 1}', "data.json: more is unknown"),
        ('{"path": 3, "votes": "majority", "on_error": "fail"}', "data.json: path is 3"),
        ('{"path": "x", "votes": "all", "on_error": "fail"}', "data.json: votes is 'all'"),
        ('{"path": "a\\u0000b", "votes": "soft", "on_error": "fail"}', "Data.path is"),
        ("{", "data.json cannot be read"),
        ("[" * 50_000, "data.json cannot be read: it is nested deeper"),
        ("\0" * 100_000, "data.json has 100,000 bytes"),
    ],
)
def test_what_a_workspace_remembers_is_checked(tmp_path, text, told):
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(FsrcacheError, match=told) as error:
        Workspace(tmp_path).data()
    assert error.value.exit_code == 1


def test_a_pipe_in_a_workspace_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "data.json")
    with pytest.raises(FsrcacheError, match="is no file: a pipe"):
        Workspace(tmp_path).data()


def test_a_workspace_stays_where_it_is(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here, home = Workspace("fsr"), Workspace("~/fsr")
    os.chdir("elsewhere")
    here.remember(Data("drawn"))
    assert here.folder == tmp_path / "fsr"
    assert here.data() == Data("drawn")
    assert home.folder == tmp_path / "home/fsr"
    assert [path.name for path in here.folder.iterdir()] == ["data.json"]
