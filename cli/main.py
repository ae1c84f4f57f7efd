"""The ``fsrcache`` command: a group that imports a command only when it is run, and says what failed."""

import json
import sys
from importlib import import_module
from typing import Any

import click

import fsrcache
from fsrcache.errors import FsrcacheError

# Command -> its line in the help. The module and the function have the command's name.
COMMANDS = {
    "pretrain": "Train the extractor on full-resolution faces.",
    "extract": "Write the features of every face at every scale into a store.",
    "info": "Print what a store holds.",
    "verify": "Read everything in a store and report what is damaged.",
    "train": "Train the generator on the store's features.",
    "baselines": "Train the rivals that need no generator.",
    "evaluate": "Print the table and draw the figure.",
    "bench": "Time kernels, training steps and the store.",
    "data": "Print what is recognised in a data set of faces.",
    "draw": "Write drawn faces as a folder of class folders.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when asked for, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names of the commands, in the order in which one uses them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"fsrcache.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fsrcache.__version__, package_name="fsrcache")
def group() -> None:
    """Recognise expressions on very small faces by super-resolving features.

    Exit codes: 0 done, 1 the work failed, 2 the request was wrong.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; an error is words on standard error, and JSON on the other if asked for."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = group.main(args=arguments, prog_name="fsrcache", standalone_mode=False) or 0
    except FsrcacheError as error:
        code = _fail(arguments, error.what, error.remedy, error.exit_code)
    except click.UsageError as error:
        where = f"See {error.ctx.command_path} --help." if error.ctx else ""
        code = _fail(arguments, error.format_message(), where, 2)
    except (click.Abort, KeyboardInterrupt):
        code = _fail(arguments, "Interrupted.", "Run the same command again to go on.", 1)
    except BrokenPipeError:  # the reader of standard output has gone
        sys.stderr.close()
        code = 1
    except OSError as error:
        what = f"{error.filename}: {error.strerror}." if error.filename else f"{error}."
        code = _fail(arguments, what, "Check the path, its permissions and the space left.", 1)
    sys.exit(code)


def _fail(arguments: list[str], what: str, remedy: str, code: int) -> int:
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {what}", err=True)
    if remedy:
        click.echo(remedy, err=True)
    if "--json" in arguments:
        click.echo(to_json({"error": what, "remedy": remedy, "exit_code": code}))
    return code


def to_json(record: dict[str, Any]) -> str:
    """Return one JSON document without NaN."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
