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
from studies.gpu.trainings import drawn_iteration
from studies.gpu.works import works
from studies.profile_step import profile_subject

Found = Iterator[tuple[str, Any]]
_ROWS = 15  # of a table
_TAIL = 6000  # characters that are kept of what ncu says


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    made = works(setting.device, rehearsal=setting.rehearsal)
    for name in made:
        yield Check(name, partial(_kernel, setting, name))
    for name in ("best", "paper"):
        yield Check(f"a captured step of {name}", partial(_captured, setting, name))
    for number, name in enumerate(("best", "paper")):
        yield Check(f"parts of a step of {name}", partial(_parts, setting, number))
    for place, name in enumerate(("the farthest from its roof", "the second farthest")):
        yield Check(f"ncu on the kernel that is {name}", partial(_ncu, setting, place))


def _kernel(setting: Setting, name: str) -> Found:
    yield from _profiled(works(setting.device, rehearsal=setting.rehearsal)[name]().launch, setting)


def _captured(setting: Setting, name: str) -> Found:
    config, side = TRAINING[name], 8 if setting.rehearsal else 64
    if setting.rehearsal and name == "paper":
        small = RRDBConfig(filters=4, growth=2, blocks=1)
        config = replace(config, generator=small, critic=CriticConfig(filters=2), batch=2)
    trainer = drawn_iteration(replace(config, steps=100), side, setting.device, ahead=8)
    trainer.batches.prepare(0, 8)
    for step in range(6):
        trainer.step(step)
    yield from _profiled(lambda: trainer.step(6), setting)


def _profiled(work: Callable[[], object], setting: Setting) -> Found:
    """Profile one run of a work that has run before."""
    work()
    synchronise(setting.device)
    on_gpu = setting.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiler:
        work()
        synchronise(setting.device)
    order = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    yield "table", profiler.key_averages().table(sort_by=order, row_limit=_ROWS, max_name_column_width=70)


def _parts(setting: Setting, number: int) -> Found:
    found = profile_subject(subjects(setting.device, quick=setting.rehearsal)[number], False, steps=2)
    yield found["case"], found["ms"]
    yield "parts, ms", found["parts"]
    yield "operations, ms", found["operations"]


def _ncu(setting: Setting, place: int) -> Found:
    if shutil.which("ncu") is None:
        raise NotRunError("There is no ncu on the PATH.")
    if setting.rehearsal:
        raise NotRunError("There is no GPU.")
    name = _farthest(setting)[place]
    kernel = works(setting.device, rehearsal=False)[name]().kernel
    profiled = [sys.executable, "-c", f"from studies.gpu.works import launch; launch({name!r})"]
    asked = ["ncu", "--clock-control", "none", "--set", "basic", "--launch-skip", "2", "--launch-count", "1",
             "--kernel-name", kernel]  # fmt: skip
    done = subprocess.run([*asked, *profiled], capture_output=True, text=True, timeout=50, check=False)
    yield "kernel", name
    yield "exit code", done.returncode
    yield "said", (done.stdout + done.stderr)[-_TAIL:]


def _farthest(setting: Setting) -> list[str]:
    """Return names of works, those first whose ops were the farthest from their roof in the part ``kernels``."""
    record = read_part(part_file(setting.folder, "kernels")) or {"checks": {}}
    shares: dict[str, float] = {}
    for check in record["checks"].values():
        for name, row in check["found"].items():
            if isinstance(row, dict) and "share_of_roof" in row:
                shares[name] = row["share_of_roof"]
    known = list(works(setting.device, rehearsal=False))

    def share(work: str) -> float:
        op, _, size = work.replace(" backward", "").partition(" ")
        found = 1.0
        for name, value in shares.items():
            same = op in name.replace(",", " ").split() and size in name
            if same and ("backward" in name) == ("backward" in work):
                found = min(found, value)
        return found

    return sorted(known, key=share)
