"""What stands beside the code agrees with it: version, licence, Pythons, tools."""

import re
import tomllib
from pathlib import Path

import fsrcache

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = (ROOT / ".github/workflows/test.yml").read_text()


def test_the_citation_is_of_this_version():
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    fields = dict(line.split(": ", 1) for line in lines if re.match(r"[a-z-]+: ", line))
    assert {"cff-version", "message", "title", "version", "license"} <= set(fields)
    assert fields["version"] == fsrcache.__version__
    assert fields["license"] == PROJECT["license"]
    for key in ("authors:", "references:"):
        assert lines[lines.index(key) + 1].startswith("  - ")


def test_the_newest_section_of_the_changelog_is_of_this_version():
    headings = re.findall(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text() + " ", re.MULTILINE)
    assert headings[0] == fsrcache.__version__


def test_every_python_that_is_named_is_tested():
    prefix = "Programming Language :: Python :: "
    named = {line.removeprefix(prefix) for line in PROJECT["classifiers"] if line.startswith(prefix)}
    assert set(re.search(r"python: \[(.*)\]", WORKFLOW)[1].replace('"', "").split(", ")) == named
    assert f">={min(named, key=lambda version: int(version.split('.')[1]))}" == PROJECT["requires-python"]


def test_a_job_has_no_triton():
    job = WORKFLOW[WORKFLOW.index("  without-triton:") : WORKFLOW.index("  elsewhere:")]
    steps = [job.index(f"- run: {step}") for step in (">", "python -m pip uninstall --yes triton", "fsrcache doctor")]
    assert steps == sorted(steps)
    assert "tests/kernels/test_without_triton.py" in job[steps[-1] :]


def test_files_that_contributing_names_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = [path for path in re.findall(r"`([\w/.]+)`", text) if re.search(r"/|\.(toml|txt|md)$", path)]
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "fsrcache" / path).exists(), path


def test_ruff_looks_at_every_commit_as_make_does():
    text, makefile = (ROOT / ".pre-commit-config.yaml").read_text(), (ROOT / "Makefile").read_text()
    for command in ("ruff check", "ruff format --check"):
        assert f"entry: .venv/bin/{command} " in text
        assert f"$(BIN)/{command} ." in makefile
