"""``python -m studies.gpu --out DIR``: all parts on this machine's GPU, or a rehearsal without one.

It writes ``DIR/gpu.json`` and ``DIR/gpu.md`` after every part, and prints a line a part. Exit codes: 0 every
check is right, 1 one is wrong, failed or had no time, 2 the request was wrong. docs/gpu.md explains each answer.
"""

import sys
import time
from pathlib import Path

import click
import torch

from studies.command import StudyCommand
from studies.gpu.checks import Setting, run_checks
from studies.gpu.parts import PARTS, Part, checks_of
from studies.gpu.report import as_table, write_report
from studies.gpu.schedule import Outcome, run_parts

_NAMES = [part.name for part in PARTS]
# cuBLAS sums in the same order each time; JAX, a peer of the bench, leaves memory to others.
_ENVIRONMENT = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONFAULTHANDLER": "1",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
# Triton's kernels are interpreted; sizes are so small that threads would only wait for each other.
_REHEARSED = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@click.command(cls=StudyCommand)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
@click.option("--budget", type=click.FloatRange(0), default=400.0, show_default=True, help="Seconds for all parts.")
@click.option("--only", metavar="PART[,PART]", help=f"Parts to run, of {', '.join(_NAMES)}.")
@click.option("--rehearse", is_flag=True, help="Tiny sizes on the CPU: to see that it works.")
@click.option("--part", type=click.Choice(_NAMES), hidden=True)
@click.option("--seconds", type=float, default=0.0, hidden=True)
def main(out: Path, budget: float, only: str | None, rehearse: bool, part: str | None, seconds: float) -> None:
    """Check and measure everything that needs a GPU, the most valuable first."""
    chosen = _chosen(only)
    if not rehearse and not torch.cuda.is_available():
        raise click.UsageError(
            f"torch {torch.__version__} finds no GPU. With --rehearse everything is run on the CPU at tiny sizes."
        )
    out.mkdir(parents=True, exist_ok=True)
    if part is not None:
        device = torch.device("cpu" if rehearse else "cuda:0")
        setting = Setting(device, rehearse, out, time.monotonic() + seconds)
        run_checks(part, checks_of(part, setting), setting)
        return

    def command(one: Part, limit: float) -> list[str]:
        return [sys.executable, "-m", "studies.gpu", "--out", str(out), "--part", one.name,
                "--seconds", str(limit), *(["--rehearse"] if rehearse else [])]  # fmt: skip

    def on_progress(outcomes: list[Outcome]) -> None:
        write_report(outcomes, out, budget=budget, rehearsal=rehearse)
        click.echo(f"{outcomes[-1].part}: {outcomes[-1].state}, {outcomes[-1].seconds:.0f} s", err=True)

    environment = {**_ENVIRONMENT, **(_REHEARSED if rehearse else {})}
    outcomes = run_parts(chosen, out, budget=budget, command=command, environment=environment, on_progress=on_progress)
    click.echo(as_table(outcomes))
    sys.exit(0 if all(outcome.state == "right" for outcome in outcomes) else 1)


def _chosen(only: str | None) -> list[Part]:
    """Return the parts of these names, in the order of ``PARTS``."""
    if only is None:
        return list(PARTS)
    names = [name.strip() for name in only.split(",")]
    if unknown := [name for name in names if name not in _NAMES]:
        raise click.UsageError(f"There is no part {unknown[0]!r}; there are {', '.join(_NAMES)}.")
    return [part for part in PARTS if part.name in names]


if __name__ == "__main__":
    main()
