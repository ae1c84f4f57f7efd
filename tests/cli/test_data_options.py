"""The options for the data without ``--data``: they change what the workspace remembers, and none goes unheard."""

import pytest
from click.testing import CliRunner

from fsrcache.cli.main import group
from fsrcache.cli.options import data_of
from fsrcache.errors import FsrcacheError
from fsrcache.workspace import Data, Workspace

NO_OPTION = {"layout": None, "votes": None, "on_error": "fail", "limit": None}


@pytest.fixture
def workspace(tmp_path):
    """Return a workspace that remembers the soft votes of FERPlus."""
    workspace = Workspace(tmp_path / "fsr")
    (tmp_path / "fer").mkdir()
    workspace.remember(Data(str(tmp_path / "fer"), votes="soft"))
    return workspace


@pytest.mark.parametrize(
    ("option", "votes"), [({"layout": "fer2013"}, "soft"), ({"votes": "majority"}, "majority"), ({"limit": 7}, "soft")]
)
def test_an_option_changes_what_is_remembered(workspace, option, votes):
    data = data_of(workspace, None, **{**NO_OPTION, **option}, on_progress=print)
    path = workspace.data().path
    assert data == Data(path, layout=option.get("layout"), votes=votes, limit=option.get("limit"))


def test_without_any_the_verb_chooses(workspace):
    assert data_of(workspace, None, **NO_OPTION, on_progress=print) is None
    assert data_of(workspace, "faces", **NO_OPTION, on_progress=print) == Data("faces")


@pytest.mark.parametrize("command", ["extract", "pretrain"])
def test_a_format_that_the_remembered_data_do_not_have_is_refused(tmp_path, command):
    Workspace(tmp_path).remember(Data("drawn:14"))
    done = CliRunner().invoke(group, [command, "--workspace", str(tmp_path), "--dry-run", "--format", "affectnet-7"])
    assert isinstance(done.exception, FsrcacheError)
    assert "drawn:14 holds neither AffectNet's training.csv" in done.exception.what
