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

Found = Iterator[tuple[str, Any]]
_NEEDED = ("zarr", "numcodecs", "fastcrc", "rich", "safetensors")
_FEATURES = 5e-3
_FACES_APART, _ERRORS_APART = 2, 3
_SAID = 1000  # characters of a command's words that are kept


def checks(setting: Setting) -> Iterator[Check]:
    """Yield the part's checks."""
    yield Check("the same table on the GPU and on the CPU", partial(_both, setting), seconds=120)


def _both(setting: Setting) -> Found:
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise NotRunError(f"{', '.join(missing)} is not installed.")
    folder = setting.folder / "way"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    device = setting.device.type
    faces, side, steps = (140, 24, 10) if setting.rehearsal else (2800, 48, 600)
    began = time.monotonic()
    said = _command(folder, "pretrain", "--data", f"drawn:{faces}", "--side", side, "--epochs", 1, "--device", device)
    yield "pretrain, s", time.monotonic() - began
    yield "the extractor's accuracy after one epoch", said["accuracy"]
    places = {"gpu": device, "cpu": "cpu"}
    for name in places:
        shutil.copytree(folder / "fsr", folder / name / "fsr")
    with ThreadPoolExecutor(len(places)) as pool:
        chains = pool.map(lambda name: _chain(folder / name, places[name], steps), places)
        found = dict(zip(places, chains, strict=True))
    for name, chain in found.items():
        yield f"seconds, {name}", chain["seconds"]
    yield from _features(folder)
    yield from _tables(found["gpu"]["table"]["rows"], found["cpu"]["table"]["rows"])


def _chain(folder: Path, device: str, steps: int) -> dict[str, Any]:
    """Extract, train and evaluate in a workspace."""
    seconds, said = {}, {}
    for words in (["extract", "--scales", "2,4"], ["train", "--preset", "tiny", "--steps", steps],
                  ["evaluate", "--heads", "frozen"]):  # fmt: skip
        began = time.monotonic()
        said[words[0]] = _command(folder, *words, "--device", device)
        seconds[str(words[0])] = round(time.monotonic() - began, 1)
    return {"seconds": seconds, "table": said["evaluate"]}


def _command(folder: Path, *words: object) -> dict[str, Any]:
    """Run a command of fsrcache in a folder; return what it says as JSON."""
    program = [sys.executable, "-c", "from fsrcache.cli import main; main()", *map(str, words), "--json"]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"fsrcache {words[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-_SAID:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _features(folder: Path) -> Found:
    """Compare what two stores hold."""
    from fsrcache.store.reader import FeatureStore  # needs what may not be installed

    mine, theirs = (FeatureStore(folder / name / "fsr" / "features.zarr") for name in ("gpu", "cpu"))
    for scale in theirs.scales:
        got, expected = (np.asarray(store.features("train", scale)[:], np.float64) for store in (mine, theirs))
        apart = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
        yield f"features at scale {scale}", Limited(apart, _FEATURES)


def _tables(mine: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> Found:
    """Compare accuracies, the mean over scales of every row."""
    for row in dict.fromkeys(score["row"] for score in theirs):
        got, expected = ([score for score in scores if score["row"] == row] for scores in (mine, theirs))
        means = [sum(score["accuracy"] for score in scores) / max(len(scores), 1) for scores in (got, expected)]
        trained = row not in ("HR", "bicubic")
        error = max(score["standard_error"] for score in expected)
        limit = _ERRORS_APART * error if trained else 100 * _FACES_APART / expected[0]["n"]
        yield f"{row}: accuracies, %", means
        yield f"{row}: apart", Limited(abs(means[0] - means[1]), limit)
