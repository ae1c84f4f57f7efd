"""What a command says to do can be typed as it stands: in its workspace, quoted, with the options' names."""

import shlex

import click
import pytest
from click.testing import CliRunner

from fsrcache.cli.main import group
from fsrcache.cli.remedies import command_line
from fsrcache.errors import Blank, FsrcacheError, RequestError, arguments, call
from fsrcache.workspace import Data, Workspace


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (call("extract", data=Blank("PATH")), "fsrcache extract --data PATH"),
        (call("extract", scales=range(2, 9)), "fsrcache extract --scales 2..8"),
        (call("extract", scales=[2, 3]), "fsrcache extract --scales 2,3"),
        (call("extract", scales=[2, 4, 8]), "fsrcache extract --scales 2,4,8"),
        (call("pretrain", data="/a b"), "fsrcache pretrain --data '/a b'"),
        (call("verify", store="/a b", repair=True), "fsrcache verify '/a b' --repair"),
        (call("extract", store="/s.zarr"), "fsrcache extract --store /s.zarr"),
        (call("baselines", workspace="/w", rows=["a", "b"]), "fsrcache baselines --workspace /w --rows a,b"),
        (call("train", seed=0), "fsrcache train --seed 0"),
        (arguments(names=["a", "b"]), "--name a --name b"),
        (arguments(settings=["critic=none"], restart=True), "--set critic=none --restart"),
        (arguments(part=(1, 2)), "--part 1/2"),
        (arguments(layout=Blank("NAME"), on_error="skip"), "--format NAME --on-error skip"),
    ],
)  # fmt: skip
def test_a_call_as_a_command_line(shown, line, monkeypatch):
    monkeypatch.delenv("FSRCACHE_WORKSPACE", raising=False)
    assert command_line(shown) == line


def failure(*words):
    error = CliRunner().invoke(group, list(map(str, words))).exception
    assert isinstance(error, FsrcacheError)
    return error


@pytest.mark.parametrize("there", ["fsr", "other", "a b"])
@pytest.mark.parametrize("variable", [None, "other"])
def test_the_workspace_is_named_where_the_command_would_take_another(tmp_path, monkeypatch, there, variable):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FSRCACHE_WORKSPACE", raising=False)
    if variable:
        monkeypatch.setenv("FSRCACHE_WORKSPACE", variable)
    (tmp_path / there).mkdir()
    error = failure("train", "--workspace", there)
    assert error.what == f"There is no feature store at {tmp_path / there}/features.zarr."
    named = "" if there == (variable or "fsr") else f"--workspace {shlex.quote(there)} "
    assert error.remedy == f"Write it first: `fsrcache extract {named}--data PATH`."
    Workspace(tmp_path / there).remember(Data("drawn"))
    for verb in ("train", "info"):
        line = f"fsrcache extract {named}".rstrip()
        assert failure(verb, "--workspace", there).remedy == f"Write it first: `{line}`."


@pytest.mark.parametrize("typed", ["../w", "{}/w"])
def test_a_workspace_elsewhere_is_named_as_it_was(tmp_path, monkeypatch, typed):
    (tmp_path / "here").mkdir()
    (tmp_path / "w").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    typed = typed.format(tmp_path)
    assert f"`fsrcache extract --workspace {typed} --data PATH`" in failure("info", "--workspace", typed).remedy


def test_a_store_of_its_own_is_named_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w").mkdir()
    error = failure("train", "--workspace", "w", "--store", "s.zarr")
    assert f"`fsrcache extract --workspace w --store {tmp_path}/s.zarr --data PATH`" in error.remedy


def test_what_a_remedy_says_can_be_typed(tmp_path, monkeypatch, example):
    """An incomplete store and a damaged one: the command lines are commands, and their options are known."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w").mkdir()
    with example.writer(tmp_path / "w/features.zarr") as writer:
        example.fill(writer, most=1)
    error = failure("train", "--workspace", "w")
    assert "`fsrcache extract --workspace w --scales 2`" in error.remedy
    (tmp_path / "w/features.zarr/zarr.json").write_text("{")
    error = failure("info", "--workspace", "w")
    line = f"fsrcache verify {tmp_path}/w/features.zarr --repair"
    assert error.remedy == f"`{line}` rewrites it where it can."
    CliRunner().invoke(group, shlex.split(line)[1:])
    assert CliRunner().invoke(group, ["info", "--workspace", "w"]).exit_code == 0


def test_the_kind_of_an_error_and_its_exit_code_stay(tmp_path):
    error = failure("runs", "--workspace", tmp_path / "none")
    assert isinstance(error, RequestError)
    assert error.exit_code == 2


def test_outside_of_a_command_it_is_the_default_workspace(monkeypatch):
    assert click.get_current_context(silent=True) is None
    monkeypatch.setenv("FSRCACHE_WORKSPACE", "/w")
    assert command_line(call("train")) == "fsrcache train"
    assert command_line(call("train", workspace="/v")) == "fsrcache train --workspace /v"
