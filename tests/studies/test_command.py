"""Every study ends in the words and the exit code of an error of fsrcache."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, call
from studies import reweighting, table, unlabelled, variants, way_picture
from studies.command import StudyCommand

STUDIES = Path(variants.__file__).parent


@pytest.mark.parametrize(("kind", "code"), [(FsrcacheError, 1), (RequestError, 2)])
def test_an_error_is_words_and_an_exit_code(kind, code, tmp_path):
    @click.command(cls=StudyCommand)
    @click.option("--workspace", type=click.Path(path_type=Path))
    def study(workspace):
        raise kind(f"There is nothing at {workspace}.", Remedy("Run `{}`.", call("extract", data=Blank("PATH"))))

    done = CliRunner().invoke(study, ["--workspace", str(tmp_path)])
    assert done.exit_code == code
    assert isinstance(done.exception, SystemExit)
    remedy = f"Run `fsrcache extract --workspace {tmp_path} --data PATH`."
    assert done.stderr == f"Error: There is nothing at {tmp_path}.\n{remedy}\n"


def test_an_error_without_a_remedy_is_one_line():
    @click.command(cls=StudyCommand)
    def study():
        raise FsrcacheError("It is damaged.")

    assert CliRunner().invoke(study, []).stderr == "Error: It is damaged.\n"


@pytest.mark.parametrize("study", [variants, unlabelled, reweighting, way_picture], ids=lambda study: study.__name__)
def test_an_empty_workspace(study, tmp_path):
    done = CliRunner().invoke(study.main, ["--workspace", str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code in (1, 2)
    assert isinstance(done.exception, SystemExit)
    assert re.match(f"Error: .*{tmp_path}", done.stderr)
    assert f"--workspace {tmp_path}" in done.stderr


def test_a_row_that_is_none_is_a_wrong_request(tmp_path):
    words = ("--data", tmp_path, "--workspace", tmp_path, "--out", tmp_path, "--title", "t", "--rows", "fine-tunde")
    done = CliRunner().invoke(table.main, [str(word) for word in words])
    assert done.exit_code == 2
    assert "fine-tunde" in done.stderr


@pytest.mark.parametrize("path", sorted(STUDIES.rglob("*.py")), ids=lambda path: str(path.relative_to(STUDIES)))
def test_every_study_has_this_command(path):
    assert not re.search(r"@click\.command(?!\(cls=StudyCommand\))", path.read_text())
