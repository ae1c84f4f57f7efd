"""A table of all rows from faces: pre-train, extract, train the generator and every rival, evaluate.

Run as ``python -m studies.table --title fer2013 --data fer2013.csv --workspace DIR --out benchmarks/results``. Every
row is a command for every seed; if the study is interrupted, or called again with more rows or seeds, it goes on. The
generator and the rivals are trained with several seeds on one extractor; rows that no seed changes with one, and those
of ``--seeds-of`` with as many as it says. Two trainings at once with a core each (``--at-once 2``) take less time than
one after the other with both. It writes ``TITLE.json`` (every command's answer, with machine and versions),
``TITLE.md`` (the table, means over the seeds) and ``TITLE.png``. Other extractors and other data need a workspace and
a title of their own.
"""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from threading import Event
from typing import Any

import click

from fsrcache.rows.generated import NAME
from fsrcache.rows.index import rows_to_train
from fsrcache.threads import usable_cores
from studies.command import StudyCommand

_MEASURES = (
    "accuracy", "gap_closed", "ceiling_reached", "mean_class_accuracy", "macro_f1", "distance", "calibration", "cost",
)  # fmt: skip
_PACKAGES = ("fsrcache", "torch", "zarr", "numpy", "safetensors")
_NO_SEED = ("ridge", "ridge-per-scale")  # solved in closed form
_SEEDS_OF = {"specialists": 1}  # one network a scale

Command = tuple[str, ...]


