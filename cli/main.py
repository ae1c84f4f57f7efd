"""The ``fsrcache`` command: a group that imports a command only when it is run, and says what failed."""

import errno
import json
import os
import signal
import sys
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from io import TextIOWrapper
from threading import Timer
from types import FrameType
from typing import Any, TextIO

import click
from click.exceptions import NoArgsIsHelpError
from click.shell_completion import CompletionItem

import fsrcache
from fsrcache.cli.help import write_examples
from fsrcache.errors import FsrcacheError
from fsrcache.threads import wait_passively

# Command -> its line in the help. The module and the function have the command's name, with ``_`` for ``-``.
COMMANDS = {
    "pretrain": "Train the extractor on full-resolution faces.",
    "import-tf": "Read CovPoolFER's published TensorFlow checkpoint.",
    "extract": "Write the features of every face at every scale into a store.",
    "info": "Print what a store holds.",
    "verify": "Read everything in a store and report what is damaged.",
    "train": "Train the generator on the store's features.",
    "sweep": "Train generators for combinations of settings and seeds.",
    "runs": "List the training runs: settings, steps, accuracy, age.",
    "baselines": "Train the rivals that need no generator.",
    "evaluate": "Print the table and draw the figure.",
    "degrade": "Write the store's faces as small pictures.",
    "export": "Write a trained model as ONNX, with a model card.",
    "report": "Write table, figures and faces as one HTML file.",
    "predict": "Find faces in pictures and print their expressions.",
    "bench": "Time kernels, training steps and the store.",
    "data": "Print what is recognised in a data set of faces.",
    "draw": "Write drawn faces as a folder of class folders.",
    "doctor": "Examine this machine and a workspace, and say what to do.",
    "completion": "Print a script that completes commands in a shell.",
}
_THAT_GO_ON = ("pretrain", "extract", "train", "sweep", "baselines", "evaluate", "degrade", "draw", "report")
_WAIT, _MOST_WAITS = 0.02, 500  # seconds until Ctrl-C is tried again, and how often
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LazyGroup(click.Group):
    """A group whose commands are imported when asked for, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the names of the commands, in the order in which one uses them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"fsrcache.cli.{name}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples of the whole."""
        write_examples("fsrcache", formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin so, without importing a command."""
        commands = [CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; calls in the remedy of an error become command lines of the command's workspace."""
        try:
            return super().invoke(ctx)
        except FsrcacheError as error:
            raise type(error)(error.what, _remedy_of(error)) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(fsrcache.__version__, package_name="fsrcache")
def group() -> None:
    """Recognise expressions on very small faces by super-resolving features.

    Exit codes: 0 done, 1 the work failed, 2 the request was wrong, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; an error is words on standard error, and JSON on the other if asked for."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        wait_passively()
        with _late_interrupts():
            _escape_what_encodings_lack()
            code = group.main(args=arguments, prog_name="fsrcache", standalone_mode=False, color=_coloured()) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except FsrcacheError as error:
        code = _fail(arguments, error.what, error.remedy, error.exit_code)
    except NoArgsIsHelpError as error:
        with suppress(OSError):
            click.echo(error.format_message(), file=sys.stderr, color=_coloured())
        code = 2
    except click.UsageError as error:
        where = f"See {error.ctx.command_path} --help." if error.ctx else ""
        code = _fail(arguments, error.format_message(), where, 2)
    except (click.Abort, KeyboardInterrupt):
        onwards = " to go on" if arguments[:1] and arguments[0] in _THAT_GO_ON else ""
        code = _fail(arguments, "Interrupted.", f"Run the same command again{onwards}.", 130)
    except BrokenPipeError:  # the reader of standard output has gone
        code = 1
    except OSError as error:
        code = _fail(arguments, *_words(error), 1)
    finally:
        _drain(sys.stdout)
        _drain(sys.stderr)
    sys.exit(code)


def _coloured() -> bool | None:
    """Return False where colours are not wanted; None leaves them to what the stream is."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") in ("dumb", "unknown")  # as rich has it
    return False if unwanted else None


def _escape_what_encodings_lack() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _late_interrupts() -> Iterator[None]:
    """Have Ctrl-C wait for the end of an import and of a stream's settings, for some seconds at most.

    In an import Python may drop it, in a callback of its import lock, and libraries in C++ that import Python abort.
    A stream interrupted while its encoder is replaced has none, and writes nothing more.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # such as in a shell's background
        yield
        return
    waits = iter(range(_MOST_WAITS))

    def interrupt(number: int, frame: FrameType | None) -> None:
        outer = frame
        while outer is not None and not _runs_whole(outer):
            outer = outer.f_back
        if outer is None or next(waits, None) is None:
            signal.default_int_handler(number, frame)
        again = Timer(_WAIT, interrupt_main)
        again.daemon = True
        again.start()

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _runs_whole(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_filename.startswith("<frozen importlib") or code is _escape_what_encodings_lack.__code__


@contextmanager
def after_answer() -> Iterator[None]:
    """Do what comes after the answer: a failure goes to standard error alone, and the exit code is 1."""
    try:
        yield
    except FsrcacheError as error:
        _say(error.what, _remedy_of(error))
        raise click.exceptions.Exit(1) from None
    except OSError as error:
        _say(*_words(error))
        raise click.exceptions.Exit(1) from None


@contextmanager
def matplotlib_import() -> Iterator[None]:
    """Import matplotlib; what keeps it from being loaded is one error of ours."""
    try:
        yield
    except (ImportError, OSError, ValueError) as error:  # of its installation, its folder or its settings
        raise FsrcacheError(
            f"matplotlib cannot be loaded, and no figure drawn: {error}.",
            "Check its installation and its matplotlibrc.",
        ) from error


def to_json(record: dict[str, Any]) -> str:
    """Return one JSON document without NaN, in ASCII where standard output cannot encode it otherwise."""
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(record, indent=2, allow_nan=False)
    return text


def _fail(arguments: list[str], what: str, remedy: str, code: int) -> int:
    _say(what, remedy)
    if "--json" in arguments:
        with suppress(OSError):
            click.echo(to_json({"error": what, "remedy": remedy, "exit_code": code}))
    return code


def _remedy_of(error: FsrcacheError) -> str:
    from fsrcache.cli.remedies import remedy_of  # not while --help is printed

    return remedy_of(error)


def _say(what: str, remedy: str) -> None:
    with suppress(OSError):  # where nothing can be written, the exit code says it
        text = f"{click.style('Error:', fg='red', bold=True)} {what}"
        text = f"{text}\n{remedy}" if remedy else text
        click.echo(text, file=sys.stderr, color=_coloured())  # by itself it takes UTF-8 for ASCII


def _words(error: OSError) -> tuple[str, str]:
    """Return what went wrong, and the remedy."""
    if error.filename:
        what = f"{error.filename}: {error.strerror}."
    elif error.errno in _FULL:
        what = f"Standard output or a file cannot be written: {error.strerror}."
    else:
        what = f"{error}."
    return what, "Check the path, its permissions and the space left."


def _drain(stream: TextIO | None) -> None:
    """Write out what waits in a stream; what it cannot write is dropped, or Python itself says so on leaving."""
    if stream is None:  # closed from the beginning
        return
    try:
        stream.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
