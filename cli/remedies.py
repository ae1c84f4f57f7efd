"""What to do about an error, for whom typed a command: calls in a remedy as command lines of the same workspace."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from fsrcache.cli.paths import WORKSPACE
from fsrcache.errors import Call, FsrcacheError, Remedy
from fsrcache.workspace import Workspace

_OPTIONS = {"names": "name", "settings": "set", "layout": "format"}  # of arguments by another name
_SEPARATORS = {"part": "/", "rows": ","}  # of values that one option has together


def remedy_of(error: FsrcacheError) -> str:
    """Return what to do about an error, as command lines."""
    return for_shell(error.remedy)


def for_shell(remedy: str) -> str:
    """Return a remedy with its calls as command lines."""
    return remedy.shown(command_line) if isinstance(remedy, Remedy) else remedy


def command_line(call: Call) -> str:
    """Return a call as a command line, with the workspace of the running command where it is not the default one."""
    values = dict(call.arguments)
    if not call.verb:
        return " ".join(_options(values))
    words = ["fsrcache", call.verb]
    store = values.pop("store", None)
    if call.about_store:
        words.append(shlex.quote(str(store)))
    else:
        workspace = Workspace(values.pop("workspace", None) or _current().folder)
        if workspace != _default():
            values["workspace"] = _short(workspace.folder)
        if store not in (None, str(workspace.store)):
            values["store"] = store
    return " ".join([*words, *_options({name: values[name] for name in _order(values)})])


def _order(values: dict[str, Any]) -> list[str]:
    """Return the names of arguments, workspace and store first."""
    return sorted(values, key=lambda name: name not in ("workspace", "store"))


def _options(values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        option = f"--{_OPTIONS.get(name, name).replace('_', '-')}"
        if value is True:
            yield option
        elif name in ("names", "settings"):
            yield from (f"{option} {shlex.quote(one)}" for one in value)
        else:
            yield f"{option} {shlex.quote(_text(name, value))}"


def _text(name: str, value: Any) -> str:
    if name in _SEPARATORS:
        return _SEPARATORS[name].join(map(str, value))
    if name != "scales":
        return str(value)
    numbers = list(value)
    whole = len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]}..{numbers[-1]}" if whole else ",".join(map(str, numbers))


def _current() -> Workspace:
    """Return the workspace of the running command."""
    context = click.get_current_context(silent=True)
    workspace = None if context is None else context.meta.get(WORKSPACE)
    return workspace if isinstance(workspace, Workspace) else _default()


def _default() -> Workspace:
    """Return the workspace of a command without the option."""
    return Workspace(Path(os.environ.get(WORKSPACE) or "fsr"))


def _short(folder: Path) -> str:
    """Return a folder as one types it: relative where it lies below the working folder."""
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) and folder != here else str(folder)
