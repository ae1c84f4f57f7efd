"""Every command's help ends with two examples, and the command understands them."""

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from fsrcache.cli.help import EXAMPLES
from fsrcache.cli.main import COMMANDS, group
from fsrcache.faces.layouts.drawn import DEFAULT_COUNT


def help_of(name):
    """Return the help of a command, or of the whole."""
    context = click.Context(group, info_name="fsrcache")
    if name == "fsrcache":
        return group.get_help(context)
    command = group.get_command(context, name)
    assert command is not None
    return command.get_help(click.Context(command, info_name=name, parent=context))


def test_examples_are_of_commands():
    assert set(EXAMPLES) == {"fsrcache", *COMMANDS}


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_ends_with_two_examples_that_can_be_copied(name):
    shown, lines = help_of(name).rpartition("\nExamples:\n")[2], []
    for text, line in EXAMPLES[name]:
        assert text.endswith(":")
        lines += [f"  {text}", f"    {line}"]
    assert len(lines) == 4
    assert shown.splitlines() == lines


def test_defaults_are_true_whatever_the_environment_says():
    command = group.get_command(click.Context(group), "info")
    shown = " ".join(command.get_help(click.Context(command, info_name="info")).split())
    assert "[default: FSRCACHE_WORKSPACE, or ./fsr]" in shown
    assert f"built-in drawn faces, {DEFAULT_COUNT:,} of them" in " ".join(help_of("data").split())


@pytest.mark.parametrize("name", ["train", "pretrain"])
def test_of_two_answers_that_are_asked_for_none_is_dropped(name):
    done = CliRunner().invoke(group, [name, "--show", "--dry-run"])
    assert (done.exit_code, "--show and --dry-run are two answers" in done.stderr) == (2, True)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_understood(name):
    for _, line in EXAMPLES[name]:
        program, *words = shlex.split(re.sub(r" > .*", "", line))
        assert program == "fsrcache"
        context = click.Context(group, info_name="fsrcache")
        command = group.get_command(context, words[0])
        assert command is not None
        assert name in ("fsrcache", words[0])
        command.make_context(words[0], words[1:], parent=context)
