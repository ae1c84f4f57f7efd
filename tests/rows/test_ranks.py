"""Rows that several processes train together: what one trains, to rounding, although one of them was killed."""

import json
import os
import shutil
import signal
import time

import pytest

from fsrcache.models.weights import kind_of, read_weights
from fsrcache.store.reader import FeatureStore
from fsrcache.store.verify import verify
from studies.program import begin_torchrun, processes_of, run_ranks

# One of each kind: in closed form, an extractor trained further, specialists, a generator, an image super-resolver.
ROWS = ["ridge", "fine-tuned", "specialists", "fsr", "rcan"]
SETTINGS = ["epochs=1", "batch=16", "steps=6", "precision=fp32", "network.features=4", "network.blocks=1"]
PROGRAM = """
import sys
from fsrcache.cli.main import main
from fsrcache.training.classifier import trainer
from fsrcache.training.super_resolution import fit
trainer.computes_bf16 = fit.computes_bf16 = lambda device: False  # whatever the machine is good at
main(sys.argv[1:])
"""


def command(workspace, *rows, settings=SETTINGS):
    options = [part for setting in settings for part in ("--set", setting)]
    return ["-c", PROGRAM, "baselines", "--workspace", workspace, "--rows", ",".join(rows), *options, "--restart",
            "--json"]  # fmt: skip


@pytest.mark.slow
def test_rows_are_those_of_one_process_although_one_of_two_was_killed(trained, tmp_path):
    one, two = (tmp_path / name for name in ("one", "two"))
    for folder in (one, two):
        shutil.copytree(trained / "fsr", folder)
    (alone,) = run_ranks(1, *command(one, *ROWS))
    assert alone.returncode == 0, alone.stderr
    process = begin_torchrun(2, *command(two, *ROWS), options=["--max-restarts=1"])
    until = time.monotonic() + 300
    while not (two / "rows/fine-tuned/seed-0/extractor.safetensors").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(processes_of(process)[1], signal.SIGKILL)
    said, told = process.communicate()
    assert process.returncode == 0, told
    shared = json.loads(said[said.rindex('{\n  "rows"') :])["rows"]
    assert [row["row"] for row in shared] == ROWS
    assert (shared[0]["was_there"], shared[1]["resumed_from"]) == (True, 1)  # although --restart stands in the command
    for here, there in zip(alone.answer["rows"], shared, strict=True):
        assert here["held_out"] == there["held_out"]
        assert here["super_resolution"].keys() == there["super_resolution"].keys()
    files = [file for file in one.glob("rows/**/*.safetensors") if "training" not in file.parts]
    files = [file for file in files if not file.name.startswith("checkpoint")]
    assert {file.relative_to(one).parts[1] for file in files} == set(ROWS)
    for file in files:
        kind, other = kind_of(file, wanted="row"), two / file.relative_to(one)
        theirs = read_weights(other, kind=kind)[0]
        for name, values in read_weights(file, kind=kind)[0].items():
            away = (theirs[name].double() - values.double()).abs().mean()
            assert away <= 1e-4 * max(values.double().abs().max(), 1e-6), (file, name)
    for row in ("fine-tuned", "rcan"):  # each process wrote a part
        store = FeatureStore(two / "rows" / row / "seed-0/features.zarr")
        assert not verify(store.name).problems
        assert store.spec.rows == FeatureStore(two / "features.zarr").spec.rows
