"""The cost of averaging gradients: the time of a training step by the number of processes, and that of its exchange.

Run as ``torchrun --standalone --nproc-per-node=N -m studies.all_reduce --out FILE`` for every N; they share the file.
With one process nothing is exchanged. The batch is the preset's whatever N is, so that a process computes an N-th of
it.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import click
import torch

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.benchmarks.subject import Subject, _subject, subjects
from fsrcache.device import pick_device
from fsrcache.presets import EXTRACTORS
from fsrcache.rows.fsr_fer import SETTINGS
from fsrcache.training.ranks import Ranks, joined
from studies.command import StudyCommand


@click.command(cls=StudyCommand)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File of the results.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option("--steps", default=20, show_default=True, help="Number of measured steps.")
@click.option("--quick", is_flag=True, help="Small sizes: to see that it works.")
def main(out: Path, device: str, steps: int, quick: bool) -> None:
    """Measure and write."""
    with joined() as ranks:
        target = ranks.own_device(pick_device(device))
        row = _subject("row fsr-fer, D 64", SETTINGS, EXTRACTORS["small"], target)
        every = [*subjects(target, quick=quick), *([] if quick else [row])]
        rows = [measured(subject, ranks, steps=steps) for subject in every]
    if ranks.first:
        record: dict[str, Any] = {"machine": machine(target), "commit": commit(), "quick": quick}
        before = json.loads(out.read_text())["steps"] if out.exists() else []
        record["steps"] = [row for row in before if row["processes"] != ranks.size] + rows
        out.write_text(json.dumps(record, indent=1) + "\n")
        click.echo(as_markdown(record))


def measured(subject: Subject, ranks: Ranks, *, steps: int) -> dict[str, Any]:
    """Return the median milliseconds of a step and of the exchanges in it."""
    trainer = subject.trainer()
    trainer.ranks = ranks
    updates = {"generator": trainer.config.generator_steps, "critic": trainer.config.critic_steps}
    gradients = {
        name: [torch.zeros_like(weight) for weight in trainer.modules[name].parameters()]
        for name in updates
        if name in trainer.modules
    }

    def exchange() -> None:
        for name, zeros in gradients.items():
            for _ in range(updates[name]):
                ranks.mean(zeros)

    return {
        "subject": subject.name,
        "processes": ranks.size,
        "batch": trainer.config.batch,
        "step_ms": _milliseconds(lambda: trainer.step(0), trainer.batches.chosen.device, steps),
        "exchange_ms": _milliseconds(exchange, trainer.batches.chosen.device, steps),
        "megabytes": sum(updates[name] * zero.nbytes for name in gradients for zero in gradients[name]) / 1e6,
    }


def as_markdown(record: dict[str, Any]) -> str:
    """Return the table of a record."""
    lines = ["| step | processes | ms | of it exchange, ms | share | MB averaged |", "|---|---|---|---|---|---|"]
    for row in sorted(record["steps"], key=lambda row: (row["subject"], row["processes"])):
        share = f"{100 * row['exchange_ms'] / row['step_ms']:.0f} %"
        numbers = f"{row['step_ms']:.1f} | {row['exchange_ms']:.1f} | {share} | {row['megabytes']:.1f}"
        lines.append(f"| {row['subject']} | {row['processes']} | {numbers} |")
    return "\n".join(lines)


def _milliseconds(work: Callable[[], None], device: torch.device, repetitions: int) -> float:
    """Return the median duration, the first four apart: a GPU's steps are captured by then."""
    seconds = []
    for number in range(4 + repetitions):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 4:
            seconds.append(time.perf_counter() - began)
    return 1000 * median(seconds)


if __name__ == "__main__":
    main()
