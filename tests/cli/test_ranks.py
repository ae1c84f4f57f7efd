"""Commands that torchrun starts several times: each speaks with one voice, and what is the work of one is refused."""

import pytest

from fsrcache.cli.main import COMMANDS
from fsrcache.cli.ranks import SHARED
from studies.program import run, run_ranks

LAUNCHED = {"TORCHELASTIC_RUN_ID": "test"}


def one_of(ended, code):
    """Return the one of several processes that says something; all end with a code."""
    assert [one.returncode for one in ended] == [code] * len(ended), ended[0].stderr
    (speaker,) = [one for one in ended if one.stdout or one.stderr]
    return speaker


@pytest.mark.slow
def test_extraction_is_shared_and_answered_once(pretrained, files):
    words = ("extract", "--scales", "2", "--json")
    alone = run(*words, "--store", "alone.zarr", cwd=pretrained).answer
    shared = one_of(run_ranks(2, *words, "--store", "shared.zarr", cwd=pretrained, **LAUNCHED), 0).answer
    same = {name: alone[name] for name in ("rows", "scales", "blocks", "resumed_from", "complete", "digest")}
    assert {name: shared[name] for name in same} == same
    assert files(pretrained / "shared.zarr") == files(pretrained / "alone.zarr")
    assert "measures one process" in one_of(run_ranks(2, *words, "--dry-run", cwd=pretrained, **LAUNCHED), 2).stderr
    refused = one_of(run_ranks(2, *words, "--engine", "ray", cwd=pretrained, **LAUNCHED), 2)
    assert refused.answer["error"] == "Ray has workers of its own, and torchrun started 2 processes."


@pytest.mark.slow
def test_settings_are_shown_once(tmp_path):
    assert '"steps"' in one_of(run_ranks(2, "train", "--preset", "best", "--show", "--json", cwd=tmp_path), 0).stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate", "info"])
def test_the_work_of_one_process_is_refused(tmp_path, command):
    refused = one_of(run_ranks(2, command, "--json", cwd=tmp_path, **LAUNCHED), 2).answer
    assert refused["error"] == f"fsrcache {command} is the work of one process, and torchrun started 2."
    assert refused["exit_code"] == 2
    assert not list(tmp_path.iterdir())


def test_one_process_of_torchrun_does_all_work(tmp_path):
    done = run("info", cwd=tmp_path, WORLD_SIZE="1", **LAUNCHED)
    assert "is the work of one process" not in done.stderr


def test_shared_commands_are_commands():
    assert set(SHARED) < set(COMMANDS)
