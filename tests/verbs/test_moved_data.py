"""Data that were moved, and other data: what the workspace remembers is said, and the new path is named once."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import fsrcache
from fsrcache.cli.main import group
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.progress import no_progress
from fsrcache.verbs.data import choose_data
from fsrcache.workspace import Data, Workspace

CPU = {"device": "cpu"}
COUNTS = "train 98, val 14, test 28 of class folders"


@pytest.fixture(scope="module")
def extracted_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moved")
    for name, count, seed in (("faces", 140, 0), ("fewer", 70, 0), ("others", 140, 1)):
        CliRunner().invoke(group, ["draw", str(folder / name), "--count", str(count), "--seed", str(seed)])
    fsrcache.pretrain(folder / "fsr", data=folder / "faces", preset="tiny", epochs=1, side=16, **CPU)
    fsrcache.extract(folder / "fsr", scales=[2], **CPU)
    return folder


@pytest.fixture
def moved(extracted_once, tmp_path):
    """A workspace whose data were moved from ``faces`` to ``now``."""
    shutil.copytree(extracted_once, tmp_path, dirs_exist_ok=True)
    (tmp_path / "faces").rename(tmp_path / "now")
    workspace = Workspace(tmp_path / "fsr")
    workspace.remember(Data(str(tmp_path / "faces")))
    return workspace


def remembered(workspace):
    return json.loads((workspace.folder / "data.json").read_text())["path"]


CALLS = {
    "extract": {"scales": [2], **CPU},
    "pretrain": {"preset": "tiny", "epochs": 1, "side": 16, **CPU},
    "baselines": {"settings": ["epochs=1"], **CPU},
}


@pytest.mark.parametrize("verb", CALLS)
def test_moved_data_are_called_so_and_their_new_path_is_remembered(moved, verb):
    call, now = getattr(fsrcache, verb), moved.folder.parent / "now"
    with pytest.raises(RequestError) as error:
        call(moved, **CALLS[verb])
    old = moved.folder.parent / "faces"
    assert error.value.what == f"The workspace {moved.folder} remembers its data at {old}, and nothing is there."
    assert error.value.remedy == "If they were moved, name their new path once: `data=PATH`."
    call(moved, data=now, **CALLS[verb])
    assert remembered(moved) == str(now)
    fsrcache.extract(moved, scales=[2], **CPU)  # any verb knows it now


@pytest.mark.parametrize("verb", ["extract", "baselines"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fewer", f"its faces are {COUNTS} there and train 49, val 7, test 14 of class folders here"),
        ("others", f"its faces are as many, {COUNTS}, and others"),
    ],
)  # fmt: skip
def test_other_data_are_refused_in_words_and_not_remembered(moved, verb, name, words):
    parent = moved.folder.parent
    with pytest.raises(RequestError) as error:
        getattr(fsrcache, verb)(moved, data=parent / name, **CALLS[verb])
    assert error.value.what == (
        f"The store {moved.store} was not made from {parent / name}: {words}. The workspace remembers {parent}/faces, "
        "where nothing is."
    )
    assert "another workspace: `workspace=DIR`" in error.value.remedy
    assert remembered(moved) == str(parent / "faces")


def test_the_command_line_says_the_option(moved):
    error = CliRunner().invoke(group, ["extract", "--workspace", str(moved.folder)]).exception
    assert error.remedy == "If they were moved, name their new path once: `--data PATH`."


def test_an_estimate_refuses_other_data_too_and_remembers_nothing(moved):
    words = ["extract", "--workspace", str(moved.folder), "--scales", "2", "--dry-run", "--data"]
    parent = moved.folder.parent
    error = CliRunner().invoke(group, [*words, str(parent / "fewer")]).exception
    assert "was not made from" in error.what
    done = CliRunner().invoke(group, [*words, str(parent / "now")])
    assert done.exit_code == 0, done.exception
    assert remembered(moved) == str(parent / "faces")


def test_an_interrupted_extraction_remembers_the_new_path(moved, stop_after):
    now = moved.folder.parent / "now"
    with pytest.raises(KeyboardInterrupt):
        fsrcache.extract(moved, data=now, scales=[2, 4], on_progress=stop_after("extracting", 1), **CPU)
    assert remembered(moved) == str(now)


def test_an_interrupted_pretraining_remembers_the_new_path_of_the_same_faces_alone(moved):
    def stop(progress):
        if progress.phase == "pre-training":
            raise KeyboardInterrupt

    parent = moved.folder.parent
    for name, kept in (("others", "faces"), ("now", "now")):
        with pytest.raises(KeyboardInterrupt if name == "now" else FsrcacheError):
            fsrcache.pretrain(moved, data=parent / name, on_progress=stop, **CALLS["pretrain"])
        assert remembered(moved) == str(parent / kept)


def test_faces_that_were_changed_where_they_lie_are_refused_before_a_training(moved):
    now = moved.folder.parent / "now"
    fsrcache.extract(moved, data=now, scales=[2], **CPU)
    next((now / "train/anger").iterdir()).unlink()
    with pytest.raises(
        FsrcacheError, match=r"was not made from .*/now: its faces are train 98, .* and train 97, "
    ) as error:
        fsrcache.baselines(moved, **CALLS["baselines"])
    assert "remembers" not in error.value.what
    assert not (moved.folder / "rows").exists()


def test_how_data_are_read_shows_in_what_is_remembered():
    assert Data("/x", layout="ferplus", votes="soft", limit=1200).in_words == (
        "/x, layout ferplus, votes soft, at most 1,200 faces a split"
    )


def test_data_that_cannot_be_reached_are_not_called_gone(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path / "fsr")
    workspace.remember(Data("/data"))

    exists = Path.exists

    def denied(path):
        if path == Path("/data"):
            raise PermissionError(13, "Permission denied")
        return exists(path)

    monkeypatch.setattr(Path, "exists", denied)
    assert choose_data(workspace, None, on_progress=no_progress).path == "/data"
