"""mypy sees every module of the mapped roots, and finds them well typed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def check(folder):
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        ROOT / "pyproject.toml",
        "-p",
        "fsrcache",
        "-p",
        "studies",
    ]
    # A cache of its own: one kept from earlier folders has hidden an error.
    cache = ["--cache-dir", folder / "cache"]
    done = subprocess.run([*command, *cache], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_types(tmp_path):
    package = tmp_path / "fsrcache"
    package.mkdir()
    for path in (ROOT / "fsrcache").iterdir():
        (package / path.name).symlink_to(path)
    for root in ("cli", "kernels", "benchmarks"):
        if (ROOT / root).is_dir():
            (package / root).symlink_to(ROOT / root)
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    code, said = check(tmp_path)
    assert code == 0, said
    files = sum(
        len(list((ROOT / root).rglob("*.py"))) for root in ("fsrcache", "cli", "kernels", "benchmarks", "studies")
    )
    assert f"no issues found in {files} source files" in said
    (package / "planted.py").write_text("from fsrcache.cli.main import to_json\n\nwrong: int = to_json({})\n")
    code, said = check(tmp_path)
    assert code == 1
    assert "planted.py:3: error: Incompatible types" in said
