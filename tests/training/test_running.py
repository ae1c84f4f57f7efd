"""What a run says, keeps and refuses: bad numbers, damaged checkpoints, patience, rates, the dry run, TensorBoard."""

import fcntl
import json
import math
import os
import threading
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import fsrcache.training.run.train as train_module
from fsrcache.cli.train import train as command
from fsrcache.errors import FsrcacheError
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.degrade import SCALE_FORM
from fsrcache.memory import free_memory
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.forms import load_generator, make_generator
from fsrcache.models.weights import read_weights
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig, RRDBConfig, TrainConfig
from fsrcache.training.data.batches import plan_steps
from fsrcache.training.data.loader import load_cache
from fsrcache.training.data.memory import locate_cache, memory_errors
from fsrcache.training.run import features, loop
from fsrcache.training.run.checkpoint import previous
from fsrcache.training.run.estimate import estimate_training
from fsrcache.training.run.lock import run_lock, under_way
from fsrcache.training.run.settings import run_settings
from fsrcache.training.run.train import train_generator
from fsrcache.training.step.updates import effective_share

CPU = torch.device("cpu")
MLP = replace(TRAINING["best"], generator=MLPConfig(width=32, blocks=1), steps=48, batch=4, full_resolution=0.0)
PAPER = TrainConfig(
    generator=RRDBConfig(filters=4, growth=2, blocks=1), critic=CriticConfig(filters=2), steps=48, batch=4
)


class StopError(Exception):
    """Raised by a callback in place of Ctrl-C."""


def watched(records, *, stop=0):
    def on_progress(progress):
        records.append(progress)
        if len(records) == stop:
            raise StopError

    return on_progress


@pytest.mark.parametrize("config", [MLP, PAPER], ids=["best", "paper"])
def test_a_planted_nan_is_named_and_nothing_is_written_after_it(store, extractor, tmp_path, monkeypatch, config):
    """One face's feature at one scale is not a number: the step that first draws it is where the run ends."""
    expected = {}

    def planted(*arguments, **options):
        trainer = make(*arguments, **options)
        cache, config = trainer.batches.source, trainer.config
        drawn = plan_steps(cache.shape, config, seed=5, first=0, count=config.steps).chosen  # [steps, draws, 2, B]
        pairs = drawn.permute(0, 1, 3, 2).flatten(0, 2).numpy()  # [steps draws B, 2], in the order of drawing
        unique, first = np.unique(pairs, axis=0, return_index=True)
        face, scale_index = unique[first.argmax()].tolist()  # of all, the pair that is drawn last for the first time
        bad = ((drawn[:, :, 0] == face) & (drawn[:, :, 1] == scale_index)).any(-1)  # [steps, draws]
        expected["step"] = step = int(bad.any(-1).nonzero()[0, 0])
        judged = config.critic is not None and bool(bad[step, 0])
        expected["term"] = "critic" if judged else "adversarial" if config.critic else "perceptual"
        cache.features[scale_index, face] = math.nan
        return trainer

    make = train_module.make_trainer
    monkeypatch.setattr(train_module, "make_trainer", planted)
    monkeypatch.setattr(loop, "MOST_STEPS", 3)
    with pytest.raises(FsrcacheError, match=r"The \w+ term was not finite at step \d+\.") as message:
        train_generator(store, extractor, config, folder=tmp_path, device=CPU, seed=5, checkpoint_seconds=0.0)
    step = expected["step"]
    assert step > 5
    assert f"The {expected['term']} term was not finite at step {step + 1}." in str(message.value)
    assert not (tmp_path / "generator.safetensors").exists()
    newest = tmp_path / "checkpoint.safetensors"
    for path in (newest, previous(newest)):
        tensors, record = read_weights(path, kind="checkpoint")
        assert 0 < record["state"]["step"] <= step
        assert all(tensor.isfinite().all() for tensor in tensors.values())
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] <= step
    assert all(math.isfinite(value) for line in lines for value in line.values() if isinstance(value, float))


