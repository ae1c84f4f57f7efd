"""FER2013 from faces to a table: pre-train, extract, train, fine-tune the rival, evaluate.

Run as ``python -m studies.fer2013 --data fer2013.csv --workspace DIR --out benchmarks/results``. If it is
interrupted, it goes on where it stopped. The generator is trained with several seeds on one extractor. It writes
``fer2013.json`` (every command's answer, with machine and versions), ``fer2013.md`` (the table, means over the seeds)
and ``fer2013.png``; with ``--mixed`` ``fer2013-mixed.*``, and with ``--extractor examples.mini_xception:factory``
``fer2013-mini-xception.*``, each of which needs a workspace of its own.
"""

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from fsrcache.threads import usable_cores

_MEASURES = ("--measures", "accuracy", "--measures", "gap_closed", "--measures", "mean_class_accuracy")
_PACKAGES = ("fsrcache", "torch", "zarr", "numpy", "safetensors")


@click.command
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="FER2013 as a CSV.")
@click.option("--workspace", required=True, type=click.Path(path_type=Path), help="Folder of all results.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
@click.option("--rivals/--no-rivals", default=True, help="Whether the fine-tuned extractor is trained too.")
@click.option("--mixed", is_flag=True, help="Pre-train the extractor on scales 1..8 instead of full resolution alone.")
@click.option("--extractor", help="Somebody's network, as extract --extractor takes it, instead of a pre-trained one.")
@click.option("--seeds", default=3, show_default=True, help="Number of the generator's trainings.")
def main(data: Path, workspace: Path, out: Path, rivals: bool, mixed: bool, extractor: str | None, seeds: int) -> None:
    """Run the commands and keep their answers."""
    title = "fer2013-mixed" if mixed else "fer2013"
    if extractor is not None:
        title = f"fer2013-{re.sub(r'[^a-z0-9]+', '-', extractor.split(':')[0].split('.')[-1].lower())}"
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {usable_cores()} cores, {platform.system()}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "commands": [],
    }
    answers = workspace / "answers"
    answers.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    for name, command in _commands(rivals=rivals, mixed=mixed, extractor=extractor, seeds=seeds):
        file = answers / f"{name}.json"
        first_command = not record["commands"]  # the one that gets --data
        words = [*command, *(("--data", str(data)) if first_command else ())]
        if not file.exists():
            file.write_text(_run(*words, "--workspace", str(workspace), "--json"))
        answer = _without_paths(json.loads(file.read_text()), workspace)
        shown = " ".join(["fsrcache", *command, *(("--data", data.name) if first_command else ())])
        record["commands"].append({"command": shown, "answer": answer})
        (out / f"{title}.json").write_text(json.dumps(record, indent=1) + "\n")
    first = workspace / "runs/seed-0"
    shutil.copy(first / "table.md", out / f"{title}.md")
    shutil.copy(first / "accuracy.png", out / f"{title}.png")


def _commands(*, rivals: bool, mixed: bool, extractor: str | None, seeds: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the commands and the names of their answers."""
    if extractor is not None:
        yield "extract", ("extract", "--extractor", extractor, "--scales", "1..8")
    elif mixed:  # by a name of its own: a workspace pre-trained otherwise is refused
        yield "pretrain-mixed", ("pretrain", "--scales", "1..8")
    else:
        yield "pretrain", ("pretrain",)
    if extractor is None:
        yield "extract", ("extract", "--scales", "1..8")
    if rivals:
        yield "baselines", ("baselines", "--rows", "fine-tuned")
    names = [f"seed-{seed}" for seed in range(seeds)]
    for seed, name in enumerate(names):
        yield f"train-{name}", ("train", "--preset", "best", "--seed", str(seed), "--name", name)
    yield "evaluate", ("evaluate", *(word for name in names for word in ("--name", name)), *_MEASURES)


def _run(*words: str) -> str:
    program = Path(sys.executable).with_name("fsrcache")
    completed = subprocess.run([program, *words], check=False, stdout=subprocess.PIPE, text=True)
    if completed.returncode:
        sys.exit(completed.returncode)  # the command has printed why
    return completed.stdout


def _without_paths(answer: dict[str, Any], workspace: Path) -> dict[str, Any]:
    """Return an answer without its paths, absolute or in the workspace, which mean nothing on another machine."""
    return {
        key: _without_paths(value, workspace) if isinstance(value, dict) else value
        for key, value in answer.items()
        if not (isinstance(value, str) and value.startswith(("/", f"{workspace}/")))
    }


if __name__ == "__main__":
    main()
