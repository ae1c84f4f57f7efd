"""The soak: a kill is a kill, and an extraction that fails by itself is none."""

import random
import signal

import click
import pytest

from studies import soak
from studies.program import CommandResult


@pytest.mark.parametrize(("code", "ended"), [(0, True), (-signal.SIGKILL, False), (1, None), (2, None), (-11, None)])
def test_only_a_kill_is_a_kill(code, ended, tmp_path, monkeypatch):
    class Ended:
        def __init__(self, *words, cwd, **_):
            assert (words[0], cwd) == ("extract", tmp_path)

        def until(self, *_):
            return True

        def signal(self, number):
            assert number == signal.SIGKILL

        def wait(self):
            return CommandResult(code, "", "A block is damaged.")

    monkeypatch.setattr(soak, "Running", Ended)
    if ended is None:
        with pytest.raises(click.ClickException, match="--json failed: A block is damaged"):
            soak._killed(tmp_path, random.Random(0), 0)
    else:
        assert soak._killed(tmp_path, random.Random(0), 0) is ended
