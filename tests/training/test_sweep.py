"""``fsrcache sweep``: every combination once, as runs that ``train`` would have made, over features read once."""

import csv
import gc
import json
import multiprocessing
import os
import signal
import weakref
from multiprocessing.connection import Connection
from statistics import fmean, stdev
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

import fsrcache
import fsrcache.training.run.train as train_module
from fsrcache.cli.sweep import sweep as command
from fsrcache.errors import FsrcacheError, Remedy, RequestError, arguments
from fsrcache.models.weights import read_record
from fsrcache.presets import TRAINING
from fsrcache.progress import Progress
from fsrcache.settings import alternatives
from fsrcache.training.data.memory import locate_cache
from fsrcache.training.run import features
from fsrcache.training.run.checkpoint import CHECKPOINT, previous, run_record
from fsrcache.training.run.lock import run_lock, under_way
from fsrcache.training.sweep import processes
from fsrcache.training.sweep.plan import plan_runs, run_name
from fsrcache.training.sweep.processes import train_in_processes
from fsrcache.training.sweep.progress import sweep_progress
from fsrcache.training.sweep.result import SweepRunResult, rows_of, to_csv
from fsrcache.training.sweep.runs import RunOptions
from fsrcache.workspace import Workspace
from studies.program import Running, run_ranks

SMALL = ("generator.width=8", "generator.rank=0", "batch=16")
BEST = TRAINING["best"]


@pytest.fixture
def sweep(workspace):
    """Return a function that trains small generators for a few steps."""

    def work(*settings, steps=4, **options):
        options = {"preset": "best", "device": "cpu", "steps": steps, **options}
        return fsrcache.sweep(workspace, settings=[*settings, *SMALL], **options)

    return work


def planned(*settings, seeds=1, name="sweep"):
    return plan_runs(BEST, settings, seeds=seeds, workspace=Workspace("fsr"), name=name)


def generator(workspace, name):
    return (workspace.run(name) / "generator.safetensors").read_bytes()


def test_the_plan_is_the_product_of_values_and_seeds():
    runs = planned("l2_weight=0,0.5", "critic.filters=4", "schedule=one_cycle, milestones", seeds=2)
    assert [(run.config.l2_weight, run.config.schedule, run.seed) for run in runs] == [
        (weight, schedule, seed) for weight in (0, 0.5) for schedule in ("one_cycle", "milestones") for seed in (0, 1)
    ]
    assert {run.config.critic.filters for run in runs} == {4}
    assert runs[0].settings == ("l2_weight=0", "critic.filters=4", "schedule=one_cycle")
    assert runs[0].name == "sweep-critic.filters-4-l2_weight-0-schedule-one_cycle-seed-0"
    assert runs[0].folder == Workspace("fsr").run(runs[0].name)
    assert len({run.name for run in runs}) == 8


def test_a_run_has_its_name_whatever_else_the_sweep_trains():
    (alone,) = planned("l2_weight=0", "batch=32")
    wider = planned("l2_weight=0,5", "batch=32", seeds=2)
    assert alone.name == "sweep-batch-32-l2_weight-0-seed-0"
    assert [run.name for run in wider if run.config == alone.config] == [alone.name, f"{alone.name[:-1]}1"]
    assert alone.name not in {run.name for run in planned("l2_weight=5", "batch=32")}


def test_combinations_that_come_to_the_same_are_one():
    assert [run.settings for run in planned("l2_weight=1,1.0,2,1e0")] == [("l2_weight=1",), ("l2_weight=2",)]
    assert [run.name for run in planned("l2_weight=1,1.0")] == ["sweep-l2_weight-1-seed-0"]
    assert [run.name for run in planned(seeds=2)] == ["sweep-seed-0", "sweep-seed-1"]


