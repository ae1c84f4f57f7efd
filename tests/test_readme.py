"""The README and the program agree: every command is in it, and every command in it exists."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from fsrcache.cli.main import COMMANDS, group
from fsrcache.store.verify import verify

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
SHOWN = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command):
    assert any(line.startswith(f"fsrcache {command}") for line in SHOWN)


@pytest.mark.parametrize("line", [line for line in SHOWN if line.startswith("fsrcache")])
def test_every_command_in_the_readme_is_understood(line):
    words = shlex.split(line, comments=True)[1:]
    context = click.Context(group, info_name="fsrcache")
    if words[0].startswith("-"):
        assert words[0] in ("--help", "--version")
        return
    command = group.get_command(context, words[0])
    assert command is not None
    command.make_context(words[0], words[1:], parent=context, resilient_parsing=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help(command):
    loaded = group.get_command(click.Context(group), command)
    assert loaded is not None
    assert loaded.get_short_help_str()
    for parameter in loaded.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{command} {parameter.opts}"


@pytest.mark.slow
def test_the_example_with_a_network_of_ones_own_runs_and_runs_again(tmp_path):
    (example,) = (block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "FeatureWriter" in block)
    for _ in range(2):
        said = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert float(said.stdout.removeprefix("accuracy on test: ")) > 0.8
    assert verify(tmp_path / "vectors.zarr").ok


def test_make_targets_in_the_readme_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [line.split()[1] for line in SHOWN if line.startswith("make ")]
    assert {"demo", "test"} <= set(named) <= set(targets)


def test_pictures_and_files_of_the_readme_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (ROOT / target).exists(), target