@click.command(cls=StudyCommand)
@click.option("--data", required=True, type=click.Path(path_type=Path, exists=True), help="Faces with their classes.")
@click.option("--workspace", required=True, type=click.Path(path_type=Path), help="Folder of all results.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
@click.option("--title", required=True, help="Name of the files in it, fer2013 for fer2013.md.")
@click.option("--rows", default="all", show_default=True, help="Rivals, as baselines --rows takes them, or none.")
@click.option("--seeds", default=3, show_default=True, help="Number of trainings of the generator and of every rival.")
@click.option("--seeds-of", type=(str, click.IntRange(1)), multiple=True,
              show_default=", ".join(f"{row} {count}" for row, count in _SEEDS_OF.items()), metavar="ROW N",
              help="Another number of seeds of a row, FSR-FER too; repeatable.")  # fmt: skip
@click.option("--at-once", type=click.IntRange(1), default=1, show_default=True,
              help="Number of trainings at a time, among which the cores are shared.")  # fmt: skip
@click.option("--side", type=int, help="Side of the pictures, as pretrain --side takes it.  [default: their own]")
@click.option("--views", default=0, show_default=True, help="Views of every training face, as extract --views.")
@click.option("--split", type=click.Choice(["val", "test"]), help="Split to report, as evaluate --split.")
@click.option("--mixed", is_flag=True, help="Pre-train the extractor on scales 1..8 instead of full resolution alone.")
@click.option("--extractor", help="Somebody's network, as extract --extractor takes it, instead of a pre-trained one.")
def main(
    data: Path,
    workspace: Path,
    out: Path,
    title: str,
    rows: str,
    seeds: int,
    seeds_of: tuple[tuple[str, int], ...],
    at_once: int,
    side: int | None,
    views: int,
    split: str | None,
    mixed: bool,
    extractor: str | None,
) -> None:
    """Run the commands and keep their answers."""
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {usable_cores()} cores, {platform.system()}",
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "commands": [],
    }
    rivals = [] if rows == "none" else [row.NAME for row in rows_to_train(rows.split(","))]
    counts = {**_SEEDS_OF, **seeds_of_rows(seeds_of, rivals)}
    answers = workspace / "answers"
    answers.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    features = list(features_commands(side=side, views=views, mixed=mixed, extractor=extractor))
    trainings = list(training_commands(rivals, seeds=seeds, seeds_of=counts))
    refuse_other_features(answers, features, trainings)
    threads = max(1, usable_cores() // at_once)
    where = ("--workspace", str(workspace), "--json")
    stopped = Event()

    def answer_of(name: str, command: Command, *, anew: bool = False) -> Any:
        given = (*command, *(("--data", str(data)) if name == features[0][0] else ()), *where)
        of_training = at_once > 1 and (name, command) in trainings
        return _kept_answer(answers / f"{name}.json", given, threads=threads if of_training else None, anew=anew)

    def training_answer(name: str, command: Command) -> Any:
        try:
            return None if stopped.is_set() else answer_of(name, command)
        except SystemExit:
            stopped.set()  # before this worker takes the next training, which no Ctrl-C would reach
            raise

    def keep(name: str, command: Command, answer: Any) -> None:
        shown = " ".join(["fsrcache", *command, *(("--data", data.name) if name == features[0][0] else ())])
        record["commands"].append({"command": shown, "answer": without_paths(answer, workspace)})
        (out / f"{title}.json").write_text(json.dumps(record, indent=1) + "\n")

    for name, command in features:
        keep(name, command, answer_of(name, command))
    with ThreadPoolExecutor(at_once) as pool:
        waited = [(name, command, pool.submit(training_answer, name, command)) for name, command in trainings]
        try:
            for name, command, one in waited:
                keep(name, command, one.result())
        except BaseException:
            stopped.set()
            raise
    evaluation = evaluate_command(counts.get(NAME, seeds), split=split)
    keep("evaluate", evaluation, answer_of("evaluate", evaluation, anew=True))  # rows may have come since
    first = workspace / "runs/seed-0"
    shutil.copy(first / "table.md", out / f"{title}.md")
    shutil.copy(first / "accuracy.png", out / f"{title}.png")


def seeds_of_rows(pairs: Sequence[tuple[str, int]], rivals: Sequence[str]) -> dict[str, int]:
    """Return the number of seeds by row.

    Raises
    ------
    click.UsageError
        If a row is none of those that are trained, or no seed changes it.
    """
    for row, _ in pairs:
        if row not in (NAME, *rivals):
            raise click.UsageError(f"--seeds-of {row}: no such row is trained; those are {', '.join((NAME, *rivals))}.")
        if row in _NO_SEED:
            raise click.UsageError(f"--seeds-of {row}: it is solved in closed form, and no seed changes it.")
    return dict(pairs)


def features_commands(
    *, side: int | None, views: int, mixed: bool, extractor: str | None
) -> Iterator[tuple[str, Command]]:
    """Yield the commands that make the store, and the names of their answers."""
    extract: Command = ("extract", "--scales", "1..8", *(("--views", f"{views}") if views else ()))
    if extractor is not None:
        yield "extract", (*extract, "--extractor", extractor)
        return
    pretrain: Command = ("pretrain", *(("--side", f"{side}") if side else ()))
    if mixed:  # by a name of its own: a workspace pre-trained otherwise is refused
        yield "pretrain-mixed", (*pretrain, "--scales", "1..8")
    else:
        yield "pretrain", pretrain
    yield "extract", extract


def refuse_other_features(
    answers: Path, features: Sequence[tuple[str, Command]], trainings: Sequence[tuple[str, Command]]
) -> None:
    """Raise ``UsageError`` where kept trainings are of a store that other commands made: of other views, say."""
    kept = [name for name, _ in trainings if (answers / f"{name}.json").exists()]
    for name, command in features:
        file = answers / f"{name}.json"
        words = json.loads(file.read_text())["words"] if file.exists() else []
        if kept and tuple(takewhile(lambda word: word not in ("--data", "--workspace"), words)) != command:
            raise click.UsageError(
                f"{kept[0]} in {answers.parent} was not trained on the features of `fsrcache {' '.join(command)}`. "
                "Use a workspace of its own for these options."
            )


def training_commands(rivals: list[str], *, seeds: int, seeds_of: Mapping[str, int]) -> Iterator[tuple[str, Command]]:
    """Yield the commands that train the generator and the rivals: all rows with the first seed come first."""
    counts = {row: 1 if row in _NO_SEED else seeds_of.get(row, seeds) for row in (NAME, *rivals)}
    for seed in range(max(counts.values())):
        name = f"seed-{seed}"
        for row in (row for row, count in counts.items() if seed < count):
            if row == NAME:
                yield f"train-{name}", ("train", "--preset", "best", "--seed", str(seed), "--name", name)
            else:
                yield f"{row}-{name}", ("baselines", "--rows", row, "--seed", str(seed))


def evaluate_command(seeds: int, *, split: str | None = None) -> Command:
    """Return the command that makes the table of so many runs on a split."""
    names = [("--name", f"seed-{seed}") for seed in range(seeds)]
    measures = [("--measures", measure) for measure in _MEASURES]
    chosen = [("--split", split)] if split else []
    return ("evaluate", *(word for pair in (*names, *measures, *chosen) for word in pair))


def _kept_answer(file: Path, words: Command, *, threads: int | None, anew: bool) -> Any:
    """Return the answer of a command: the one in the file if it is of the same words, else that of a new call."""
    kept = json.loads(file.read_text()) if file.exists() else {}
    if anew or kept.get("words") != list(words):
        answer = _run(*words, *(() if threads is None else ("--threads", f"{threads}")))
        kept = {"words": words, "answer": json.loads(answer)}
        file.write_text(json.dumps(kept))
    return kept["answer"]


def _run(*words: str) -> str:
    program = Path(sys.executable).with_name("fsrcache")
    completed = subprocess.run([program, *words], check=False, stdout=subprocess.PIPE, text=True)
    if completed.returncode:
        sys.exit(completed.returncode)  # the command has printed why
    return completed.stdout


def without_paths(answer: Any, workspace: Path) -> Any:
    """Return an answer without its paths, absolute or in the workspace, which mean nothing on another machine."""
    if isinstance(answer, list):
        return [without_paths(value, workspace) for value in answer]
    if not isinstance(answer, dict):
        return answer
    return {
        key: without_paths(value, workspace)
        for key, value in answer.items()
        if not (isinstance(value, str) and value.startswith(("/", f"{workspace}/")))
    }


if __name__ == "__main__":
    main()
