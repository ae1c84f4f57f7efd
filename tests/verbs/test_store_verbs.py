"""``fsrcache.info`` and ``fsrcache.verify``: what the commands print, as records."""

from dataclasses import FrozenInstanceError

import pytest

import fsrcache
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.store.verify import Problem
from fsrcache.verbs.info import ArrayInfo
from fsrcache.workspace import Workspace
from studies.program import run

KEY = "train/x2/features/c/1/0"


@pytest.fixture
def workspace(tmp_path, example):
    example.written(tmp_path / "fsr/features.zarr")
    return tmp_path / "fsr"


def test_info_is_what_the_command_prints(workspace, example):
    info = fsrcache.info(workspace)
    assert info.complete
    assert info.spec == example.spec
    assert info.arrays["val/x2/features"] == ArrayInfo((5, 6), "float16")
    assert info.files == info.files_there == 30
    assert run("info", "--workspace", workspace, "--json").answer == info.to_dict()
    assert fsrcache.info(Workspace(workspace)) == info == fsrcache.info("nowhere", workspace / "features.zarr")
    with pytest.raises(FrozenInstanceError):
        info.complete = False


def test_info_of_an_incomplete_store_counts_its_files(tmp_path, example):
    with example.writer(tmp_path / "s") as writer:
        example.fill(writer, most=2)
    info = fsrcache.info(store=tmp_path / "s")
    assert not info.complete
    assert (info.files, info.files_there) == (30, 6 + 2 * 3)
    assert run("info", tmp_path / "s", "--json").answer == info.to_dict()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FsrcacheError, match="There is no feature store at") as error:
        fsrcache.info(tmp_path / "empty")
    store = tmp_path / "empty/features.zarr"
    assert error.value.remedy == f"Write it first: `fsrcache.extract(workspace, store='{store}', data=PATH)`."


@pytest.mark.parametrize("verb", ["info", "verify"])
def test_a_workspace_in_place_of_its_store_is_named_as_one(workspace, verb):
    with pytest.raises(RequestError, match=f"{workspace} is a workspace, and no feature store") as error:
        getattr(fsrcache, verb)(store=workspace)
    assert error.value.remedy == f"Name it as one: `fsrcache.{verb}('{workspace}')`."
    done = run(verb, "./fsr", cwd=workspace.parent)
    assert (done.returncode, done.stderr.splitlines()[1]) == (2, f"Name it as one: `fsrcache {verb}`.")
    assert run(verb, "fsr/features.zarr", cwd=workspace.parent).returncode == 0


def test_verify_names_what_is_damaged_and_repairs_it_if_told(workspace, example, files):
    undisturbed = files(workspace)
    assert fsrcache.verify(workspace).ok
    (workspace / "features.zarr" / KEY).write_bytes(b"")
    seen = []
    verdict = fsrcache.verify(workspace, on_progress=seen.append)
    assert verdict.problems == (Problem("train/x2/features", KEY, "short"),)
    assert [progress.done for progress in seen] == list(range(1, 31))
    assert (workspace / "features.zarr" / KEY).exists()
    assert fsrcache.verify("nowhere", store=workspace / "features.zarr", repair=True) == verdict
    assert not (workspace / "features.zarr" / KEY).exists()
    example.written(workspace / "features.zarr")
    assert files(workspace) == undisturbed