def test_weights_that_a_last_step_made_infinite_are_not_kept(store, extractor, tmp_path, monkeypatch):
    """A step's own terms are computed before it: they do not show what its update did."""
    monkeypatch.setattr("fsrcache.training.step.trainer.halved", lambda step, **_: 1e39 if step == 47 else 1e-4)
    config = replace(MLP, schedule="milestones")
    with pytest.raises(FsrcacheError, match="weights were not finite after step 48"):
        train_generator(store, extractor, config, folder=tmp_path, device=CPU, checkpoint_seconds=1e9)
    assert not (tmp_path / "checkpoint.safetensors").exists()
    assert not (tmp_path / "generator.safetensors").exists()


def test_a_damaged_checkpoint_is_passed_over_and_reported(store, extractor, tmp_path):
    whole = train_generator(store, extractor, MLP, folder=tmp_path / "a", device=CPU)
    assert whole.fell_back == ""
    with pytest.raises(StopError):
        train_generator(
            store,
            extractor,
            MLP,
            folder=tmp_path / "b",
            device=CPU,
            checkpoint_seconds=0.0,
            on_progress=watched([], stop=12),
        )
    newest = tmp_path / "b/checkpoint.safetensors"
    step = read_weights(newest, kind="checkpoint")[1]["state"]["step"]
    newest.write_bytes(newest.read_bytes()[:-100])
    reports = []
    resumed = train_generator(store, extractor, MLP, folder=tmp_path / "b", device=CPU, on_progress=watched(reports))
    assert resumed.resumed_from == step - 1
    assert "checkpoint.safetensors cannot be read" in resumed.fell_back
    assert resumed.fell_back in [progress.note for progress in reports]
    first = next(progress for progress in reports if progress.phase == "training")
    assert first.done == resumed.resumed_from  # or rate and time left would count steps of an earlier run
    assert (tmp_path / "a/generator.safetensors").read_bytes() == (tmp_path / "b/generator.safetensors").read_bytes()


def test_patience_ends_a_training_and_keeps_the_best(store, extractor, tmp_path, monkeypatch):
    scores = iter([10.0, 30.0, 20.0, 30.0, 90.0, 90.0])
    seen = []

    def score(generator, *_):
        seen.append({name: weight.clone() for name, weight in generator.state_dict().items()})
        return {"1": 50.0, "2": next(scores)}

    monkeypatch.setattr(loop, "score", score)
    config = replace(MLP, patience=2)
    result = train_generator(store, extractor, config, folder=tmp_path, device=CPU, checkpoint_seconds=1e9)
    assert result.steps == 32  # scored at every eighth step: two were no better than the second
    kept, record = load_generator(tmp_path / "generator.safetensors")
    assert record["steps"] == 16
    assert all(torch.equal(weight, seen[1][name]) for name, weight in kept.state_dict().items())
    again = train_generator(store, extractor, config, folder=tmp_path, device=CPU)
    assert (again.resumed_from, again.steps, again.samples_per_second) == (32, 32, None)
    assert load_generator(tmp_path / "generator.safetensors")[1]["steps"] == 16
    assert TRAINING["paper"].patience == TRAINING["authors"].patience == TRAINING["best"].patience == 0


def test_what_is_reported_is_of_the_kept_weights_and_of_all_held_out_faces(store, extractor, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "SCORED_FACES", 5)
    config = replace(MLP, patience=2, learning_rate=0.1)
    result = train_generator(store, extractor, config, folder=tmp_path, device=CPU)
    kept, record = load_generator(tmp_path / "generator.safetensors")
    assert record["steps"] < result.steps
    held_out, head = np.flatnonzero(store.held_out()), open_extractor(extractor).frozen_head()
    scored = [
        loop.score(kept, head, load_cache(store, "train", rows=rows, device=CPU), store.scales)
        for rows in (held_out, held_out[:5])
    ]
    assert result.held_out_accuracy == pytest.approx(scored[0])
    assert list(result.held_out_accuracy) == ["1", "2", "4"]
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    (best,) = [line["held_out_accuracy"] for line in lines if line["step"] == record["steps"]]
    assert best == scored[1] != scored[0]
    assert lines[-1]["held_out_accuracy"] != best
    again = train_generator(store, extractor, config, folder=tmp_path, device=CPU)
    assert again.held_out_accuracy == result.held_out_accuracy


