"""How long a pre-training step takes where freed memory is kept, as ``fsrcache pretrain`` does, and where it is not.

Run as ``python -m studies.freed_memory``; it prints one JSON document. Both have processes of their own,
which take turns. The pictures are drawn numbers in the shape of FER2013's, the extractor is ``small``.
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

_CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_FIRST = 3  # steps before those that are timed


@click.command
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True, help="Timed in a process.")
@click.option("--turns", type=click.IntRange(1), default=3, show_default=True, help="Processes of each kind.")
@click.option("--one", type=click.Choice(["kept", "returned"]), hidden=True, help="Be one of them, and print.")
def main(steps: int, turns: int, one: str | None) -> None:
    """Measure and print."""
    if one is not None:
        click.echo(json.dumps(measured(steps, keep=one == "kept")))
        return
    runs: dict[str, list[dict[str, float]]] = {"kept": [], "returned": []}
    for _ in range(turns):
        for name, done in runs.items():
            done.append(_process(name, steps))
    medians = {name: statistics.median(run["seconds_a_step"] for run in done) for name, done in runs.items()}
    record: dict[str, Any] = {"machine": machine(torch.device("cpu")), "commit": commit(), "runs": runs}
    click.echo(json.dumps(record | {"medians": medians, "ratio": medians["returned"] / medians["kept"]}, indent=1))


def measured(steps: int, *, keep: bool) -> dict[str, float]:
    """Return the median of a step's seconds in this process, and its peak memory."""
    assert not keep or keep_freed_memory()
    torch.manual_seed(0)
    shape, batch, device = EXTRACTORS["small"], PRETRAINING["small"].batch, torch.device("cpu")
    model = CovPoolFER(shape, _CLASSES)
    optimiser = torch.optim.AdamW(model.parameters())
    pictures, truth = torch.rand(batch, 1, shape.side, shape.side), torch.randint(len(_CLASSES), (batch,))
    taken = []
    for _ in range(_FIRST + steps):
        began = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=computes_bf16(device)):
            logits = model(pictures).logits
        optimiser.zero_grad()
        torch.autograd.backward(cross_entropy(logits, truth))
        optimiser.step()
        taken.append(time.perf_counter() - began)
    return {"seconds_a_step": statistics.median(taken[_FIRST:]), "peak_bytes": peak_memory()}


def _process(name: str, steps: int) -> dict[str, float]:
    command = [sys.executable, "-m", "studies.freed_memory", "--one", name, "--steps", str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
