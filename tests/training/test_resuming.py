"""What a run goes on from: its cache may change where batches do not, and no record or history stops or misleads it."""

import json
import os
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.generators.forms import read_training
from fsrcache.models.weights import read_record, read_weights, write_weights
from fsrcache.presets import TRAINING, ExtractorConfig, MLPConfig, PretrainConfig
from fsrcache.training.classifier.pretraining import pretrain_extractor
from fsrcache.training.data import memory
from fsrcache.training.run.checkpoint import previous, refuse_other_run
from fsrcache.training.run.features import choose_location
from fsrcache.training.run.history import append_history, cut_history
from fsrcache.training.run.train import train_generator

CPU = torch.device("cpu")
CONFIG = replace(TRAINING["best"], generator=MLPConfig(width=16, blocks=1, rank=2), steps=48, batch=4, precision="fp32")
NEWEST = "checkpoint.safetensors"


class StopError(Exception):
    """Raised by a callback in place of Ctrl-C."""


def watched(reports, *, stop=0):
    def on_progress(progress):
        reports.append(progress)
        if stop and progress.phase == "training" and progress.done >= stop:
            raise StopError

    return on_progress


@pytest.fixture
def run(store, extractor, tmp_path):
    """Return what trains in a folder of its own, here or from a given step."""

    def train_here(*, folder="run", stop=0, reports=None, config=CONFIG, **options):
        on_progress = watched([] if reports is None else reports, stop=stop)
        if not stop:
            return train_generator(
                store, extractor, config, folder=tmp_path / folder, device=CPU, on_progress=on_progress, **options
            )
        with pytest.raises(StopError):
            train_generator(
                store, extractor, config,
                folder=tmp_path / folder, device=CPU, on_progress=on_progress, checkpoint_seconds=0.0, **options,
            )  # fmt: skip
        return None

    return train_here


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    return tmp_path_factory.mktemp("stopped") / "run"


@pytest.fixture
def stopped(run, stopped_once, tmp_path):
    """The folder of a run that was stopped after some steps."""
    if not stopped_once.exists():
        run(stop=20)
        shutil.copytree(tmp_path / "run", stopped_once)
    else:
        shutil.copytree(stopped_once, tmp_path / "run")
    return tmp_path / "run"


def little(monkeypatch, free):
    monkeypatch.setattr(memory, "free_memory", lambda: free)


def test_less_memory_changes_no_streamed_run(run, tmp_path, monkeypatch):
    little(monkeypatch, 0)
    assert run(folder="whole", cache="auto").cache == "stream"
    run(cache="auto", stop=20)
    little(monkeypatch, 1 << 40)  # where ``auto`` would take the memory
    reports = []
    result = run(cache="auto", reports=reports)
    assert result.cache == "stream"
    assert result.resumed_from > 0
    assert "the run was begun so" in reports[0].note
    one, other = ((tmp_path / name / "generator.safetensors").read_bytes() for name in ("whole", "run"))
    assert one == other


def test_a_run_from_memory_that_fits_no_more_is_refused_and_goes_on_when_asked(run, stopped, tmp_path, monkeypatch):
    run(folder="whole")
    before = (stopped / NEWEST).read_bytes()
    little(monkeypatch, 0)
    with pytest.raises(
        FsrcacheError, match=r"drawn from memory, where its features do not fit now: .* free"
    ) as message:
        run(cache="auto")
    assert "go on all the same with `cache='ram'`" in message.value.remedy
    assert (stopped / NEWEST).read_bytes() == before
    result = run(cache="device")
    assert result.resumed_from > 0
    assert (stopped / "generator.safetensors").read_bytes() == (tmp_path / "whole/generator.safetensors").read_bytes()


def test_less_memory_on_the_device_changes_no_run_from_memory(store, stopped, monkeypatch):
    """``auto`` may move the features of a run that was begun with more memory: the order is the same."""
    modes = {}
    for free in (0, 1 << 40):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, free))
        modes[free] = choose_location(store, "auto", device=torch.device("cuda"), folder=stopped).mode
    assert modes == {0: "ram", 1 << 40: "device"}
    settings = read_record(stopped / NEWEST, kind="checkpoint")["settings"]
    assert settings["order"] == "drawn"
    assert not {"ram", "auto", "device memory"} & {value for value in settings.values() if isinstance(value, str)}


def test_another_order_is_refused(run, stopped):
    with pytest.raises(FsrcacheError, match="batches are drawn; the cache stream gives them in another order"):
        run(cache="stream")
    with pytest.raises(FsrcacheError, match="seed is 0 there and 1 here"):
        run(seed=1)
    assert "cache" not in read_record(stopped / NEWEST, kind="checkpoint")["settings"]


@pytest.fixture
def threads():
    """torch's number of threads, which is put back."""
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


