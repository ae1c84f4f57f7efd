"""Systems other than Linux, as far as one can be had here: what macOS and Windows lack is hidden from a program."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Loaded before: whether others' packages run there is theirs to know.
OTHERS = """
import asyncio, ctypes, multiprocessing.synchronize, os, platform, shutil, signal, socket, subprocess, sys, sysconfig
import click, fastcrc, matplotlib.figure, numpy, PIL.Image, rich.progress, safetensors.torch, threadpoolctl, torch, zarr
sysconfig.get_config_vars()
sys.modules["triton"] = None  # of which neither system has one
sys.modules |= {name: sys.modules.get(name, os) for name in ("trackio", "wandb")}  # may be missing here
"""
MACOS = OTHERS + (
    "for name in ('sched_getaffinity', 'posix_fadvise'): delattr(os, name)\n"
    "sys.platform, platform.system = 'darwin', lambda: 'Darwin'\n"
)
WINDOWS = OTHERS + (
    "for name in ('sched_getaffinity', 'posix_fadvise', 'fork', 'killpg', 'sysconf', 'getuid', 'geteuid', 'mkfifo', "
    "'uname', 'O_NONBLOCK', 'O_NOFOLLOW', 'O_CLOEXEC', 'O_DIRECTORY', 'pread', 'preadv', 'pwrite', 'pwritev', "
    "'statvfs'): delattr(os, name)\n"
    "for name in ('fcntl', 'resource', 'pwd', 'grp', 'termios'): sys.modules[name] = None\n"
    "del signal.SIGKILL\n"
    "sys.platform, platform.system = 'win32', lambda: 'Windows'\n"
)
PROGRAM = "from fsrcache.cli import main\nmain(sys.argv[1:])\n"
MODULES = """
import importlib, pathlib
for folder, package in (("fsrcache", "fsrcache"), ("cli", "fsrcache.cli")):
    for path in sorted((pathlib.Path(sys.argv[1]) / folder).rglob("*.py")):
        parts = path.relative_to(pathlib.Path(sys.argv[1]) / folder).with_suffix("").parts
        importlib.import_module(".".join((package, *parts)).removesuffix(".__init__"))
"""


def run(program, *words, cwd):
    command = [sys.executable, "-c", program, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("system", [MACOS, WINDOWS], ids=["macOS", "Windows"])
def test_help_and_faces(tmp_path, system):
    shown = run(system + PROGRAM, "--help", cwd=tmp_path)
    assert shown.returncode == 0
    assert "pretrain" in shown.stdout
    done = run(system + PROGRAM, "data", "drawn:14", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert sum(sum(counts.values()) for counts in json.loads(done.stdout)["splits"].values()) == 14


@pytest.mark.parametrize("system", [MACOS, WINDOWS], ids=["macOS", "Windows"])
def test_every_module_can_be_imported(tmp_path, system):
    assert run(system + MODULES, ROOT, cwd=tmp_path).returncode == 0


@pytest.mark.slow
def test_from_faces_to_a_table_on_macos(tmp_path):
    for words in (
        ["extract", "--data", "drawn:70", "--scales", "2"],
        ["train", "--steps", "5"],
        ["evaluate", "--heads", "frozen"],
        ["verify"],
    ):
        done = run(MACOS + PROGRAM, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "fsr/runs/default/accuracy.png").exists()


def test_the_workflow_names_what_there_is():
    text = (ROOT / ".github/workflows/test.yml").read_text()
    named = re.findall(r"tests/[\w/.]+", text)
    assert len(named) > 3
    assert all((ROOT / name).exists() for name in named)
    assert set(re.findall(r"make (\w+)", text)) == {"docs", "test"}
    assert {"ubuntu-latest", "macos-latest", "windows-latest"} <= set(re.findall(r"[a-z]+-latest", text))
