"""The part ``way``: from drawn faces to a table by the commands, on the GPU and on the CPU, from the same extractor.

What may differ, and how far: features are kept in fp16, which rounds to 5e-4, and eigenvalues four decades below the
largest are right to some 1e-3 in fp32, so their distance is up to 5e-3. A row that nothing is trained for counts the
same faces right but for two at a decision's edge. A generator is trained with other random numbers on another device:
its accuracy, the mean over scales, is within three standard errors.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from studies.gpu.checks import Check, Limited, NotRunError, Setting

Results = Iterator[tuple[str, Any]]
_NEEDED = ("zarr", "numcodecs", "fastcrc", "rich", "safetensors")
_FEATURES = 5e-3
_FACES_APART, _ERRORS_APART = 2, 3
_TAIL = 1000  # characters of a command's output that are kept


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    yield Check("the same table on the GPU and on the CPU", partial(_both, setting), seconds=150)


def _both(setting: Setting) -> Results:
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise NotRunError(f"{', '.join(missing)} is not installed.")
    folder = setting.folder / "way"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    device = setting.device.type
    faces, side, steps = (140, 24, 10) if setting.rehearsal else (1000, 48, 600)
    began = time.monotonic()
    answer = _command(folder, "pretrain", "--data", f"drawn:{faces}", "--side", side, "--epochs", 1, "--device", device)
    yield "pretrain, s", time.monotonic() - began
    yield "the extractor's accuracy after one epoch", answer["accuracy"]
    devices = {"gpu": device, "cpu": "cpu"}
    for name in devices:
        shutil.copytree(folder / "fsr", folder / name / "fsr")
    with ThreadPoolExecutor(len(devices)) as pool:
        chains = pool.map(lambda name: _chain(folder / name, devices[name], steps), devices)
        results = dict(zip(devices, chains, strict=True))
    for name, chain in results.items():
        yield f"seconds, {name}", chain["seconds"]
    yield from _features(folder)
    yield from _tables(results["gpu"]["table"]["rows"], results["cpu"]["table"]["rows"])


def _chain(folder: Path, device: str, steps: int) -> dict[str, Any]:
    """Extract, train and evaluate in a workspace."""
    seconds, answers = {}, {}
    for words in (["extract", "--scales", "2,4"], ["train", "--preset", "tiny", "--steps", steps],
                  ["evaluate", "--heads", "frozen"]):  # fmt: skip
        began = time.monotonic()
        answers[words[0]] = _command(folder, *words, "--device", device)
        seconds[str(words[0])] = round(time.monotonic() - began, 1)
    return {"seconds": seconds, "table": answers["evaluate"]}


def _command(folder: Path, *words: object) -> dict[str, Any]:
    """Run a command of fsrcache in a folder; return its JSON answer."""
    program = [sys.executable, "-c", "from fsrcache.cli import main; main()", *map(str, words), "--json"]
    completed = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
    if completed.returncode:
        output = (completed.stdout + completed.stderr)[-_TAIL:]
        raise RuntimeError(f"fsrcache {words[0]} ended with {completed.returncode}: {output}")
    answer: dict[str, Any] = json.loads(completed.stdout)
    return answer


def _features(folder: Path) -> Results:
    """Compare the features of the two stores."""
    from fsrcache.store.reader import FeatureStore  # needs what may not be installed

    mine, theirs = (FeatureStore(folder / name / "fsr" / "features.zarr") for name in ("gpu", "cpu"))
    for scale in theirs.scales:
        got, expected = (np.asarray(store.features("train", scale)[:], np.float64) for store in (mine, theirs))
        apart = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
        yield f"features at scale {scale}", Limited(apart, _FEATURES)


def _tables(mine: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> Results:
    """Compare accuracies, the mean over scales of every row."""
    for row in dict.fromkeys(score["row"] for score in theirs):
        got, expected = ([score for score in scores if score["row"] == row] for scores in (mine, theirs))
        means = [sum(score["accuracy"] for score in scores) / max(len(scores), 1) for scores in (got, expected)]
        trained = row not in ("HR", "bicubic")
        error = max(score["standard_error"] for score in expected)
        limit = _ERRORS_APART * error if trained else 100 * _FACES_APART / expected[0]["n"]
        yield f"{row}: accuracies, %", means
        yield f"{row}: apart", Limited(abs(means[0] - means[1]), limit)
