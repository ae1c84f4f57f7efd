"""``fsrcache completion``: print the script with which a shell completes commands, options and paths."""

import click
from click.shell_completion import get_completion_class

from fsrcache.cli.help import Command
from fsrcache.cli.main import group

_VARIABLE = "_FSRCACHE_COMPLETE"  # in the environment of a call that asks for completions


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script with which SHELL completes the commands, their options and paths at the Tab key.

    \b
    For this shell alone:   source <(fsrcache completion bash)
    bash, for good:         into ~/.local/share/bash-completion/completions/fsrcache
    zsh, for good:          into a file _fsrcache in a folder of $fpath, before compinit
    fish, for good:         into ~/.config/fish/completions/fsrcache.fish
    """  # noqa: D301  # \b keeps the lines as they are
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(group, {}, "fsrcache", _VARIABLE).source())
