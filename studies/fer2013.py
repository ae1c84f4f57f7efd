"""FER2013 from faces to a table: pre-train, extract, train, fine-tune the rival, evaluate.

Run as ``python -m studies.fer2013 --data fer2013.csv --workspace DIR --out benchmarks/results``. If it is
interrupted, it goes on where it stopped. The generator is trained with several seeds on one extractor. It writes
``fer2013.json`` (every command's answer, with machine and versions), ``fer2013.md`` (the first seed's table, and the
means over seeds) and ``fer2013.png`` (the first seed's); with ``--mixed``, which takes a workspace of its own,
``fer2013-mixed.*``.
"""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
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
@click.option("--seeds", default=3, show_default=True, help="Of the generator's training.")
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
    tables: list[list[dict[str, Any]]] = []
    for name, command in _commands(rivals=rivals, mixed=mixed, seeds=seeds):
        kept = answers / f"{name}.json"
        words = [*command, *(("--data", str(data)) if command[0] == "pretrain" else ())]
        if not kept.exists():
            kept.write_text(_run(*words, "--workspace", str(workspace), "--json"))
        answer = _without_paths(json.loads(kept.read_text()), workspace)
        shown = " ".join(["fsrcache", *command, *(("--data", data.name) if command[0] == "pretrain" else ())])
        record["commands"].append({"command": shown, "answer": answer})
        if command[0] == "evaluate":
            tables.append(answer["rows"])
            record["over_seeds"] = over_seeds(tables)
        (out / f"{title}.json").write_text(json.dumps(record, indent=1) + "\n")
    first = workspace / "runs/seed-0"
    (out / f"{title}.md").write_text((first / "table.md").read_text() + "\n" + means(record["over_seeds"]))
    shutil.copy(first / "accuracy.png", out / f"{title}.png")


def _commands(*, rivals: bool, mixed: bool, seeds: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the commands and what their answers are called; the first seed is evaluated with every head."""
    if mixed:  # by a name of its own: a workspace pre-trained otherwise is refused
        yield "pretrain-mixed", ("pretrain", "--scales", "1..8")
    else:
        yield "pretrain", ("pretrain",)
    yield "extract", ("extract", "--scales", "1..8")
    if rivals:
        yield "baselines", ("baselines", "--rows", "fine-tuned")
    for seed in range(seeds):
        name = f"seed-{seed}"
        yield f"train-{name}", ("train", "--preset", "best", "--seed", str(seed), "--name", name)
        heads = ("--heads", "frozen") if seed else ()
        yield f"evaluate-{name}", ("evaluate", "--name", name, *heads, *_MEASURES)


def over_seeds(tables: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return FSR-FER's figures with the frozen head by scale: the mean over seeds and the sample deviation."""
    figures = []
    for scale in sorted({row["scale"] for row in tables[0]}):
        line: dict[str, Any] = {"scale": scale, "seeds": len(tables)}
        for measure in ("accuracy", "gap_closed"):
            values = [
                row[measure]
                for rows in tables
                for row in rows
                if (row["row"], row["head"], row["scale"]) == ("FSR-FER", "frozen", scale)
            ]
            if None not in values:
                line[measure] = mean(values)
                line[f"{measure}_deviation"] = stdev(values) if len(values) > 1 else None
        figures.append(line)
    return figures


def means(figures: list[dict[str, Any]]) -> str:
    """Return the means over seeds as Markdown."""
    names = ["HR" if line["scale"] == 1 else f"x{line['scale']}" for line in figures]
    seeds = "one seed" if figures[0]["seeds"] == 1 else f"{figures[0]['seeds']} seeds"
    lines = [[f"FSR-FER, frozen head, {seeds}", *names], ["---"] + ["---:"] * len(names)]
    for title, measure, form in (
        ("total accuracy, %", "accuracy", ".1f"),
        ("its deviation over seeds", "accuracy_deviation", ".1f"),
        ("share of the gap closed, %", "gap_closed", ".0f"),
        ("its deviation over seeds", "gap_closed_deviation", ".0f"),
    ):
        cells = ["" if line.get(measure) is None else format(line[measure], form) for line in figures]
        if any(cells):  # one seed has no deviation
            lines.append([title, *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


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
