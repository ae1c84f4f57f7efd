"""FER2013 from faces to a table: pre-train, extract, train, fine-tune the rival, evaluate.

Run as ``python -m fsrcache.benchmarks.fer2013 --data fer2013.csv --workspace DIR --out benchmarks/results``. If it is
interrupted, it goes on where it stopped. It writes ``fer2013.json`` (every command's answer, with machine and
versions), ``fer2013.md`` (the table) and ``fer2013.png``.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

_COMMANDS = (
    ("pretrain",),
    ("extract", "--scales", "1..8"),
    ("train", "--preset", "best"),
    ("baselines", "--rows", "fine-tuned"),
    ("evaluate", "--measures", "accuracy", "--measures", "gap_closed", "--measures", "mean_class_accuracy"),
)
_PACKAGES = ("fsrcache", "torch", "zarr", "numpy", "safetensors")


@click.command
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="FER2013 as a CSV.")
@click.option("--workspace", required=True, type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Where results go.")
@click.option("--rivals/--no-rivals", default=True, help="Whether the fine-tuned extractor is trained too.")
def main(data: Path, workspace: Path, out: Path, rivals: bool) -> None:
    """Run the commands and keep their answers."""
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "commands": [],
    }
    answers = workspace / "answers"
    answers.mkdir(parents=True, exist_ok=True)
    for command in _COMMANDS:
        if command[0] == "baselines" and not rivals:
            continue
        kept = answers / f"{command[0]}.json"
        words = [*command, *(("--data", str(data)) if command[0] == "pretrain" else ())]
        if not kept.exists():
            kept.write_text(_run(*words, "--workspace", str(workspace), "--json"))
        answer = {key: value for key, value in json.loads(kept.read_text()).items() if not _is_path(value)}
        shown = " ".join(["fsrcache", *command, *(("--data", data.name) if command[0] == "pretrain" else ())])
        record["commands"].append({"command": shown, "answer": answer})
    out.mkdir(parents=True, exist_ok=True)
    (out / "fer2013.json").write_text(json.dumps(record, indent=1) + "\n")
    shutil.copy(workspace / "runs/default/table.md", out / "fer2013.md")
    shutil.copy(workspace / "runs/default/accuracy.png", out / "fer2013.png")


def _run(*words: str) -> str:
    program = Path(sys.executable).with_name("fsrcache")
    return subprocess.run([program, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def _is_path(value: object) -> bool:
    return isinstance(value, str) and "/" in value


if __name__ == "__main__":
    main()
