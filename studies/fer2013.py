"""FER2013 from faces to a table: pre-train, extract, train, fine-tune the rival, evaluate.

Run as ``python -m studies.fer2013 --data fer2013.csv --workspace DIR --out benchmarks/results``. If it is
interrupted, it goes on where it stopped. The generator is trained with several seeds on one extractor. It writes
``fer2013.json`` (every command's answer, with machine and versions), ``fer2013.md`` (the table, means over the seeds)
and ``fer2013.png``; with ``--mixed``, which needs a workspace of its own, ``fer2013-mixed.*``.
"""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from fsrcache.ahead import usable_cores

_MEASURES = ("--measures", "accuracy", "--measures", "gap_closed", "--measures", "mean_class_accuracy")
_PACKAGES = ("fsrcache", "torch", "zarr", "numpy", "safetensors")


@click.command
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="FER2013 as a CSV.")
@click.option("--workspace", required=True, type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where results go.")
@click.option("--rivals/--no-rivals", default=True, help="Whether the fine-tuned extractor is trained too.")
@click.option("--mixed", is_flag=True, help="Pre-train the extractor on scales 1..8 instead of full resolution alone.")
@click.option("--seeds", default=3, show_default=True, help="Number of the generator's trainings.")
def main(data: Path, workspace: Path, out: Path, rivals: bool, mixed: bool, seeds: int) -> None:
    """Run the commands and keep their answers."""
    title = "fer2013-mixed" if mixed else "fer2013"
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {usable_cores()} cores, {platform.system()}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "commands": [],
    }
    answers = workspace / "answers"
    answers.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    for name, command in _commands(rivals=rivals, mixed=mixed, seeds=seeds):
        kept = answers / f"{name}.json"
        words = [*command, *(("--data", str(data)) if command[0] == "pretrain" else ())]
        if not kept.exists():
            kept.write_text(_run(*words, "--workspace", str(workspace), "--json"))
        answer = _without_paths(json.loads(kept.read_text()), workspace)
        shown = " ".join(["fsrcache", *command, *(("--data", data.name) if command[0] == "pretrain" else ())])
        record["commands"].append({"command": shown, "answer": answer})
        (out / f"{title}.json").write_text(json.dumps(record, indent=1) + "\n")
    first = workspace / "runs/seed-0"
    shutil.copy(first / "table.md", out / f"{title}.md")
    shutil.copy(first / "accuracy.png", out / f"{title}.png")


def _commands(*, rivals: bool, mixed: bool, seeds: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the commands and the names of their answers."""
    if mixed:  # by a name of its own: a workspace pre-trained otherwise is refused
        yield "pretrain-mixed", ("pretrain", "--scales", "1..8")
    else:
        yield "pretrain", ("pretrain",)
    yield "extract", ("extract", "--scales", "1..8")
    if rivals:
        yield "baselines", ("baselines", "--rows", "fine-tuned")
    names = [f"seed-{seed}" for seed in range(seeds)]
    for seed, name in enumerate(names):
        yield f"train-{name}", ("train", "--preset", "best", "--seed", str(seed), "--name", name)
    yield "evaluate", ("evaluate", *(word for name in names for word in ("--name", name)), *_MEASURES)


def _run(*words: str) -> str:
    program = Path(sys.executable).with_name("fsrcache")
    done = subprocess.run([program, *words], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)  # the command has said why
    return done.stdout


def _without_paths(answer: dict[str, Any], workspace: Path) -> dict[str, Any]:
    """Return an answer without the paths in it, absolute or in the workspace, which say nothing elsewhere."""
    return {
        key: _without_paths(value, workspace) if isinstance(value, dict) else value
        for key, value in answer.items()
        if not (isinstance(value, str) and value.startswith(("/", f"{workspace}/")))
    }


if __name__ == "__main__":
    main()
