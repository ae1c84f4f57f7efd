"""Times of each step of the way, from faces to a table, on this machine, for data of some sizes.

Run as ``python -m studies.way --machine NAME --out benchmarks/results`` on an idle machine; it takes a few minutes. It
measures rates on drawn faces of 48 pixels with the commands' own estimates, prints a Markdown table and writes
``way-NAME.json``. Real data of other sides, presets or networks have other times: ``--dry-run`` tells them.
"""

import json
import platform
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from fsrcache.announce import duration
from fsrcache.device import in_words, pick_device
from fsrcache.presets import FINE_TUNING, PRETRAINING, TRAINING
from fsrcache.verbs.evaluate import evaluate
from fsrcache.verbs.extract import estimate_extract, extract
from fsrcache.verbs.pretrain import estimate_pretrain, pretrain
from fsrcache.verbs.train import estimate_train, train
from studies.command import StudyCommand

_SIDE, _PRESET = 48, "small"
_SCALES = range(2, 9)
_SIZES = (1_000, 10_000, 35_887)  # faces in all splits; the last is FER2013


@click.command(cls=StudyCommand)
@click.option("--machine", required=True, help="Name of the machine, for the file.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder of the result.")
@click.option("--faces", default=1400, show_default=True, help="Number of faces that rates are measured on.")
@click.option("--device", default="auto", show_default=True)
def main(machine: str, out: Path, faces: int, device: str) -> None:
    """Measure, print and write the times."""
    with TemporaryDirectory() as folder:
        fixed, per_face = measured(Path(folder) / "fsr", faces, device)
    times = {
        str(size): {step: round(fixed[step] + size * per_face[step], 1) for step in fixed} for size in _SIZES
    }  # fmt: skip
    record = {
        "machine": f"{platform.machine()}, {in_words(pick_device(device))}, {platform.system()}",
        "side": _SIDE,
        "measured_on": faces,
        "seconds": times,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"way-{machine}.json").write_text(json.dumps(record, indent=1) + "\n")
    click.echo(table(times))


def measured(workspace: Path, faces: int, device: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of every step that do not depend on the number of faces, and those for each face."""
    data = f"drawn:{faces}"
    options: dict[str, Any] = {"data": data, "preset": _PRESET, "side": _SIDE, "device": device}
    epochs = PRETRAINING[_PRESET].epochs
    pretraining = estimate_pretrain(workspace, epochs=epochs, **options).seconds
    scales = (1, *_SCALES)
    tuning = estimate_pretrain(workspace, epochs=FINE_TUNING.epochs, scales=scales, **options).seconds
    pretrain(workspace, epochs=1, **options)
    pictures = faces * len(scales)
    extraction = pictures / estimate_extract(workspace, scales=_SCALES, device=device).pictures_per_second
    extract(workspace, scales=_SCALES, device=device)
    training = estimate_train(workspace, preset="best", name="whole", device=device).seconds
    train(workspace, preset="best", steps=10, device=device)
    began = time.perf_counter()
    evaluate(workspace, device=device)
    evaluation = time.perf_counter() - began
    whole = {
        "pretrain": pretraining,
        "extract": extraction,
        "train": 0.0,
        "baselines": tuning + extraction,
        "evaluate": evaluation,
    }
    fixed = dict.fromkeys(whole, 0.0) | {"train": training}
    return fixed, {step: seconds / faces for step, seconds in whole.items()}


def table(times: dict[str, dict[str, float]]) -> str:
    """Return the times as a Markdown table, a line for each size."""
    steps = list(next(iter(times.values())))
    details = f"pretrain {_PRESET}, extract at 8 scales, train best ({TRAINING['best'].steps:,} steps)"
    lines = [f"| faces | {' | '.join(steps)} |", f"|---:|{'---:|' * len(steps)}"]
    for size, seconds in times.items():
        lines.append(f"| {int(size):,} | {' | '.join(duration(seconds[step]) for step in steps)} |")
    return "\n".join([*lines, "", f"Faces of {_SIDE} pixels; {details}, baselines fine-tuned, evaluate two rows."])


if __name__ == "__main__":
    main()
