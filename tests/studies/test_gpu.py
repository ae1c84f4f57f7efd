"""The run on a GPU, without one: its rehearsal is right, and whatever goes wrong in it is recorded and ends nothing."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fsrcache.kernels.gradient_norm import gradient_norm_reference, penalty_direction_reference
from studies.gpu import ops
from studies.gpu.__main__ import main
from studies.gpu.checks import Check, Failure, Limited, NotRunError, Setting, read_part, run_checks
from studies.gpu.parts import PARTS, Part
from studies.gpu.report import as_markdown, as_table
from studies.gpu.schedule import run_parts

CPU = torch.device("cpu")
DOCS = Path(__file__).parents[2] / "docs" / "gpu.md"
OPS = ("covariance_pool", "bimap_covariance_pool", "gradient_norm", "penalty_direction", "symmetric_gather", "log_eig",
       "log_eig_gemm", "closed_form_penalty")  # fmt: skip


def setting(folder, seconds=100.0):
    return Setting(CPU, True, folder, time.monotonic() + seconds)


@pytest.mark.slow
def test_the_rehearsal(tmp_path):
    words = [sys.executable, "-m", "studies.gpu", "--out", str(tmp_path), "--rehearse"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    page = (tmp_path / "gpu.md").read_text()
    assert done.returncode == 0, done.stdout + page[:5000]
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert [part["part"] for part in record["parts"]] == [part.name for part in PARTS]
    assert {part["state"] for part in record["parts"]} == {"right"}
    checks = {part["part"]: part["checks"] for part in record["parts"]}
    assert all(checks.values())
    said = {word for part in ("pooling", "ops") for name, check in checks[part].items() if check["found"]
            for word in name.replace(",", " ").split()}  # fmt: skip
    assert said >= set(OPS)
    left_out = [name for part in checks.values() for name, check in part.items() if check["state"] == "not run"]
    assert {check["state"] for part in checks.values() for check in part.values()} == {"right", "not run"}
    for name in left_out:
        assert name.rpartition(": ")[2] in DOCS.read_text(), name
    assert "the same table on the GPU and on the CPU" in checks["way"]
    assert checks["way"]["the same table on the GPU and on the CPU"]["state"] == "right"
    for part in PARTS:
        assert f"## {part.name}: right" in page
        assert part.name in done.stdout


@pytest.fixture
def gradients(monkeypatch):
    """Return a function that runs the checks of gradient_norm, its launchers the references, in this process."""
    monkeypatch.setattr(ops, "launch_gradient_norm", gradient_norm_reference)
    monkeypatch.setattr(ops, "launch_penalty_direction", penalty_direction_reference)

    def run(folder):
        given = setting(folder)
        run_checks("ops", [check for check in ops.checks(given) if "(3, 1, 31, 31) torch.float32" in check.name], given)
        return read_part(folder / "ops.json")

    yield run
    torch.use_deterministic_algorithms(False)


def test_an_op_that_is_wrong_is_found(gradients, monkeypatch, tmp_path):
    (right,) = gradients(tmp_path)["checks"].values()
    assert right["state"] == "right"
    (tmp_path / "ops.json").unlink()
    monkeypatch.setattr(ops, "launch_gradient_norm", lambda g, power: gradient_norm_reference(g, power) * (1 + 1e-4))
    (wrong,) = gradients(tmp_path)["checks"].values()
    assert wrong["state"] == "wrong"
    assert "norm, p 6.0: 0.0001, more than 5e-06" in wrong["error"]
    assert wrong["found"]["norm, p 6.0"]["limit"] == 5e-6


def test_one_check_does_not_end_the_next(tmp_path):
    def raises():
        yield "before", 1.5
        raise ValueError("no such thing")

    def absent():
        raise NotRunError("There is none.")
        yield

    checks = [
        Check("raises", raises), Check("not a number", lambda: [("x", Limited(float("nan"), 1))]),
        Check("one of several", lambda: [("a", 1), ("b", Failure("it broke"))]), Check("absent", absent),
        Check("right", lambda: [("x", Limited(1.0, 1))]),
    ]  # fmt: skip
    run_checks("part", checks, setting(tmp_path))
    record = read_part(tmp_path / "part.json")
    assert record["ended"]
    assert [check["state"] for check in record["checks"].values()] == ["failed", "wrong", "failed", "not run", "right"]
    raised = record["checks"]["raises"]
    assert raised["error"] == "ValueError: no such thing"
    assert "in raises" in raised["traceback"]
    assert raised["found"] == {"before": 1.5}
    assert record["checks"]["one of several"]["error"] == "b: it broke"


def test_no_check_is_begun_after_the_time(tmp_path):
    run_checks("part", [Check("late", lambda: [])], setting(tmp_path, seconds=-1))
    assert read_part(tmp_path / "part.json")["checks"]["late"]["state"] == "skipped"


CRASHING = """
import os, signal, sys, time
from pathlib import Path
import torch
from studies.gpu.checks import Check, Setting, run_checks

def crash():
    yield "before", 1
    os.kill(os.getpid(), signal.SIGSEGV)

def hang():
    time.sleep(100)
    yield "after", 1

setting = Setting(torch.device("cpu"), True, Path(sys.argv[1]), time.monotonic() + float(sys.argv[2]))
run_checks("crashing", [Check("first", lambda: []), Check("crash", crash), Check("hang", hang, seconds=0.5),
                        Check("last", lambda: [("x", 1)])], setting)
