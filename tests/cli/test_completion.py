"""Completion as a shell asks for it: commands, options and paths, without torch being loaded for a command's name."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from fsrcache.cli.main import COMMANDS
from studies.program import run

SCRIPT = """
eval "$SCRIPT"
compopt() { echo "$2"; }
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_fsrcache_completion fsrcache
for reply in "${COMPREPLY[@]}"; do echo "$reply"; done
"""


@cache
def script():
    """Return what bash evaluates."""
    return run("completion", "bash").stdout


def complete(*words, cwd):
    """Return what bash offers for the last word."""
    bash = shutil.which("bash")
    assert bash is not None
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "SCRIPT": script()}
    command = [bash, "-c", SCRIPT, "bash", "fsrcache", *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ex"], ["extract", "export"]),
        ([""], list(COMMANDS)),
        (["--v"], ["--version"]),
        (["info", "--j"], ["--json"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["data", "--votes", "a"], ["argmax"]),
        (["info", "--workspace", "x"], ["dirnames"]),
        (["info", "x"], ["default"]),
        (["data", "fer"], ["default"]),
        (["extract", "--data", "fer"], ["default"]),
        (["extract", "--extractor", "net"], ["default"]),
    ],
)
def test_bash(words, offered, tmp_path):
    assert complete(*words, cwd=tmp_path) == offered


@pytest.mark.parametrize(("shell", "words"), [("zsh", "#compdef fsrcache"), ("fish", "complete --no-files")])
def test_other_shells_have_a_script(shell, words):
    assert words in run("completion", shell).stdout


def test_an_unknown_shell():
    done = run("completion", "tcsh")
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [("fsrcache ex", "torch zarr numpy rich"), ("fsrcache ", "torch zarr numpy rich"),
     ("fsrcache info --", "torch zarr numpy rich"), ("fsrcache extract --", "torch zarr"),
     ("fsrcache train --", "torch zarr"), ("fsrcache evaluate --", "torch zarr"), ("fsrcache runs --", "torch zarr"),
     ("fsrcache pretrain --", "torch zarr"), ("fsrcache doctor --", "torch zarr numpy rich")],
)  # fmt: skip
def test_nothing_slow_is_imported(words, unwanted):
    program = (
        "import atexit, sys\nfrom fsrcache.cli import main\n"
        f"atexit.register(lambda: print([name for name in {unwanted.split()} if name in sys.modules]))\n"
        "main([])"
    )
    environment = {**os.environ, "_FSRCACHE_COMPLETE": "bash_complete", "COMP_WORDS": words,
                   "COMP_CWORD": str(words.count(" "))}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[0].startswith("plain,")
    assert done.stdout.splitlines()[-1] == "[]"
