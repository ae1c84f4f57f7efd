"""``fsrcache runs``: list the training runs of a workspace."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from fsrcache.cli.help import Command
from fsrcache.cli.main import to_json
from fsrcache.cli.paths import json_option, workspace_option
from fsrcache.split_names import splits_in_words
from fsrcache.workspace import Workspace

if TYPE_CHECKING:
    from fsrcache.verbs.runs import RunSummary

_HEADER = ("run", "state", "steps", "held-out %", "seed", "age", "preset")
_UNITS = (("days", 86_400), ("h", 3600), ("min", 60))  # of ages, from two of each on


@click.command(cls=Command)
@workspace_option
@json_option
def runs(workspace: Workspace, as_json: bool) -> None:
    """List the training runs: steps, accuracy on held-out faces, seed, age, the preset and what differs from it.

    Scales that are not those of the store, and extra splits, stand behind it as the options of fsrcache train. A run is
    finished, interrupted (the same fsrcache train goes on with it), under way, or damaged.
    """
    from fsrcache.verbs.runs import runs as verb  # and torch, not for --help and completion

    summaries = verb(workspace)
    if as_json:
        click.echo(to_json({"runs": [asdict(run) for run in summaries]}))
    elif summaries:
        _print([_HEADER, *map(_line, summaries)])
    else:
        click.echo(f"There are no runs in {workspace.folder}.")


def _print(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip())


def _line(run: "RunSummary") -> tuple[str, ...]:
    steps = "–" if run.steps is None else f"{run.step:,} of {run.steps:,}"
    accuracy = "–" if run.held_out_accuracy is None else f"{run.held_out_accuracy:.1f}"
    seed = "–" if run.seed is None else str(run.seed)
    threads = ["(went on under another number of threads)"] * bool(run.earlier_threads)
    coarse = ",".join(str(scale) for scale in run.scales if scale > 1)
    data = [f"--scales {coarse}"] * bool(coarse) + [f"--extra {splits_in_words(run.extra)}"] * bool(run.extra)
    preset = " ".join((run.preset, *run.settings, *data, *threads))
    return run.name, run.state, steps, accuracy, seed, _age(run.age), preset


def _age(seconds: float) -> str:
    unit, length = next(((unit, length) for unit, length in _UNITS if seconds >= 2 * length), ("s", 1))
    return f"{seconds // length:,.0f} {unit}"
