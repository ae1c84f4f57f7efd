"""A training that is killed again and again ends as one that nobody disturbed, bit for bit on the CPU."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.models.weights import read_weights

# Trains in a process of its own for every folder named on standard input, which is forked from one that has imported
# everything: to start Python and torch takes longer than the training. Checkpoints are made at every status line.
PROGRAM = """
import json, os, sys
from dataclasses import asdict, replace
from pathlib import Path
import torch
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.train import train_generator

torch.set_num_threads(1)
root = Path(sys.argv[1])
config = replace(TRAINING["best"], generator=MLPConfig(width=64, blocks=1), critic=CriticConfig(filters=2), batch=16,
                 steps=1600, averaging=0.99, precision="fp32")
for line in sys.stdin:
    folder = Path(line.strip())
    child = os.fork()
    if child == 0:
        record = train_generator(FeatureStore(root / "store"), root / "extractor", config, folder=folder,
                                 device=torch.device("cpu"), seed=7, checkpoint_seconds=0.0)
        (folder / "record.json").write_text(json.dumps(asdict(record)))
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
KILLS = 20


@pytest.fixture
def trainer(extractor):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(extractor.parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    yield process
    process.communicate()


def begin(trainer, folder):
    """Begin, or go on with, a training in a folder; return its process."""
    trainer.stdin.write(f"{folder}\n")
    trainer.stdin.flush()
    return int(trainer.stdout.readline())


def end(trainer):
    """Wait for it to end; return its exit code, negative for a signal."""
    return int(trainer.stdout.readline())


def kept_step(folder):
    """Return the step of the newest checkpoint, -1 where there is none or it is just being replaced."""
    try:
        return read_weights(folder / "checkpoint.safetensors", kind="checkpoint")[1]["state"]["step"]
    except (FsrcacheError, OSError):
        return -1


def history(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.slow
def test_killed_twenty_times_is_undisturbed(trainer, tmp_path):
    whole, killed, random = tmp_path / "whole", tmp_path / "killed", np.random.default_rng(0)
    begin(trainer, whole)
    assert end(trainer) == 0
    for _ in range(KILLS):
        before, until = kept_step(killed), time.monotonic() + 120
        process = begin(trainer, killed)
        while time.monotonic() < until and kept_step(killed) <= before:
            time.sleep(0.01)  # it has at least taken some steps and kept them
        time.sleep(random.uniform(0, 0.15))
        os.kill(process, signal.SIGKILL)
        assert end(trainer) == -signal.SIGKILL, "it came to its end before it was killed: take more steps"
    begin(trainer, killed)
    assert end(trainer) == 0
    first, last = (json.loads((folder / "record.json").read_text()) for folder in (whole, killed))
    assert first["resumed_from"] == 0
    assert 0 < last["resumed_from"] < last["steps"]
    assert (whole / "generator.safetensors").read_bytes() == (killed / "generator.safetensors").read_bytes()
    assert history(whole) == history(killed)
    assert last["losses"] == first["losses"]
    assert last["held_out_accuracy"] == first["held_out_accuracy"]