def test_patience_resumed_is_patience_undisturbed(store, extractor, tmp_path):
    config = replace(MLP, patience=3, averaging=0.9, learning_rate=1e-2)
    whole = train_generator(store, extractor, config, folder=tmp_path / "a", device=CPU)
    with pytest.raises(StopError):
        train_generator(
            store,
            extractor,
            config,
            folder=tmp_path / "b",
            device=CPU,
            checkpoint_seconds=0.0,
            on_progress=watched([], stop=20),
        )
    resumed = train_generator(store, extractor, config, folder=tmp_path / "b", device=CPU)
    assert 0 < resumed.resumed_from < whole.steps == resumed.steps
    assert (tmp_path / "a/generator.safetensors").read_bytes() == (tmp_path / "b/generator.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "."),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore"),
            ": CUDA out of memory. Tried to ",
        ),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), ": [enforce fail] Def"),
    ],
)
def test_a_lack_of_memory_is_said(store, extractor, tmp_path, monkeypatch, error, reason):
    def short(*_):
        raise error

    monkeypatch.setattr("fsrcache.training.step.trainer.Trainer.step", short)
    with pytest.raises(FsrcacheError, match="A training in batches of 4 does not fit into the memory") as caught:
        train_generator(store, extractor, MLP, folder=tmp_path, device=CPU)
    assert caught.value.what.startswith(f"A training in batches of 4 does not fit into the memory{reason}")
    assert caught.value.remedy == "Set a smaller batch, or `cache='stream'`."
    with pytest.raises(RuntimeError, match="another"), memory_errors(4):
        raise RuntimeError("another")


def test_a_look_at_a_folder_does_not_keep_a_training_from_it(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)  # as of ``under_way``
    assert not under_way(tmp_path)
    looking = threading.Timer(0.2, os.close, [descriptor])
    looking.start()
    with run_lock(tmp_path):
        assert under_way(tmp_path)
    looking.join()


def test_what_a_kill_left_behind_is_removed(tmp_path):
    own = [".checkpoint.next.safetensors", ".checkpoint.time.json", ".history.jsonl", ".map.safetensors"]
    weights = [".generator.safetensors", ".network.safetensors", ".result.json"]
    left = [tmp_path / f"{name}.0a1b.partial" for name in (*own, *weights)]
    kept = [tmp_path / "checkpoint.safetensors", tmp_path / "notes.partial"]
    for file in (*left, *kept, tmp_path / "checkpoint.next.safetensors"):
        file.write_bytes(b"x")
    with run_lock(tmp_path):
        assert {*tmp_path.iterdir()} == {*kept, *left[len(own) :]}  # whoever has just ended may still write these
    for file in left[len(own) :]:
        os.utime(file, (time.time() - 90,) * 2)
    with run_lock(tmp_path):
        assert {*tmp_path.iterdir()} == {*kept}


def test_a_folder_has_one_training_at_a_time(store, extractor, tmp_path):
    with run_lock(tmp_path), pytest.raises(FsrcacheError, match="Another process is training in"):
        train_generator(store, extractor, MLP, folder=tmp_path, device=CPU)
    assert not list(tmp_path.iterdir())
    assert train_generator(store, extractor, MLP, folder=tmp_path, device=CPU).resumed_from == 0


def test_a_status_line_has_rates(store, extractor, tmp_path):
    reports = []
    result = train_generator(store, extractor, MLP, folder=tmp_path, device=CPU, on_progress=watched(reports))
    assert "Cache: ram (" in reports[0].note
    line = reports[-1]
    assert {"l2", "perceptual", "distillation", "samples_per_second", "data_wait_share"} == set(line.values)
    assert line.values["samples_per_second"] > 0
    assert 0 < line.values["data_wait_share"] < 1
    assert result.samples_per_second > 0
    assert 0 < result.data_wait_share < 1
    assert result.losses == {name: line.values[name] for name in ("perceptual", "l2", "distillation")}
    assert train_generator(store, extractor, MLP, folder=tmp_path, device=CPU).losses == result.losses