@pytest.mark.slow
def test_another_number_of_threads_is_refused_and_goes_on_where_it_is_allowed(run, stopped, threads):
    generator, before = stopped / "generator.safetensors", (stopped / NEWEST).read_bytes()
    torch.set_num_threads(threads + 1)
    with pytest.raises(
        FsrcacheError, match=f"another number of threads: {threads} there, {threads + 1} here"
    ) as message:
        run()
    assert message.value.remedy == (
        f"Go on with `threads={threads}`, which ends in the same bytes, or `threads={threads + 1}`, which does not, or "
        "begin anew: `restart=True`, or another name."
    )
    with pytest.raises(FsrcacheError, match="other settings: seed is 0 there and 1 here"):
        run(seed=1, other_threads=True)
    assert (stopped / NEWEST).read_bytes() == before
    reports = []
    result = run(other_threads=True, reports=reports)
    assert result.resumed_from > 0
    assert result.earlier_threads == (threads,)
    assert f"another number of threads, {threads + 1} after {threads}: it no longer ends in the same bytes" in "".join(
        progress.note for progress in reports
    )
    training = read_training(generator)
    assert (training["earlier_threads"], training["threads"]) == ((threads,), threads + 1)
    made = generator.read_bytes()
    assert run().earlier_threads == (threads,)  # under the new number without leave
    torch.set_num_threads(threads)
    reports = []
    assert run(reports=reports).earlier_threads == (threads,)  # nothing was left to compute: no leave is needed
    assert not any("threads" in progress.note for progress in reports)
    assert generator.read_bytes() == made


def test_a_checkpoint_that_does_not_say_its_threads_goes_on_with_leave(tmp_path):
    settings = {"seed": 0, "threads": 2}
    with pytest.raises(FsrcacheError, match="an unknown number there, 2 here") as message:
        refuse_other_run(tmp_path, {"seed": 0}, settings, anew="another name")
    assert message.value.remedy.startswith("Go on with `threads=2`, to other bytes, or begin anew")
    with pytest.raises(FsrcacheError, match="a GPU there, 2 here"):
        refuse_other_run(tmp_path, {"seed": 0, "threads": 0}, settings, anew="another name")
    refuse_other_run(tmp_path, {"seed": 0}, settings, anew="another name", other_threads=True)


def test_leave_for_other_threads_changes_no_run_under_the_same(run, stopped, tmp_path):
    run(folder="whole")
    assert run(other_threads=True).earlier_threads == ()
    assert (stopped / "generator.safetensors").read_bytes() == (tmp_path / "whole/generator.safetensors").read_bytes()
    assert "earlier_threads" not in read_training(stopped / "generator.safetensors")


def forge(file, change):
    tensors, record = read_weights(file, kind="checkpoint")
    change(record)
    write_weights(file, tensors, kind="checkpoint", record=record)


def put(*path, value):
    def change(record):
        *parents, last = path
        for parent in parents:
            record = record[parent]
        if value is None:
            del record[last]
        else:
            record[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("state",), None, "state is missing"),
        (("state",), 3, "state is 3"),
        (("state", "step"), None, "state.step is missing"),
        (("state", "step"), -1, "state.step is -1"),
        (("state", "step"), "5", "state.step is '5'"),
        (("state", "step"), 49, "state.step is 49, beyond 48"),
        (("state", "step"), 2**70, "state.step is 1180591620717411303424"),
        (("state", "best_step"), 48, "state.best_step is 48, beyond"),
        (("state", "worse"), 47, "state.worse is 47, beyond"),
        (("state", "losses"), [1], r"state.losses is \[1\]"),
        (("state", "losses"), {"l2": "x"}, "state.losses.l2 is 'x'"),
        (("state", "held_out_accuracy"), {"1": 101}, "state.held_out_accuracy.1 is 101"),
        (("state", "more"), 1, "state.more is unknown"),
        (("settings",), None, "settings is missing"),
        (("settings",), [], r"settings is \[\]"),
        (("more",), 1, "more is unknown"),
        (("digest",), None, "digest is missing"),
        (("state", "losses"), {}, "are not those that were written"),
        (("settings", "seed"), 1, "are not those that were written"),
    ],
)
def test_a_record_of_a_checkpoint_is_checked(run, stopped, path, value, message):
    for file in (stopped / NEWEST, previous(stopped / NEWEST)):
        forge(file, put(*path, value=value))
    with pytest.raises(FsrcacheError, match=message) as error:
        run()
    assert NEWEST in error.value.what
    assert not (stopped / "generator.safetensors").exists()


def test_the_checkpoint_before_a_forged_one_is_gone_on_from(run, stopped, tmp_path):
    run(folder="whole")
    forge(stopped / NEWEST, put("state", "step", value=-1))
    result = run()
    assert 0 < result.resumed_from < 48
    assert "state.step is -1" in result.fell_back
    assert (stopped / "generator.safetensors").read_bytes() == (tmp_path / "whole/generator.safetensors").read_bytes()