"""
ONE = """
import sys, time
from pathlib import Path
import torch
from studies.gpu import checks
from studies.gpu.checks import Check, Setting

def first():
    {first}
    yield "x", 1

checks._trouble = lambda device: "{trouble}"
setting = Setting(torch.device("cpu"), True, Path(sys.argv[1]), time.monotonic() + float(sys.argv[2]))
checks.run_checks("{name}", [Check("first", first), Check("last", lambda: [("x", 1)])], setting)
"""
PROGRAMS = {
    "crashing": CRASHING,
    "stillborn": "raise SystemExit('nothing works')",
    "hanging": "import time; time.sleep(100)",
    "fine": ONE.format(name="fine", first="", trouble=""),
    "lost": ONE.format(name="lost", first="yield 1 / 0", trouble="illegal address"),
}


def run(folder, *parts, budget=100.0, monkeypatch=None):
    if monkeypatch is not None:
        monkeypatch.setattr("studies.gpu.schedule._GRACE", 0.2)
    seen = []
    outcomes = run_parts(
        parts, folder, budget=budget, environment={"WHERE": "here"},
        on_progress=lambda outcomes: seen.append(len(outcomes)),
        command=lambda part, seconds: [sys.executable, "-c", PROGRAMS[part.name], str(folder), str(seconds)],
    )  # fmt: skip
    assert seen == list(range(1, len(parts) + 1))
    return outcomes


@pytest.mark.slow
def test_a_part_that_crashes_goes_on_after_its_check(tmp_path):
    crashing, fine = run(tmp_path, Part("crashing", 0, 60, 0), Part("fine", 0, 60, 1))
    states = {name: check["state"] for name, check in crashing.checks.items()}
    assert states == {"first": "right", "crash": "failed", "hang": "failed", "last": "right"}
    assert crashing.state == "wrong"
    assert "SIGSEGV" in crashing.checks["crash"]["error"]
    assert crashing.checks["crash"]["found"] == {}
    assert "in hang" in crashing.checks["hang"]["error"]  # where it was
    assert fine.state == "right"
    page = as_markdown([crashing, fine], rehearsal=True)
    assert "**crashing: hang**" in page
    assert "2 of 4: crash; hang" in as_table([crashing, fine])


@pytest.mark.slow
def test_a_part_whose_device_is_lost_goes_on_in_another_process(tmp_path):
    (lost,) = run(tmp_path, Part("lost", 0, 60, 0))
    assert {name: check["state"] for name, check in lost.checks.items()} == {"first": "failed", "last": "right"}
    assert "answers nothing any more: illegal address" in lost.checks["first"]["error"]
    assert lost.state == "wrong"


def test_what_is_stopped_stops_at_once(tmp_path):
    def stop(_outcomes):
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_parts(
            [Part("fine", 0, 60, 0), Part("hanging", 0, 60, 0)], tmp_path, budget=100, environment={}, on_progress=stop,
            command=lambda part, seconds: [sys.executable, "-c", PROGRAMS[part.name], str(tmp_path), str(seconds)],
        )  # fmt: skip
    assert time.monotonic() - began < 30


def test_a_part_that_never_begins_or_hangs_ends_no_other(tmp_path, monkeypatch):
    parts = (Part("stillborn", 0, 60, 0), Part("hanging", 0, 0.3, 0), Part("fine", 0, 60, 1))
    stillborn, hanging, fine = run(tmp_path, *parts, monkeypatch=monkeypatch)
    assert (stillborn.state, hanging.state, fine.state) == ("failed", "failed", "right")
    assert "nothing works" in stillborn.reason
    assert "its time was over" in hanging.reason
    assert hanging.seconds < 20


def test_the_budget_leaves_out_the_last_parts(tmp_path):
    first, last = run(tmp_path, Part("fine", 0, 60, 0), Part("crashing", 1000, 2000, 1))
    assert first.state == "right"
    assert last.state == "skipped"
    assert "is not begun with 1000 s or less" in last.reason
    assert "skipped" in as_table([first, last])


def test_an_earlier_run_is_forgotten(tmp_path):
    (tmp_path / "stillborn.json").write_text('{"ended": true, "checks": {"old": {"state": "right"}}}')
    (outcome,) = run(tmp_path, Part("stillborn", 0, 60, 0))
    assert outcome.state == "failed"
    assert not outcome.checks


@pytest.mark.skipif(torch.cuda.is_available(), reason="There is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    done = CliRunner().invoke(main, ["--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "finds no GPU" in done.output
    assert not (tmp_path / "out").exists()


def test_a_part_that_there_is_not(tmp_path):
    done = CliRunner().invoke(main, ["--out", str(tmp_path), "--rehearse", "--only", "machine,mchine"])
    assert done.exit_code == 2
    assert "no part 'mchine'" in done.output


@pytest.mark.slow
def test_the_exit_code_tells(tmp_path):
    def code(*words):
        command = [sys.executable, "-m", "studies.gpu", "--out", str(tmp_path), "--rehearse", *words]
        return subprocess.run(command, capture_output=True, check=False, env=dict(os.environ)).returncode

    assert code("--only", "compiled") == 0
    assert code("--only", "compiled", "--budget", "1") == 1


def test_every_part_is_in_the_docs():
    text = DOCS.read_text()
    assert all(f"`{part.name}`" in text for part in PARTS)