def test_where_a_cache_lies():
    assert free_memory() > 1 << 20
    assert locate_cache("auto", [1000], device=CPU).mode == "ram"
    assert locate_cache("device", [10**18], device=CPU).mode == "device"  # what is asked for by name is done
    assert locate_cache("stream", [1_200_000], device=CPU) == ("stream", "1.2 MB in the store")
    streamed = locate_cache("auto", [10**18], device=CPU)
    assert streamed.mode == "stream"
    assert "1000000000.00 GB, " in streamed.reason


@pytest.mark.parametrize(("free", "mode"), [(20e9, "stream"), (25e9, "ram")])
def test_pinned_memory_comes_in_powers_of_two(monkeypatch, free, mode):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (0, 0))
    monkeypatch.setattr("fsrcache.training.data.memory.free_memory", lambda: int(free))
    location = locate_cache("auto", [10**10], device=torch.device("cuda"))
    assert location.mode == mode
    assert "10.00 GB (pinned in 17.18 GB), " in location.reason
    assert "(pinned in 6.44 GB)" in locate_cache("ram", [3 * 10**9, 125 * 10**7], device=torch.device("cuda")).reason
    assert locate_cache("ram", [1 << 30], device=torch.device("cuda")).reason.endswith("(pinned in 1.07 GB)")
    assert locate_cache("auto", [10**10], device=CPU).mode == "ram"


def test_the_dry_run_counts_and_writes_nothing(store, extractor):
    before = sorted(path for path in extractor.parent.rglob("*"))
    record = estimate_training(store, extractor, PAPER, device=CPU)
    assert sorted(path for path in extractor.parent.rglob("*")) == before
    generator = make_generator(PAPER.generator, FeatureForm(36, 8))
    assert record.parameters["generator"] == sum(weight.numel() for weight in generator.parameters())
    # one in, three dense blocks, the trunk, two at the end: 3x3 kernels on 8 x 8 positions
    block = 4 * 2 + 6 * 2 + 8 * 2 + 10 * 2 + 12 * 4
    kernels = 1 * 4 + 3 * block + 4 * 4 + 4 * 4 + 4 * 1
    assert record.gmac_per_sample["generator"] == pytest.approx(64 * 9 * kernels / 1e9)
    assert record.gmac_per_sample["step"] > 3 * record.gmac_per_sample["generator"]  # forward and backward
    faces = int((~store.held_out()).sum())
    features = len(store.scales) * faces * 36 * 2
    assert features < record.memory["cache"] < 2 * features
    parts = record.memory
    assert parts["total"] == parts["cache"] + parts["weights"] + parts["optimiser"]
    assert parts["optimiser"] > 2 * 4 * sum(record.parameters[name] for name in ("generator", "critic"))
    assert record.seconds == pytest.approx(PAPER.steps / record.steps_per_second)
    assert record.measured_steps >= 1


def test_a_whole_step_is_counted_alike_by_both_ways(store, extractor):
    """The closed form takes ten passes of the critic for a sample, the double backward twelve, and one generation."""
    fast, plain = (
        estimate_training(store, extractor, PAPER, device=CPU, plain=way).gmac_per_sample for way in (False, True)
    )
    assert fast["critic"] == plain["critic"]
    assert 0.5 < (plain["step"] - fast["step"] - fast["generator"]) / fast["critic"] < 3.5


