"""Seconds of a pre-training step with freed memory kept, as ``fsrcache pretrain`` does, and with it returned.

Run as ``python -m studies.freed_memory``; it prints one JSON document. Both variants run in
processes of their own, in turns. The pictures are random, in the shape of FER2013's; the extractor is ``small``.
"""

import json
import statistics
import subprocess
import sys
import time
from typing import Any

import click
import torch
from torch.nn.functional import cross_entropy

from fsrcache.benchmarks.harness import commit, machine, peak_memory
from fsrcache.device import computes_bf16, keep_freed_memory
from fsrcache.extractors.covpool import CovPoolFER
from fsrcache.presets import EXTRACTORS, PRETRAINING
from studies.command import StudyCommand

_CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_FIRST = 3  # steps before those that are timed


@click.command(cls=StudyCommand)
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True, help="Timed steps of a process.")
@click.option("--turns", type=click.IntRange(1), default=3, show_default=True, help="Processes of each variant.")
@click.option("--one", type=click.Choice(["kept", "returned"]), hidden=True, help="Variant to measure in this process.")
def main(steps: int, turns: int, one: str | None) -> None:
    """Measure and print."""
    if one is not None:
        click.echo(json.dumps(measure(steps, keep=one == "kept")))
        return
    runs: dict[str, list[dict[str, float]]] = {"kept": [], "returned": []}
    for _ in range(turns):
        for name, results in runs.items():
            results.append(_process(name, steps))
    medians = {name: statistics.median(run["seconds_a_step"] for run in results) for name, results in runs.items()}
    record: dict[str, Any] = {"machine": machine(torch.device("cpu")), "commit": commit(), "runs": runs}
    click.echo(json.dumps(record | {"medians": medians, "ratio": medians["returned"] / medians["kept"]}, indent=1))


def measure(steps: int, *, keep: bool) -> dict[str, float]:
    """Return the median seconds of a step in this process, and its peak memory."""
    assert not keep or keep_freed_memory()
    torch.manual_seed(0)
    shape, batch, device = EXTRACTORS["small"], PRETRAINING["small"].batch, torch.device("cpu")
    model = CovPoolFER(shape, _CLASSES)
    optimiser = torch.optim.AdamW(model.parameters())
    pictures, truth = torch.rand(batch, 1, shape.side, shape.side), torch.randint(len(_CLASSES), (batch,))
    seconds = []
    for _ in range(_FIRST + steps):
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
            logits = model(pictures).logits
        optimiser.zero_grad()
        torch.autograd.backward(cross_entropy(logits, truth))
        optimiser.step()
        seconds.append(time.perf_counter() - began)
    return {"seconds_a_step": statistics.median(seconds[_FIRST:]), "peak_bytes": peak_memory()}


def _process(name: str, steps: int) -> dict[str, float]:
    command = [sys.executable, "-m", "studies.freed_memory", "--one", name, "--steps", str(steps)]
    completed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(completed.stdout)
    return result


if __name__ == "__main__":
    main()
