"""Kills an extraction at random moments, again and again, and compares its store with an undisturbed one's.

Run as ``python -m studies.soak --kills 200 --out benchmarks/results/soak.json``.
"""

import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from fsrcache.benchmarks.harness import commit, machine
from studies.command import StudyCommand
from studies.program import CommandResult, Running, run

_COMMAND = ("extract", "--scales", "2..8", "--json")
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "FSRCACHE_WORKSPACE": "fsr"}
_EARLY = 0.2  # share of the kills that come before anything is extracted


@click.command(cls=StudyCommand)
@click.option("--kills", type=click.IntRange(1), default=200, show_default=True, help="Number of kills.")
@click.option("--faces", type=click.IntRange(70), default=1050, show_default=True, help="Number of drawn faces.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed of the moments.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File of the record.")
def main(kills: int, faces: int, seed: int, out: Path | None) -> None:
    """Print what happened as JSON; exit with 1 if anything differs."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        record = soak(Path(folder), kills=kills, faces=faces, seed=seed)
    text = json.dumps({"machine": machine(torch.device("cpu")), "commit": commit(), **record}, indent=1)
    print(text)
    if out is not None:
        out.write_text(text + "\n")
    sys.exit(0 if record["equal"] and not record["touched"] else 1)


def soak(folder: Path, *, kills: int, faces: int, seed: int) -> dict[str, Any]:
    """Kill ``kills`` runs of one extraction after another.

    A run is killed while it starts, or at a random moment of its work, a twelfth of the whole at most. An extraction
    that comes to its end is compared and begun anew.

    Returns
    -------
    dict
        ``kills``, ``finished`` (extractions that came to their end), ``equal`` (whether all their files were those of
        the undisturbed one), ``touched`` (finished files that a later run changed), ``resumed_from`` (blocks that the
        last run found), ``killed_with`` (how many files were there at every kill), ``leftovers`` (half-written files
        that the kills left).
    """
    pictures = folder / "faces"
    _run(folder, "draw", str(pictures), "--count", str(faces))
    _run(folder, "pretrain", "--data", str(pictures), "--side", "24", "--epochs", "1", "--json")
    began = time.monotonic()
    _run(folder, *_COMMAND)
    whole = time.monotonic() - began
    store = folder / "fsr/features.zarr"
    undisturbed = contents(store)
    shutil.rmtree(store)
    chance = random.Random(seed)
    record: dict[str, Any] = {"kills": kills, "faces": faces, "seed": seed, "finished": 0, "equal": True, "touched": []}
    killed_with, leftovers = [], 0
    for _ in range(kills):
        before = _finished(store)
        ended = _killed(folder, chance, whole)
        after = _finished(store)
        record["touched"] += [str(path) for path, state in before.items() if after.get(path) != state]
        leftovers += sum(path.suffix == ".partial" for path in store.rglob("*"))
        killed_with.append(len(after))
        if ended:
            record["finished"] += 1
            record["equal"] &= contents(store) == undisturbed
            shutil.rmtree(store)
    answer = json.loads(_run(folder, *_COMMAND))
    record["finished"] += 1
    record["equal"] &= contents(store) == undisturbed
    return {**record, "resumed_from": answer["resumed_from"], "killed_with": killed_with, "leftovers": leftovers}


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _killed(folder: Path, chance: random.Random, whole: float) -> bool:
    """Start the extraction, kill it at a random moment, and return whether it had come to its end.

    Raises
    ------
    click.ClickException
        If it ended in another way than by itself or by the kill.
    """
    process = Running(*_COMMAND, cwd=folder, **_ENVIRONMENT)
    if chance.random() >= _EARLY:
        process.until("extracting", "completing")
    time.sleep(chance.uniform(0, whole / 12))
    process.signal(signal.SIGKILL)
    completed = process.wait()
    if completed.returncode not in (0, -signal.SIGKILL):
        raise _failure(_COMMAND, completed)
    return completed.returncode == 0


def _finished(store: Path) -> dict[Path, tuple[int, int]]:
    """Return the finished shards, each with its inode and modification time, which change if it is written again."""
    shards = [path for path in store.rglob("x*/*/c/*/0") if path.is_file()]
    return {path: ((status := path.stat()).st_ino, status.st_mtime_ns) for path in shards}


def _run(folder: Path, *words: str) -> str:
    completed = run(*words, cwd=folder, **_ENVIRONMENT)
    if completed.returncode:
        raise _failure(words, completed)
    return completed.stdout


def _failure(words: tuple[str, ...], completed: CommandResult) -> click.ClickException:
    return click.ClickException(f"{' '.join(words)} failed: {completed.stderr}")


if __name__ == "__main__":
    main()
