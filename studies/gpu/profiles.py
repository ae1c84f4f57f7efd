"""The part ``profiles``: torch's profiler on kernels and steps, and the driver's on the two farthest from their roof.

Nothing of the card's settings is changed: ncu leaves the clocks alone.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from torch.profiler import ProfilerActivity, profile

from fsrcache.benchmarks.subject import subjects
from fsrcache.presets import TRAINING, CriticConfig, RRDBConfig
from studies.gpu.checks import Check, NotRunError, Setting, part_file, read_part, synchronise
from studies.gpu.trainings import drawn_trainer
from studies.gpu.works import works
from studies.profile_step import profile_subject

Results = Iterator[tuple[str, Any]]
_ROWS = 15  # in a table
_TAIL = 6000  # characters of ncu's output that are kept


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    by_name = works(setting.device, rehearsal=setting.rehearsal)
    for name in by_name:
        yield Check(name, partial(_kernel, setting, name))
    for name in ("best", "paper"):
        yield Check(f"a captured step of {name}", partial(_captured, setting, name))
    for number, name in enumerate(("best", "paper")):
        yield Check(f"parts of a step of {name}", partial(_parts, setting, number))
    for rank, name in enumerate(("the farthest from its roof", "the second farthest")):
        yield Check(f"ncu on the kernel that is {name}", partial(_ncu, setting, rank))


def _kernel(setting: Setting, name: str) -> Results:
    yield from _profiled(works(setting.device, rehearsal=setting.rehearsal)[name]().launch, setting)


def _captured(setting: Setting, name: str) -> Results:
    config, side = TRAINING[name], 8 if setting.rehearsal else 64
    if setting.rehearsal and name == "paper":
        small = RRDBConfig(filters=4, growth=2, blocks=1)
        config = replace(config, generator=small, critic=CriticConfig(filters=2), batch=2)
    trainer = drawn_trainer(replace(config, steps=100), side, setting.device, ahead=8)
    trainer.batches.prepare(0, 8)
    for step in range(6):
        trainer.step(step)
    yield from _profiled(lambda: trainer.step(6), setting)


def _profiled(work: Callable[[], object], setting: Setting) -> Results:
    """Profile one run of a work, after one to warm up."""
    work()
    synchronise(setting.device)
    on_gpu = setting.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        work()
        synchronise(setting.device)
    order = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    yield "table", profiler.key_averages().table(sort_by=order, row_limit=_ROWS, max_name_column_width=70)


def _parts(setting: Setting, number: int) -> Results:
    result = profile_subject(subjects(setting.device, quick=setting.rehearsal)[number], False, steps=2)
    yield result["case"], result["ms"]
    yield "parts, ms", result["parts"]
    yield "operations, ms", result["operations"]


def _ncu(setting: Setting, rank: int) -> Results:
    if shutil.which("ncu") is None:
        raise NotRunError("There is no ncu on the PATH.")
    if setting.rehearsal:
        raise NotRunError("There is no GPU.")
    name = _farthest(setting)[rank]
    kernel = works(setting.device, rehearsal=False)[name]().kernel
    profiled = [sys.executable, "-c", f"from studies.gpu.works import launch; launch({name!r})"]
    ncu = ["ncu", "--clock-control", "none", "--set", "basic", "--launch-skip", "2", "--launch-count", "1",
           "--kernel-name", kernel]  # fmt: skip
    completed = subprocess.run([*ncu, *profiled], capture_output=True, text=True, timeout=50, check=False)
    yield "kernel", name
    yield "exit code", completed.returncode
    yield "output", (completed.stdout + completed.stderr)[-_TAIL:]


def _farthest(setting: Setting) -> list[str]:
    """Return the names of works, the farthest from its roof in the part ``kernels`` first."""
    record = read_part(part_file(setting.folder, "kernels")) or {"checks": {}}
    shares: dict[str, float] = {}
    for check in record["checks"].values():
        for name, row in check["found"].items():
            if isinstance(row, dict) and "share_of_roof" in row:
                shares[name] = row["share_of_roof"]
    known = list(works(setting.device, rehearsal=False))

    def share(work: str) -> float:
        op, _, size = work.replace(" backward", "").partition(" ")
        least = 1.0
        for name, value in shares.items():
            same = op in name.replace(",", " ").split() and size in name
            if same and ("backward" in name) == ("backward" in work):
                least = min(least, value)
        return least

    return sorted(known, key=share)