def lines_of(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_that_are_no_history_are_left_out_and_told(run, stopped):
    history = stopped / "history.jsonl"
    steps = lines_of(history)
    good = history.read_bytes().splitlines(keepends=True)
    odd = [b"\xff\xfe\x00\n", b'{"step": NaN}\n', b"[1, 2]\n", b'{"l2": 1.0}\n', b'{"step": -4}\n', b'{"step": "5"}\n',
           b'{"step": 1e999}\n', b"\n", b"[" * 50_000 + b"\n", b'{"step": 2, "l2": [1]}\n', good[0]]  # fmt: skip
    history.write_bytes(b"".join([*good[:4], *odd, *good[4:], b'{"step": 6, "l']))
    reports = []
    run(reports=reports)
    assert [progress.note for progress in reports if "history" in progress.note] == [
        "history.jsonl: 11 lines that are no history were left out, line 5 first."
    ]
    assert lines_of(history) == list(range(1, 49))
    assert steps == list(range(1, len(steps) + 1))


def test_a_measure_that_is_not_finite_is_left_out(run, tmp_path, monkeypatch):
    monkeypatch.setattr("fsrcache.training.step.trainer.effective_share", lambda weights: weights.sum() * float("nan"))
    run(config=replace(CONFIG, steps=4), log=["tensorboard"])
    lines = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    assert all("weights_mean" in line and "weights_effective" not in line for line in lines)


def test_a_history_is_cut_at_a_step(tmp_path):
    path = tmp_path / "history.jsonl"
    assert cut_history(path, step=3) == ""
    path.write_text("".join(json.dumps({"step": step, "l2": 1.0}) + "\n" for step in range(1, 6)) + '{"step": 6, "l')
    assert cut_history(path, step=3) == ""
    assert lines_of(path) == [1, 2, 3]


@pytest.mark.parametrize("what", ["pipe", "folder", "link", "full", "large"])
def test_what_can_be_no_history_is_refused_at_once(run, stopped, tmp_path, what):
    history, other = stopped / "history.jsonl", tmp_path / "other"
    history.rename(other)
    if what == "pipe":
        os.mkfifo(history)
    elif what == "folder":
        history.mkdir()
    elif what == "large":
        with history.open("wb") as file:
            file.truncate(9 << 30)  # sparse
    else:
        history.symlink_to(other if what == "link" else "/dev/full")
    before = other.read_bytes()
    message = {"link": "is a link", "full": "is a link", "large": "has 9,663,676,416 bytes"}.get(what, f"a {what}")
    with pytest.raises(FsrcacheError, match=f"history.jsonl .*{message}"):
        run()
    assert other.read_bytes() == before


def test_a_full_device_is_said_in_words(tmp_path):
    path = tmp_path / "history.jsonl"
    append_history(path, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        with pytest.raises(FsrcacheError, match=r"history\.jsonl cannot be written: File too large"):
            append_history(path, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert lines_of(path) == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": -1}, "seed is -1"),
        ({"cache": 3}, "no cache 3"),
        ({"config": {"steps": 3}}, "config is {'steps': 3}"),
        ({"log": ["mlflow"]}, "no tracker 'mlflow'"),
    ],
)
def test_arguments_that_are_none_are_refused(run, tmp_path, options, message):
    with pytest.raises(RequestError, match=message):
        run(**options)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", torch.device("meta"), None])
def test_a_device_that_is_none_is_refused(store, extractor, tmp_path, device):
    with pytest.raises(RequestError, match="The device is"):
        train_generator(store, extractor, CONFIG, folder=tmp_path, device=device)


def test_a_pretrainings_checkpoint_is_checked(tmp_path):
    faces = usable_faces(list_faces(Path("drawn:140")), side=24)
    shape = ExtractorConfig(side=24, stages=((4,), (6,)), spd_side=4, hidden=8, embedding=4)

    def again():
        return pretrain_extractor(faces, shape, PretrainConfig(epochs=2, batch=32), target=tmp_path / "e",
                        folder=tmp_path / "pre", device=CPU)  # fmt: skip

    assert again().resumed_from == 0
    assert again().resumed_from == 2
    newest = tmp_path / "pre" / NEWEST
    kept = newest.read_bytes()
    for path, value, message in (
        (("state", "history"), "text", "state.history is 'text'"),
        (("state", "history", 1), 5, r"state.history\[1\] is 5"),
        (("state", "history", 1, "epoch"), 7, "and not one for each epoch"),
        (("state", "history", 0, "loss"), None, r"state.history\[0\].loss is missing"),
        (("state", "epoch"), 2, "state.epoch is unknown"),
    ):
        newest.write_bytes(kept)
        forge(newest, put(*path, value=value))
        previous(newest).unlink(missing_ok=True)
        with pytest.raises(FsrcacheError, match=message):
            again()
    newest.write_bytes(kept)
    (tmp_path / "pre/history.jsonl").unlink()
    os.mkfifo(tmp_path / "pre/history.jsonl")
    with pytest.raises(FsrcacheError, match=r"history\.jsonl is no file: a pipe"):
        again()
