"""The progress of a sweep: which run it is, and how long all of them take."""

from collections.abc import Sequence
from dataclasses import replace

from fsrcache.announce import FirstSeconds, announce, several
from fsrcache.progress import Progress, ProgressCallback
from fsrcache.training.run.checkpoint import CHECKPOINT, run_record
from fsrcache.training.run.loop import has_ended
from fsrcache.training.sweep.plan import SweepRun
from fsrcache.training.sweep.runs import RunProgress


def sweep_progress(runs: Sequence[SweepRun], on_progress: ProgressCallback, *, jobs: int) -> RunProgress:
    """Return a callback that passes on which run of how many it is, and says once how long the whole sweep takes.

    A run's own notes on its cache and its time are left out.

    Parameters
    ----------
    runs
        All runs.
    on_progress
        Callback of the sweep.
    jobs
        Number of runs at once.
    """
    numbers = {run.name: number for number, run in enumerate(runs, 1)}
    to_go = [run for run in runs if not has_ended(run.folder, run.config)]
    steps = sum(run.config.steps - _steps_taken(run) for run in to_go)
    most = "at most " if any(run.config.patience for run in to_go) else ""
    begun: dict[str, tuple[FirstSeconds, int]] = {}
    announced = False

    def report(run: SweepRun, progress: Progress) -> None:
        nonlocal announced
        if not progress.phase:
            return
        on_progress(replace(progress, phase=f"run {numbers[run.name]} of {len(runs)}: {progress.phase}"))
        if announced or progress.phase != "training":
            return
        first, before = begun.setdefault(run.name, (FirstSeconds(), progress.done))
        pace = first.measured(progress.done - before)
        if pace is not None:
            announced = True
            at_once = f", {jobs} at once" if jobs > 1 else ""
            work = f"{several(len(to_go), 'run')} with {most}{several(steps, 'step')} to go{at_once}"
            announce(on_progress, pace.seconds_each * steps / jobs, work, by=f"the first {pace.pieces:,}")

    return report


def _steps_taken(run: SweepRun) -> int:
    record = run_record(run.folder / CHECKPOINT)
    step = 0 if record is None else record["state"].get("step")
    return step if isinstance(step, int) else 0