@pytest.mark.parametrize("config", [replace(MLP, reweight="lr"), PAPER], ids=["best", "paper"])
def test_tensorboard(store, extractor, tmp_path, config):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = replace(config, steps=16)
    for stop, seconds in ((5, 0.0), (9, 1e9)):  # the second writes events that come after the checkpoint
        with pytest.raises(StopError):
            train_generator(
                store,
                extractor,
                config,
                folder=tmp_path,
                device=CPU,
                log=["tensorboard"],
                checkpoint_seconds=seconds,
                on_progress=watched([], stop=stop),
            )
    train_generator(store, extractor, config, folder=tmp_path, device=CPU, log=["tensorboard"])
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = set(events.Tags()["scalars"])
    wanted = {"loss/l2", "loss/perceptual", "weights/mean", "weights/effective", "gradient_norm/generator",
              "held_out_accuracy/HR", "held_out_accuracy/x4", "training/samples_per_second",
              "training/data_wait_share", "training/learning_rate"}  # fmt: skip
    if config.critic is not None:
        wanted |= {"loss/critic", "loss/penalty", "loss/adversarial", "gradient_norm/critic"}
    assert wanted <= tags
    assert [event.step for event in events.Scalars("loss/l2")] == list(range(1, 17))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    for event, line in zip(events.Scalars("loss/l2"), lines, strict=True):
        assert event.value == pytest.approx(line["l2"], rel=1e-6)
    assert 0.5 < events.Scalars("weights/mean")[0].value < 1.5
    assert 0 < events.Scalars("weights/effective")[0].value <= 1


def test_what_is_logged_changes_no_step(store, extractor, tmp_path):
    config = replace(PAPER, steps=6)
    for log in ((), ("tensorboard",)):
        train_generator(store, extractor, config, folder=tmp_path / str(log), device=CPU, log=log)
    files = [(tmp_path / str(log) / "generator.safetensors").read_bytes() for log in ((), ("tensorboard",))]
    assert files[0] == files[1]


def test_the_effective_share_of_weights():
    assert float(effective_share(torch.ones(7))) == pytest.approx(1)
    assert float(effective_share(torch.tensor([1.0, 0.0, 0.0, 0.0]))) == pytest.approx(0.25)


def test_the_command(extractor, tmp_path):
    folder = tmp_path / "fsr"
    folder.mkdir()
    (folder / "extractor.safetensors").symlink_to(extractor)
    (folder / "features.zarr").symlink_to(extractor.with_name("store"))

    def answer(*arguments):
        done = CliRunner().invoke(
            command, ["--workspace", str(folder), "--preset", "tiny", "--device", "cpu", *arguments, "--json"]
        )
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    dry = answer("--steps", "20", "--dry-run")
    assert {"parameters", "gmac_per_sample", "memory", "seconds"} <= set(dry)
    assert not (folder / "runs").exists()
    record = answer("--steps", "20", "--seed", "3", "--name", "one", "--cache", "ram")
    wanted = {"steps", "resumed_from", "seconds", "samples_per_second", "data_wait_share", "losses", "generator"}
    assert wanted <= set(record)
    assert (record["steps"], record["resumed_from"], record["cache"]) == (20, 0, "ram")
    assert record["generator"] == str(folder / "runs/one/generator.safetensors")
    assert answer("--steps", "20", "--seed", "3", "--name", "one", "--cache", "auto")["resumed_from"] == 20
    plain = answer("--steps", "20", "--seed", "3", "--name", "two", "--plain", "--log", "tensorboard")
    assert list((folder / "runs/two/tensorboard").iterdir())
    assert plain["losses"] == pytest.approx(record["losses"], rel=1e-4)
    words = CliRunner().invoke(command, ["--workspace", str(folder), "--steps", "20", "--dry-run", "--device", "cpu"])
    assert "nothing was written" in words.stdout


def test_a_run_keeps_how_its_faces_were_made(store):
    def settings():
        return run_settings(store, MLP, seed=0, device=CPU, plain=False)

    assert (settings()["channels"], settings()["degradation"]) == (3, asdict(SCALE_FORM))
    store.spec = replace(store.spec, recipe={**store.spec.recipe, "channels": 1})
    assert settings()["channels"] == 1
    store.spec = replace(store.spec, recipe={})  # somebody's own FeatureWriter
    assert (settings()["channels"], settings()["degradation"]) == (3, None)