def test_values_of_a_tuple_are_separated_by_semicolons():
    assert alternatives(BEST, "betas=0,0.9;0.9,0.999") == ["betas=0,0.9", "betas=0.9,0.999"]
    assert alternatives(BEST, "milestones=10,20") == ["milestones=10,20"]
    assert alternatives(BEST, "generator.width=8,16") == ["generator.width=8", "generator.width=16"]
    assert [run.config.betas for run in planned("betas=0,0.9;0.9,0.999")] == [(0, 0.9), (0.9, 0.999)]
    assert planned("betas=0,0.9;0.9,0.999")[0].name == "sweep-betas-0.0_0.9-seed-0"


def test_names_are_legal_and_of_one_run_whatever_the_order():
    assert run_name("a", ("x=1", "b=2"), 3) == run_name("a", ("b=2", "x=1"), 3) == "a-b-2-x-1-seed-3"
    pairs = [("classification_weight=0.125", f"distillation_weight={weight}") for weight in (0.001, 0.002)]
    long = [run_name("sweep", settings, 10) for settings in pairs]
    assert len({*long}) == 2
    assert all(len(name) == 64 and name.endswith("-seed-10") for name in long)
    assert Workspace("fsr").run(long[0]).name == long[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["l2_weight=0,much"], "l2_weight is 'much'"),
        (["l2_weight=0,,1"], "l2_weight is ''"),
        (["l2_weigth=0,1"], "'l2_weigth' is unknown"),
        (["l2_weight"], "'l2_weight' is not NAME=VALUE"),
        (["l2_weight=0", "l2_weight=1"], "set twice"),
        (["betas=0,0.9,0.99"], "betas has 3 values"),
        (["optimiser=adamw,adam", "weight_decay=0.1"], "decays nothing"),
        (["steps=3,4"], "The steps are 4 and a setting"),
        (["generator.form=mlp,rrdb", "generator.unshuffle=3"], "unshuffle"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(workspace, settings, words):
    with pytest.raises(RequestError, match=words):
        fsrcache.sweep(workspace, preset="best", settings=settings, steps=4, device="cpu")
    assert not (workspace.folder / "runs").exists()


@pytest.mark.parametrize("options", [{"seeds": 0}, {"jobs": 0}, {"name": "-x"}, {"log": ["none"]}, {"cache": "disk"}])
def test_a_wrong_argument_is_refused(sweep, options):
    with pytest.raises(RequestError):
        sweep("l2_weight=0,1", **options)


def test_runs_are_those_of_train_and_features_are_read_once(workspace, sweep, monkeypatch):
    reads = []
    for name in ("load_splits", "load_cache"):
        load = getattr(features, name)
        monkeypatch.setattr(features, name, lambda *a, name=name, load=load, **k: reads.append(name) or load(*a, **k))
    result = sweep("l2_weight=0.5,1", seeds=2)
    assert reads.count("load_splits") == 1  # what is learnt from
    assert reads.count("load_cache") == 1 + 4  # the held-out tenth, and again at the end of every run
    assert [run.seed for run in result.runs] == [0, 1, 0, 1]
    for one in (result.runs[1], result.runs[2]):
        weight = one.settings[0].partition("=")[2]
        alone = fsrcache.train(
            workspace, name=f"alone-{weight}", preset="best", steps=4, seed=one.seed, device="cpu",
            settings=[f"l2_weight={weight}", *SMALL],
        )  # fmt: skip
        assert generator(workspace, one.name) == generator(workspace, f"alone-{weight}")
        assert one.held_out_accuracy == alone.held_out_accuracy
        again = fsrcache.train(
            workspace, name=one.name, preset="best", steps=4, seed=one.seed, device="cpu",
            settings=[f"l2_weight={weight}", *SMALL],
        )  # fmt: skip
        assert again.resumed_from == 4
    summaries = {summary.name: summary for summary in fsrcache.runs(workspace)}
    assert {summaries[one.name].state for one in result.runs} == {"finished"}


def test_runs_with_and_without_early_features(workspace, store, sweep):
    result = sweep("generator.early=true,false", seeds=2)
    widths = {"true": store.spec.widths["early"], "false": 0}
    assert len(result.runs) == 4
    for one in result.runs:
        early = one.settings[0].partition("=")[2]
        record = read_record(workspace.run(one.name) / "generator.safetensors", kind="generator")
        assert record["early"] == widths[early]
        alone = fsrcache.train(
            workspace, name=f"alone-{early}-{one.seed}", preset="best", steps=4, seed=one.seed, device="cpu",
            settings=[f"generator.early={early}", *SMALL],
        )  # fmt: skip
        assert generator(workspace, one.name) == generator(workspace, f"alone-{early}-{one.seed}")
        assert one.held_out_accuracy == alone.held_out_accuracy


def test_the_memory_is_that_of_what_is_read(store, sweep, monkeypatch):
    asked = []

    def locate(cache, sizes, **options):
        asked.append(sizes)
        return locate_cache(cache, sizes, **options)

    monkeypatch.setattr("fsrcache.verbs.sweep.locate_cache", locate)
    sweep("generator.early=false", "l2_weight=1,2")
    sweep("generator.early=false,true", name="both", jobs=2)
    faces, widths = int((~store.held_out()).sum()), store.spec.widths
    features, early = (2 * 3 * faces * widths[name] for name in ("features", "early"))
    assert asked == [[features], [features, early] * 2]


def test_an_interrupted_sweep_goes_on(workspace, sweep, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.due._CHECKPOINT_SECONDS", 0.0)
    whole = sweep("l2_weight=0.5,1", name="whole", steps=40)
    notes = []

    def stop(progress):
        if progress.phase == "run 2 of 2: training" and progress.done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep("l2_weight=0.5,1", steps=40, on_progress=stop)
    names = [run.name for run in planned("l2_weight=0.5,1", *SMALL)]
    states = {summary.name: summary.state for summary in fsrcache.runs(workspace)}
    assert [states[name] for name in names] == ["finished", "interrupted"]
    checkpoint = workspace.run(names[0]) / "checkpoint.safetensors"
    written = checkpoint.stat().st_mtime_ns
    result = sweep("l2_weight=0.5,1", steps=40, on_progress=lambda progress: notes.append(progress.note))
    assert checkpoint.stat().st_mtime_ns == written
    assert any(note.startswith(f"{names[0]} had ended") for note in notes)
    assert [run.name for run in result.runs] == names
    assert [run.held_out_accuracy for run in result.runs] == [run.held_out_accuracy for run in whole.runs]
    for one, other in zip(result.runs, whole.runs, strict=True):
        assert generator(workspace, one.name) == generator(workspace, other.name)
    monkeypatch.setattr("fsrcache.training.sweep.runs.open_features", None)  # nor are features read
    sweep("l2_weight=0.5,1", steps=40, on_progress=lambda progress: notes.append(progress.note))
    assert notes[-1] == "Nothing to do: 2 runs had ended."


def test_an_interrupted_run_goes_on_under_its_own_threads(workspace, sweep, stop_after, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.due._CHECKPOINT_SECONDS", 0.0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)  # as with one job on two cores
        whole = sweep(name="whole", steps=40)
        with pytest.raises(KeyboardInterrupt):
            sweep(steps=40, on_progress=stop_after("run 1 of 1: training", 12))
        torch.set_num_threads(1)  # as with two
        one, other = sweep(steps=40, seeds=2).runs
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert (one.error, other.error) == ("", "")
    assert generator(workspace, one.name) == generator(workspace, whole.runs[0].name)
    threads = [run_record(workspace.run(run.name) / CHECKPOINT)["settings"]["threads"] for run in (one, other)]
    assert threads == [2, 1]


def test_an_interrupted_restart_goes_on_without_it(workspace, sweep, stop_after):
    before = sweep("l2_weight=0.5,1", steps=4).runs
    kept = generator(workspace, before[1].name)
    with pytest.raises(RequestError):
        sweep("l2_weight=0.5,1", steps=40, restart=True, log="wandb")
    assert not any(run.error for run in sweep("l2_weight=0.5,1", steps=4).runs)
    with pytest.raises(KeyboardInterrupt):
        sweep("l2_weight=0.5,1", steps=40, restart=True, on_progress=stop_after("run 1 of 2: training", 12))
    assert generator(workspace, before[1].name) == kept
    assert [run.steps for run in sweep("l2_weight=0.5,1", steps=40).runs] == [40, 40]


@pytest.mark.parametrize(("before", "now"), [("ram", "stream"), ("stream", "ram")])
def test_a_sweep_goes_on_where_its_features_lie_elsewhere_now(workspace, sweep, monkeypatch, before, now):
    def stop(progress):
        if progress.phase == "run 2 of 2: training" and progress.done >= 12:
            raise KeyboardInterrupt

    monkeypatch.setattr("fsrcache.training.run.due._CHECKPOINT_SECONDS", 0.0)
    whole = sweep("l2_weight=0.5,1", name="whole", steps=40, cache=before)
    with pytest.raises(KeyboardInterrupt):
        sweep("l2_weight=0.5,1", steps=40, cache=before, on_progress=stop)
    refused = sweep("l2_weight=0.5,1", steps=40, cache=now)  # what has ended is not
    assert ["in another order" in run.error for run in refused.runs] == [False, True]
    located = locate_cache(now, [1], device=torch.device("cpu"))
    monkeypatch.setattr("fsrcache.verbs.sweep.locate_cache", lambda *_, **__: located)  # what auto finds
    result = sweep("l2_weight=0.5,1,2", steps=40)
    for one, other in zip(result.runs, whole.runs, strict=False):
        assert generator(workspace, one.name) == generator(workspace, other.name)
    record = run_record(workspace.run(result.runs[2].name) / CHECKPOINT)
    assert record["settings"]["order"].startswith("streamed") == (now == "stream")


def test_a_run_without_memory_does_not_end_the_others(sweep, monkeypatch):
    def short(trainer, *of, **options):
        if trainer.config.l2_weight == 0.5:
            failed.append(weakref.ref(trainer))
            torch.empty(1 << 60)
        gc.collect()
        assert failed[0]() is None
        return run_steps(trainer, *of, **options)

    failed, run_steps = [], train_module.run_steps
    monkeypatch.setattr(train_module, "run_steps", short)
    first, second = sweep("l2_weight=0.5,1").runs
    assert first.error.startswith("A training in batches of 16 does not fit into the memory: ")
    assert (second.error, second.steps) == ("", 4)


def test_a_run_that_fails_does_not_end_the_others(workspace, sweep):
    runs = planned("l2_weight=0.5,1", *SMALL)
    with run_lock(workspace.run(runs[0].name)):
        with pytest.raises(FsrcacheError, match="Another process is training in"):
            sweep("l2_weight=0.5")
        result = sweep("l2_weight=0.5,1")
    assert result.runs[0].error.startswith("Another process is training in")
    assert result.runs[0].remedy.startswith("Wait for it or stop it")
    assert result.runs[0].held_out_accuracy == {}
    assert (result.runs[1].name, result.runs[1].error, result.runs[1].steps) == (runs[1].name, "", 4)
    assert [row.settings for row in result.rows] == [runs[1].settings]
    assert [run.error for run in sweep("l2_weight=0.5,1").runs] == ["", ""]


def test_a_sweep_is_refused_whole_where_a_run_was_begun_with_other_settings(workspace, sweep):
    sweep("l2_weight=1")
    before = generator(workspace, planned("l2_weight=1", *SMALL)[0].name)
    for options in ({"steps": 5}, {"steps": 4, "preset": "tiny"}):
        with pytest.raises(RequestError, match=r"was made under other settings: .* Nothing was trained\.") as refused:
            sweep("l2_weight=0.5,1", **options)
        assert refused.value.remedy.startswith("Name another sweep, `name=NAME`")
    assert [summary.steps for summary in fsrcache.runs(workspace)] == [4]  # none beside it
    assert generator(workspace, planned("l2_weight=1", *SMALL)[0].name) == before
    assert [run.steps for run in sweep("l2_weight=0.5,1", steps=5, restart=True).runs] == [5, 5]


def test_a_damaged_checkpoint_refuses_no_sweep(workspace, sweep):
    (name,) = (run.name for run in sweep("l2_weight=1").runs)
    newest = workspace.run(name) / CHECKPOINT
    previous(newest).write_bytes(newest.read_bytes())
    newest.write_bytes(newest.read_bytes().replace(b'\\"seed\\":0', b'\\"seed\\":7'))
    assert run_record(newest)["settings"]["seed"] == 7
    assert [run.error for run in sweep("l2_weight=1").runs] == [""]


@pytest.mark.slow
def test_several_processes_make_the_same_runs(workspace, sweep):
    reports = []
    with_one = sweep("l2_weight=0.5,1", name="one", threads=1)
    with_two = sweep("l2_weight=0.5,1", name="two", threads=1, jobs=2, on_progress=reports.append)
    for one, two in zip(with_one.runs, with_two.runs, strict=True):
        assert generator(workspace, one.name) == generator(workspace, two.name)
        assert one.held_out_accuracy == two.held_out_accuracy
    assert {"run 1 of 2: training", "run 2 of 2: training"} <= {report.phase for report in reports}


def test_rows_have_means_and_deviations_over_seeds():
    scores = {0: {"1": 60.0, "2": 40.0}, 1: {"1": 64.0, "2": 38.0}, 2: {"1": 62.0, "2": 48.0}}
    runs = [SweepRunResult(f"a{seed}", ("x=1", "y=2,3"), seed, 9, score) for seed, score in scores.items()]
    runs += [SweepRunResult("b", ("x=2", "y=2,3"), 0, 9, {"1": 50.0, "2": 30.0})]
    runs += [SweepRunResult("c", ("x=2", "y=2,3"), 1, 0, {}, "it failed")]
    first, second = rows_of(runs)
    assert first.seeds == (0, 1, 2)
    assert (first.held_out_accuracy["2"].mean, first.held_out_accuracy["2"].deviation) == (42, stdev([40, 38, 48]))
    assert (first.mean.mean, first.mean.deviation) == (pytest.approx(52), pytest.approx(stdev([50, 51, 55])))
    assert (second.seeds, second.mean.mean, second.mean.deviation) == ((0,), 40, None)
    lines = list(csv.reader(to_csv((first, second)).splitlines()))
    assert lines[0] == ["x", "y", "seeds", "scale", "held_out_accuracy", "deviation"]
    assert lines[3] == ["1", "2,3", "3", "2", "42.0", str(stdev([40, 38, 48]))]
    assert lines[4] == ["2", "2,3", "1", "mean", "40.0", ""]


def test_the_time_of_the_whole_is_said_once(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("fsrcache.announce.time.perf_counter", lambda: next(clock))
    runs, notes = planned("l2_weight=0,1", seeds=2), []
    report = sweep_progress(runs, lambda progress: notes.append(progress.note), jobs=2)
    for done in range(0, 80, 10):
        report(runs[0], Progress("training", done, BEST.steps, "steps", note=""))
    (said,) = filter(None, notes)
    assert "for 4 runs with 96,000 steps to go, 2 at once, by the first 10." in said
    report(runs[1], Progress("", 0, 0, "", note="Cache: ram"))
    assert len(list(filter(None, notes))) == 1


def test_the_time_is_of_the_runs_that_have_not_ended(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr("fsrcache.announce.time.perf_counter", lambda: next(clock))
    runs, notes = planned("l2_weight=0,1", "patience=3", seeds=2), []
    monkeypatch.setattr("fsrcache.training.sweep.progress.has_ended", lambda folder, _: folder == runs[0].folder)
    report = sweep_progress(runs, lambda progress: notes.append(progress.note), jobs=1)
    for done in range(0, 80, 10):
        report(runs[1], Progress("training", done, BEST.steps, "steps", note=""))
    (said,) = filter(None, notes)
    assert "for 3 runs with at most 72,000 steps to go, by the first 10." in said


def words(workspace, *more):
    small = [word for setting in SMALL for word in ("--set", setting)]
    fixed = ["--workspace", workspace.folder, "--preset", "best", "--device", "cpu", *small]
    return list(map(str, (*fixed, *more)))


def test_the_command(workspace, tmp_path):
    table = tmp_path / "table.csv"
    options = words(workspace, "--set", "l2_weight=0,1", "--seeds", 2, "--steps", 4)
    answer = json.loads(CliRunner().invoke(command, [*options, "--json", "--csv", table]).stdout)
    assert {frozenset(one) for one in answer["runs"]} == {
        frozenset({"name", "settings", "seed", "steps", "held_out_accuracy", "error", "remedy"})
    }
    assert [(one["settings"], one["seed"]) for one in answer["runs"]] == [
        ([*SMALL, f"l2_weight={weight}"], seed) for weight in (0, 1) for seed in (0, 1)
    ]
    names = [one["name"] for one in answer["runs"]]
    result = json.loads((workspace.run(names[3]) / "result.json").read_text())
    assert (result["seed"], result["held_out_accuracy"]) == (1, answer["runs"][3]["held_out_accuracy"])
    means = [fmean(one["held_out_accuracy"].values()) for one in answer["runs"][:2]]
    line = next(csv.DictReader(table.read_text().splitlines()))
    assert (line["batch"], line["l2_weight"], line["scale"], line["seeds"]) == ("16", "0", "mean", "2")
    assert float(line["held_out_accuracy"]) == pytest.approx(fmean(means))
    title, head, _, first, deviations, *_, last = CliRunner().invoke(command, options).stdout.splitlines()
    assert title.endswith("preset best generator.width=8 generator.rank=0 batch=16")
    assert head.split() == ["l2_weight", "seeds", "mean", "HR", "x2", "x4"]
    assert first.split()[:3] == ["0", "2", f"{fmean(means):.1f}"]
    assert deviations.split()[0] == f"±{stdev(means):.1f}"
    assert last.endswith(f"fsrcache evaluate --workspace {workspace.folder} --name " + " --name ".join(names))


def test_the_command_fails_where_a_run_does(workspace, monkeypatch):
    def fail(*_, **__):
        monkeypatch.undo()
        raise FsrcacheError("It failed.", Remedy("Begin anew: `{}`.", arguments(restart=True)))

    monkeypatch.setattr(train_module, "run_steps", fail)
    failed = CliRunner().invoke(command, words(workspace, "--steps", 4, "--seeds", 2, "--json"))
    assert failed.exit_code == 1
    runs = json.loads(failed.stdout)["runs"]
    assert [(one["error"], one["remedy"]) for one in runs] == [("It failed.", "Begin anew: `--restart`."), ("", "")]
    assert f"1 of 2 runs failed, {runs[0]['name']} first: It failed.\nBegin anew: `--restart`." in failed.stderr


@pytest.mark.slow
def test_ctrl_c_ends_all_processes(workspace):
    running = Running("sweep", *words(workspace, "--seeds", 2, "--steps", 5000, "--jobs", 2, "--threads", 1))
    assert running.until("run 2 of 2: training")
    running.signal(signal.SIGINT)
    result = running.wait()
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
    assert [under_way(folder) for folder in (workspace.folder / "runs").iterdir()] == [False, False]


@pytest.mark.slow
def test_torchruns_processes_share_the_runs(workspace):
    options = words(workspace, "--set", "l2_weight=0.5,1", "--steps", 4, "--json")
    (alone,) = run_ranks(1, "sweep", *options, "--name", "alone")
    first, second = run_ranks(2, "sweep", *options, "--name", "shared")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    for one, shared in zip(alone.answer["runs"], first.answer["runs"], strict=True):
        assert generator(workspace, one["name"]) == generator(workspace, shared["name"])
        assert {**one, "name": ""} == {**shared, "name": ""}
    assert alone.answer["rows"] == first.answer["rows"]
    with run_lock(workspace.run(planned("l2_weight=0.5,1", *SMALL, name="held")[0].name)):
        for number in (2, 3):  # the third has no run
            failed = run_ranks(number, "sweep", *options, "--name", "held")
            assert [one.returncode for one in failed] == [1] + [0] * (number - 1)
            assert "Another process is training in" in failed[0].stderr
    other = run_ranks(2, "sweep", *options, "--name", "shared", "--steps", 5)
    assert [one.returncode for one in other] == [2, 2]
    assert sum(one.stderr.count("was made under other settings: steps") for one in other) == 1
    refused = run_ranks(2, "sweep", *options, "--jobs", 2)
    assert [one.returncode for one in refused] == [2, 2]
    assert sum(one.stderr.count("torchrun started 2 processes, which share the runs") for one in refused) == 1


@pytest.mark.slow
def test_a_killed_process_is_said(workspace, store):
    device = torch.device("cpu")
    options = RunOptions(device, "ram", locate_cache("ram", [1], device=device), (), other_threads=False)
    runs = plan_runs(BEST, SMALL, seeds=1, workspace=workspace, name="sweep")

    def kill(*_):
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(FsrcacheError, match="ended with the exit code -9"):
        list(train_in_processes(runs, store, workspace.extractor_source, options, kill, jobs=1, threads=1))


@pytest.mark.parametrize(("answers", "ends"), [(0, "unborn"), (0, "deaf"), (1, "unborn"), (2, "unborn")])
def test_a_process_that_dies_early_is_said(store, monkeypatch, answers, ends):
    runs, ending = planned("l2_weight=0,1"), []

    class Process:
        """One that answers some runs and ends: before it is sent any, or with them unread."""

        exitcode = -9

        def __init__(self, target, args, daemon):  # noqa: ARG002  # as of multiprocessing
            self.connection = Connection(os.dup(args[0].fileno()))

        def start(self):
            for run in runs[:answers]:
                self.connection.send((run, FsrcacheError("It failed.")))
            if ends == "unborn":
                self.connection.close()
            ending.append(self.connection)

        def join(self):
            pass

        terminate = join

    def wait(connections):
        while ending:
            ending.pop().close()
        return connections

    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=Process)
    monkeypatch.setattr(processes, "get_context", lambda _: context)
    monkeypatch.setattr(processes, "wait", wait)
    results = []

    def train():
        for run, _ in train_in_processes(runs, store, None, None, print, jobs=1, threads=1):
            results.append(run)

    if answers == len(runs):
        train()
    else:
        with pytest.raises(FsrcacheError, match=rf"exit code -9 before its run {runs[answers].name} did") as caught:
            train()
        assert caught.value.remedy.startswith("Run the same command again")
    assert results == list(runs[:answers])


def test_more_runs_than_anybody_trains_are_refused_at_once(tmp_path):
    values = ",".join(map(str, range(1, 101)))
    settings = [f"{name}={values}" for name in ("l2_weight", "perceptual_weight", "distillation_weight")]
    with pytest.raises(RequestError, match=r"These are 3,000,000 runs; 10,000 are the most"):
        plan_runs(TRAINING["best"], settings, seeds=3, workspace=Workspace(tmp_path), name="sweep")
