"""The part ``longer``: steps a second at full sizes, captured against eager and plain, and pictures extracted a second.

``paper`` with the authors' batch at D 128 runs for as many of 2,000 steps as there is time for; the time of 200,000 is
extrapolated.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from fsrcache.benchmarks.harness import durations
from fsrcache.device import fp32_precision
from fsrcache.extraction.features import features_of
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.presets import EXTRACTORS, TRAINING, CriticConfig, ExtractorConfig, RRDBConfig, TrainConfig
from fsrcache.training.step.trainer import Trainer
from studies.gpu.checks import Check, Setting, part_file, read_part, synchronise
from studies.gpu.trainings import drawn_trainer

Results = Iterator[tuple[str, Any]]
_AT_ONCE = 100  # steps prepared together
_FIRST = 5  # untimed steps, which choose algorithms and capture
_LONG, _WHOLE = 2_000, 200_000
_PICTURES = 128


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    best, paper = TRAINING["best"], TRAINING["paper"]
    if setting.rehearsal:
        small = RRDBConfig(filters=4, growth=2, blocks=1)
        paper = replace(paper, generator=small, critic=CriticConfig(filters=2), batch=2)
    small_side, side = (8, 16) if setting.rehearsal else (64, 128)
    ways = ("captured", "eager")
    for name in ("small", "paper"):
        yield Check(f"extraction, {name}", partial(_extraction, setting, name))
    yield Check(f"best, D {small_side} B 32", partial(_compared, setting, replace(best, batch=32), small_side, ways))
    yield Check(f"paper, D {small_side}", partial(_compared, setting, paper, small_side, (*ways, "plain")))
    yield Check(f"paper, D {side}, {_LONG} steps", partial(_long, setting, paper, side))
    yield Check(f"best, D {side} B 256", partial(_compared, setting, replace(best, batch=256), side, ways))
    exact = replace(paper, precision="fp32")
    yield Check(f"paper, D {small_side}, fp32", partial(_compared, setting, exact, small_side, (*ways, "plain")))


def _compared(setting: Setting, config: TrainConfig, side: int, ways: tuple[str, ...]) -> Results:
    """Time several ways in turn; yield milliseconds a step and the ratio to the first."""
    count = 5 if setting.rehearsal else 100
    config = replace(config, steps=10 * count)
    trainings = {
        way: drawn_trainer(config, side, setting.device, eager=way == "eager", plain=way == "plain", ahead=_AT_ONCE)
        for way in ways
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for trainer in trainings.values():
        _run_steps(trainer, 0, _FIRST, setting, seconds=20)
    for turn in range(2):
        for way, trainer in trainings.items():
            steps, seconds = _run_steps(trainer, _FIRST + turn * count, count, setting, seconds=1.5)
            times[way].append(1e3 * seconds / steps)
    for way in ways:
        yield f"{way}, ms a step", min(times[way])
    for way in ways[1:]:
        yield f"{way} / {ways[0]}", min(times[way]) / min(times[ways[0]])
    yield "precision", config.precision
    yield from _peak(setting)


def _run_steps(trainer: Trainer, first: int, count: int, setting: Setting, *, seconds: float) -> tuple[int, float]:
    """Train for ``count`` steps, drawing included, or until the time is over; return steps and seconds."""
    synchronise(setting.device)
    began, step = time.perf_counter(), first
    while step < first + count:
        some = min(_AT_ONCE, first + count - step)
        trainer.batches.prepare(step, some)
        for _ in range(some):
            trainer.step(step)
            step += 1
            if step % 10 == 0:
                synchronise(setting.device)
                if time.perf_counter() - began > seconds:
                    return step - first, time.perf_counter() - began
    synchronise(setting.device)
    return step - first, time.perf_counter() - began


def _long(setting: Setting, config: TrainConfig, side: int) -> Results:
    trainer = drawn_trainer(replace(config, steps=_WHOLE), side, setting.device, ahead=_AT_ONCE)
    _run_steps(trainer, 0, _FIRST, setting, seconds=20)
    allowed = 0.5 if setting.rehearsal else max(2.0, min(40.0, setting.left / 2))
    steps, seconds = _run_steps(trainer, _FIRST, _LONG, setting, seconds=allowed)
    trainer.finite.check()
    yield "steps", steps
    yield "ms a step", 1e3 * seconds / steps
    yield f"hours for {_WHOLE} steps", seconds / steps * _WHOLE / 3600
    yield "precision", config.precision
    yield from _peak(setting)


def _peak(setting: Setting) -> Results:
    if setting.device.type == "cuda":
        yield "GB reserved at most", torch.cuda.max_memory_reserved(setting.device) / 1e9


def _extraction(setting: Setting, name: str) -> Results:
    """Yield pictures a second, on the device alone and from pictures in memory, in fp32 and in TF32."""
    shape: ExtractorConfig = EXTRACTORS[name]
    count = _PICTURES
    if setting.rehearsal:
        shape, count = replace(shape, side=24, stages=((4,), (6,)), spd_side=4), 4
    model = CovPoolFER(shape, ("a", "b")).to(setting.device).eval()
    pictures = np.random.default_rng(0).integers(0, 256, (count, shape.side, shape.side, 3), np.uint8)
    view = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).to(setting.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(view)
    flops = sum(value for op, value in counter.get_flop_counts()["Global"].items() if "convolution" in str(op))
    rates = _rates(setting)
    for tf32 in (False, True):
        with fp32_precision(tf32=tf32), torch.inference_mode():
            times = durations([lambda: model.trunk(view.float()), lambda: model(view)], setting.device,
                              seconds=0.01 if setting.rehearsal else 0.5)  # fmt: skip
            trunk, whole = (statistics.median(runs) for runs in times)
            from_memory = durations([lambda: features_of(extractor_of(model), pictures, scale=2)], setting.device,
                                    seconds=0.01 if setting.rehearsal else 1.0)[0]  # fmt: skip
        title = "TF32" if tf32 else "fp32"
        yield f"{title}: convolutions, TFLOP/s", flops / trunk / 1e12
        if rates.get(title):
            yield f"{title}: share of the roof", flops / trunk / 1e12 / rates[title]
        yield f"{title}: pictures a second, on the device", count / whole
        yield f"{title}: pictures a second, seen at x2, one thread", count / statistics.median(from_memory)


def _rates(setting: Setting) -> dict[str, float]:
    """Return the measured TFLOP/s of products, by precision, if the part ``machine`` has run."""
    record = read_part(part_file(setting.folder, "machine")) or {"checks": {}}
    roofs = record["checks"].get("roofs", {}).get("found", {})
    return {title: roofs[f"{title} TFLOP/s"] for title in ("fp32", "TF32") if roofs.get(f"{title} TFLOP/s")}
