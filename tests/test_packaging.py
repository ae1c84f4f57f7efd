"""The wheel, in a fresh environment outside the checkout, is the whole program."""

import importlib
import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import fsrcache

ROOT = Path(__file__).parents[1]


def run(*command, cwd):
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    source = tmp_path / "source"  # a copy, so that building leaves nothing in the checkout
    run("git", "clone", "--quiet", "--no-hardlinks", ROOT, source, cwd=tmp_path)
    run(*build, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("fsrcache-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"fsrcache/py.typed", "fsrcache/cli/main.py", "fsrcache/faces/layouts/rafdb.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert all(name.startswith(("fsrcache/", "fsrcache-")) for name in names)

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    # What these commands load; torch and triton, gigabytes on some machines, are installed by `make` itself.
    needed = ("click", "numpy", "pillow", "rich")
    pip = (python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt")
    run(*pip, *needed, cwd=tmp_path)
    run(*pip, "--no-deps", wheel, cwd=tmp_path)
    program = tmp_path / "venv/bin/fsrcache"
    assert fsrcache.__version__ in run(program, "--version", cwd=tmp_path)
    assert "Usage: fsrcache data" in run(program, "data", "--help", cwd=tmp_path)
    assert json.loads(run(program, "data", "drawn:70", "--json", cwd=tmp_path))["layout"] == "drawn"
    where = run(python, "-c", "import fsrcache.cli as cli; print(cli.__file__)", cwd=tmp_path)
    assert str(tmp_path / "venv") in where


def test_the_checkout_is_what_is_tested():
    for name in ("fsrcache", "fsrcache.cli", "fsrcache.kernels", "fsrcache.benchmarks"):
        assert Path(importlib.import_module(name).__file__).is_relative_to(ROOT), "make -B .venv/.ready"
