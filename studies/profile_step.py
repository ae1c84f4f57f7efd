"""The profile of a training step of ``best`` and of ``paper``, by torch's profiler, as a table and a figure.

Run as ``python -m studies.profile_step --out DIR``; it writes ``profile-step.json`` (machine, versions, all
figures), ``profile-step.md`` and ``profile-step.png``. Parts are those of the step; operations are counted by their own
time, without that of their calls, on the device where it has a clock. Profiled steps are not captured, and take longer.
"""

import json
from bisect import bisect
from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path
from typing import Any

import click
import torch
from matplotlib.figure import Figure
from torch.autograd import DeviceType  # type: ignore[attr-defined]  # a stub's gap
from torch.profiler import ProfilerActivity, profile

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.benchmarks.subject import Subject, subjects
from fsrcache.device import pick_device
from fsrcache.evaluation.style import own_style, write_figure
from fsrcache.training.step.trainer import PARTS
from studies.command import StudyCommand

_OPERATIONS = 12  # listed by name; the others are summed


@click.command(cls=StudyCommand)
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the results.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option("--steps", default=5, show_default=True, help="Number of profiled steps.")
@click.option("--quick", is_flag=True, help="Small sizes: to see that it works.")
def main(out: Path, device: str, steps: int, quick: bool) -> None:
    """Profile and write."""
    target = pick_device(device)
    record: dict[str, Any] = {"machine": machine(target), "commit": commit(), "quick": quick, "steps": steps}
    record["profiles"] = [profile_subject(subject, plain, steps=steps)
                          for subject in subjects(target, quick=quick) for plain in (True, False)]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "profile-step.json").write_text(json.dumps(record, indent=1) + "\n")
    (out / "profile-step.md").write_text(as_markdown(record))
    draw(record, out / "profile-step.png")
    click.echo(as_markdown(record))


def profile_subject(subject: Subject, plain: bool, *, steps: int) -> dict[str, Any]:
    """Return the milliseconds of a step, of its parts and of its operations."""
    trainer = subject.trainer(plain=plain, eager=True)
    cuda = trainer.batches.chosen.is_cuda
    for _ in range(2):
        trainer.step(0)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities, acc_events=True) as profiler:  # torch 2.11 warns without
        for _ in range(steps):
            trainer.step(0)
        if cuda:
            torch.cuda.synchronize()
    if cuda:
        totals, parts = device_operations(profiler.key_averages()), device_parts(profiler.events() or [])
    else:
        events = profiler.key_averages()
        totals = {event.key: event.self_cpu_time_total for event in events if event.key not in PARTS}
        parts = {event.key: event.cpu_time_total for event in events if event.key in PARTS}
    parts = {name: parts.get(name, 0.0) / steps / 1e3 for name in PARTS}
    operations = {name: total / steps / 1e3 for name, total in totals.items()}
    first = sorted(operations, key=lambda name: -operations[name])[:_OPERATIONS]
    total = sum(operations.values())
    listed = {name: operations[name] for name in first}
    return {
        "case": f"{subject.name}, {'plain twin' if plain else 'as it is'}",
        "ms": total,
        "parts": parts,
        "operations": {**listed, "all others": total - sum(listed.values())},
    }


def device_operations(events: Iterable[Any]) -> dict[str, float]:
    """Return the microseconds of every kernel on the GPU by name, without the calls that launched it."""
    return {
        event.key: event.self_device_time_total
        for event in events
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    }


def device_parts(events: Iterable[Any]) -> dict[str, float]:
    """Return the microseconds of the kernels that every part of a step launched.

    A backward launches from another thread, which has no part's range, while its part waits: an operation belongs to
    the part during which it began.
    """
    calls = [event for event in events if event.device_type == DeviceType.CPU]
    ranges = sorted(
        (event.time_range.start, event.time_range.end, event.name) for event in calls if event.name in PARTS
    )
    parts = dict.fromkeys(PARTS, 0.0)
    for event in calls:
        if event.kernels and not event.is_user_annotation and event.name not in PARTS:
            index = bisect(ranges, event.time_range.start, key=itemgetter(0)) - 1
            if index >= 0 and event.time_range.start <= ranges[index][1]:
                parts[ranges[index][2]] += sum(kernel.duration for kernel in event.kernels)
    return parts


def as_markdown(record: dict[str, Any]) -> str:
    """Return the profiles as tables."""
    lines = []
    for one in record["profiles"]:
        lines += [f"### {one['case']}: {one['ms']:.3g} ms a step, profiled", "", "| | ms | share |", "|---|---|---|"]
        lines += [f"| **{name}** | {ms:.3g} | {ms / one['ms']:.0%} |" for name, ms in one["parts"].items() if ms]
        lines += [f"| `{name}` | {ms:.3g} | {ms / one['ms']:.0%} |" for name, ms in one["operations"].items()]
        lines.append("")
    return "\n".join(lines)


@own_style()
def draw(record: dict[str, Any], path: Path) -> None:
    """Draw a bar a profile, cut into its operations."""
    profiles = record["profiles"]
    figure = Figure(figsize=(11, 1.5 + 0.9 * len(profiles)), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(name for one in profiles for name in one["operations"] if name != "all others"))
    left = [0.0] * len(profiles)
    for number, name in enumerate([*names, "all others"]):
        widths = [100 * one["operations"].get(name, 0.0) / one["ms"] for one in profiles]
        colour = "lightgrey" if name == "all others" else f"C{number % 10}"
        axes.barh(range(len(profiles)), widths, left=left, color=colour, hatch="//" if number >= 10 else "",
                  edgecolor="white", label=name)  # fmt: skip
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(profiles)), [f"{one['case']}\n{one['ms']:.3g} ms" for one in profiles], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("% of a step")
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    write_figure(figure, path, dpi=150)


if __name__ == "__main__":
    main()
