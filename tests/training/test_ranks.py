"""Processes that torchrun starts train as one does, to rounding, with one writer, and go on after one of them died.

Only where torchrun itself matters does it start them: they start faster from ``studies.program``.
"""

import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributed import HashStore, TCPStore

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.models.weights import read_weights
from fsrcache.presets import TRAINING, MLPConfig
from fsrcache.training import ranks as ranks_module
from fsrcache.training.ranks import ALONE, Ranks, _turn, joined
from fsrcache.training.run.train import train_generator
from studies.program import Running, begin_ranks, begin_torchrun, processes_of, run_ranks

CPU = torch.device("cpu")
STEPS = 200
LAUNCHED = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "29500"}  # fmt: skip

# Takes the steps of several trainings in float64, where rounding is far below any difference in what is drawn, by as
# many processes as there are, and writes the first's weights, the means of the terms and of the measures.
PROGRAM = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
import torch
from fsrcache.extractors.opening import open_extractor
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig, RRDBConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.ranks import joined
from fsrcache.training.run.features import choose_location, open_features
from fsrcache.training.run.networks import make_trainer

CPU, STEPS = torch.device("cpu"), int(sys.argv[3])
NOISY = MLPConfig(width=32, blocks=1, rank=8, members=2, dropout=0.3, noise=0.3)
MIXED = replace(TRAINING["best"], generator=NOISY, critic=CriticConfig(filters=2), batch=16, steps=STEPS, mixing=0.5,
                precision="fp32", classification_weight=1.0, reweight="sr_grad", reweight_critic=True, averaging=0.9,
                penalty_power=2.0, critic_steps=2)
AUTHORS = replace(TRAINING["authors"], generator=RRDBConfig(filters=2, growth=2, blocks=1, tail_kernel=3), batch=8,
                  steps=STEPS, critic=CriticConfig(filters=1, bias=False), l2_steps=4, penalty_power=2.0)
WAYS = [(MIXED, "ram", False), (MIXED, "stream", False), (AUTHORS, "device", False), (AUTHORS, "ram", True)]


def doubled(batch):
    return type(batch)(*(values.double() if values.is_floating_point() else values for values in batch))


torch.set_num_threads(1)
root, target = Path(sys.argv[1]), Path(sys.argv[2])
with joined() as ranks:
    for number, (config, cache, plain) in list(enumerate(WAYS))[::int(sys.argv[4])]:
        store = FeatureStore(root / "store")
        features = open_features(store, config, location=choose_location(store, cache, device=CPU), device=CPU, seed=3)
        trainer = make_trainer(
            features, open_extractor(root / "extractor"), config, seed=3, plain=plain, measured=True, ranks=ranks
        )
        for module in (*trainer.networks, trainer.kept):
            if module is not None:
                module.double()
        draw = trainer.batches.batch
        trainer.batches.batch = lambda *which, draw=draw, **forms: doubled(draw(*which, **forms))
        for step in range(STEPS):
            trainer.batches.prepare(step, 1)
            trainer.step(step)
        trainer.batches.close()
        if ranks.first:
            weights = {f"{name}.{key}": value.numpy() for name, module in trainer.modules.items()
                       for key, value in module.state_dict().items()}
            np.savez(target / f"{number}.npz", **weights, **trainer.meters.means())
"""


def take(extractor, folder, number, every=1):
    """Take the steps of every so many of the trainings on a number of processes; return what they wrote."""
    folder.mkdir(exist_ok=True)
    for ended in run_ranks(number, "-c", PROGRAM, extractor.parent, folder, STEPS, every):
        assert ended.returncode == 0, ended.stderr
    return [dict(np.load(path)) for path in sorted(folder.glob("*.npz"))]


@pytest.fixture(scope="module")
def alone(extractor, tmp_path_factory):
    """What one process writes."""
    return take(extractor, tmp_path_factory.mktemp("alone"), 1)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "every"), [(2, 1), (4, 2)])
def test_processes_take_the_steps_of_one(extractor, alone, tmp_path, number, every):
    shared = take(extractor, tmp_path / "shared", number, every)
    assert len(alone) == 4
    for one, other in zip(alone[::every], shared, strict=True):
        assert one.keys() == other.keys()
        for name, values in one.items():
            limit = 1e-4 if values.ndim == 0 else 1e-9  # the means are counted in fp32
            assert np.abs(other[name] - values).max() <= limit * max(np.abs(values).max(), 1e-6), name


@pytest.fixture
def workspace(extractor, tmp_path):
    folder = tmp_path / "ws"
    folder.mkdir()
    shutil.copy(extractor, folder / "extractor.safetensors")
    (folder / "features.zarr").symlink_to(extractor.with_name("store"))
    return folder


def command(workspace, name, *more, steps=STEPS):
    settings = ("precision=fp32", "batch=16", "generator.width=16", "generator.rank=2")
    options = [part for setting in settings for part in ("--set", setting)]
    return ["train", "--workspace", workspace, "--preset", "best", "--set", "generator.members=1",
            *options, "--steps", steps, "--seed", 5, "--name", name, "--json", *more]  # fmt: skip


def read(workspace, name):
    folder = workspace / "runs" / name
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return read_weights(folder / "generator.safetensors", kind="generator"), lines


@pytest.mark.slow
def test_the_command_on_two_ranks(workspace):
    (one,), both = run_ranks(1, *command(workspace, "one")), run_ranks(2, *command(workspace, "two"))
    assert [rank.returncode for rank in both] == [0, 0]
    assert both[0].stderr.count("Cache: ram") == 1
    assert (both[1].stdout, both[1].stderr) == ("", "")
    alone, shared = one.answer, both[0].answer
    assert shared["losses"] == pytest.approx(alone["losses"], rel=1e-3)
    (one, training), lines = read(workspace, "one")
    (two, shared_training), shared_lines = read(workspace, "two")
    assert training == shared_training
    assert [line["step"] for line in lines] == [line["step"] for line in shared_lines]
    assert [line["l2"] for line in shared_lines] == pytest.approx([line["l2"] for line in lines], rel=1e-3)
    assert max(float((two[name] - one[name]).abs().max()) for name in one) < 1e-3
    again = run_ranks(4, *command(workspace, "two"))  # of another number of processes
    assert again[0].answer["resumed_from"] == STEPS


def kept_step(folder):
    try:
        return read_weights(folder / "checkpoint.safetensors", kind="checkpoint")[1]["state"]["step"]
    except (FsrcacheError, OSError):
        return -1


def wait_for_checkpoint(folder, step=0):
    until = time.monotonic() + 120
    while kept_step(folder) <= step:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_process_costs_the_steps_since_the_last_checkpoint(workspace):
    steps = 1000
    killed = begin_torchrun(2, *command(workspace, "killed", "--restart", steps=steps), options=["--max-restarts=1"])
    wait_for_checkpoint(workspace / "runs" / "killed")
    os.kill(processes_of(killed)[1], signal.SIGKILL)
    said, told = killed.communicate()
    assert killed.returncode == 0, told
    assert run_ranks(2, *command(workspace, "whole", steps=steps))[0].returncode == 0
    result = json.loads(said[said.rindex('{\n  "steps"') :])  # after what the survivor of the first attempt said
    assert 0 < result["resumed_from"] < steps  # although --restart stands in the command
    (one, _), lines = read(workspace, "whole")
    (two, _), resumed_lines = read(workspace, "killed")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [line["l2"] for line in lines] == [line["l2"] for line in resumed_lines]


@pytest.mark.slow
def test_other_numbers_of_processes_go_on_and_ctrl_c_ends_all(workspace):
    steps, folder = 20_000, workspace / "runs" / "run"
    process = begin_torchrun(2, *command(workspace, "run", steps=steps))
    wait_for_checkpoint(folder)
    ranks = processes_of(process)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode != 0
    assert told.count("Interrupted.") == 1
    assert "Traceback" not in told.partition("torch/distributed/elastic")[0]
    assert not any(Path(f"/proc/{worker}").exists() for worker in ranks.values())
    for number in (4, 1):
        before = kept_step(folder)
        ranks = begin_ranks(number, *command(workspace, "run", steps=steps))
        wait_for_checkpoint(folder, before)
        for rank in ranks:
            rank.signal(signal.SIGINT)
        for rank in ranks:
            rank.wait()


@pytest.mark.slow
def test_a_wrong_request_is_said_once(workspace):
    ended = run_ranks(3, *command(workspace, "run"))
    assert {rank.returncode for rank in ended} == {2}
    told = "".join(rank.stderr for rank in ended)
    assert told.count("A batch of 16 cannot be shared equally by 3 processes.") == 1
    (document,) = [rank.answer for rank in ended if rank.stdout]
    assert document["exit_code"] == 2
    assert not (workspace / "runs" / "run").exists()


def turns(store, size):
    """Return the turns that ranks join by a store, which are begun last first."""
    with ThreadPoolExecutor(size) as threads:
        joining = [threads.submit(_turn, store, Ranks(rank, size, rank, size)) for rank in reversed(range(size))]
        return {one.result() for one in joining}


def test_all_join_in_one_turn_whoever_died_before(monkeypatch):
    store = HashStore()
    assert turns(store, 3) == {1}
    assert turns(store, 3) == {2}
    monkeypatch.setattr(ranks_module, "_PATIENCE", timedelta(seconds=0.1))
    for dead in (Ranks(0, 2, 0, 2), Ranks(1, 2, 1, 2)):  # it came, and not the other
        with pytest.raises(RuntimeError, match="not all of 2 processes came"):
            _turn(store, dead)
    monkeypatch.undo()
    assert turns(store, 2) == {4}


@pytest.mark.slow
def test_ctrl_c_ends_the_wait_for_others(workspace):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun's
    alone = {**LAUNCHED, "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": str(store.port)}
    process = Running(*command(workspace, "run"), **alone, TORCHELASTIC_USE_AGENT_STORE="True")
    until = time.monotonic() + 60
    while not store.add("turn", 0):
        assert time.monotonic() < until
        time.sleep(0.01)
    process.signal(signal.SIGINT)
    ended = process.wait()
    assert ended.returncode == 130
    assert ended.stderr.count("Interrupted.") == 1


def test_alone_nothing_is_exchanged():
    values = torch.arange(6)
    with joined() as ranks:
        assert ranks is ALONE
    assert ALONE.share(values) is values
    assert ALONE.whole(values) is values
    assert ALONE.mean([values])[0] is values
    assert ALONE.gathered(1, 2.5) == [(1.0, 2.5)]
    assert ALONE.sums(1, 2) == [1, 2]
    assert ALONE.texts("a") == ["a"]
    ALONE.wait()
    assert ALONE.fails_first()


def test_a_rank_has_every_nth_sample():
    assert Ranks(1, 4).share(torch.arange(8)).tolist() == [1, 5]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"RANK": ""}, "RANK is ''"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE is ''"),
        ({"LOCAL_RANK": ""}, "LOCAL_RANK is ''"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is ''"),
        ({"MASTER_PORT": "x"}, "MASTER_PORT is 'x'"),
        ({"RANK": "4"}, "RANK is '4', WORLD_SIZE is '4'"),
        ({"LOCAL_RANK": "2"}, "LOCAL_WORLD_SIZE is '2'"),
    ],
)
def test_an_environment_of_no_rank_is_refused(monkeypatch, changes, words):
    for name, value in {**LAUNCHED, **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match=words), joined():
        pass


def test_one_process_of_torchrun_is_alone_and_may_be_restarted(monkeypatch):
    for name, value in {**LAUNCHED, "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    with joined() as ranks:
        assert (ranks.size, ranks.first, ranks.launched, ranks.restarted) == (1, True, True, False)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with joined() as ranks:
        assert ranks.restarted


def test_shares_that_are_not_equal_are_refused(store, extractor, tmp_path):
    config = replace(TRAINING["best"], generator=MLPConfig(width=8, blocks=0, members=3), batch=12)
    ranks = Ranks(0, 2)
    with pytest.raises(RequestError, match="A batch of 9 cannot be shared equally by 2 processes times 3 members"):
        train_generator(store, extractor, replace(config, batch=9), folder=tmp_path / "run", device=CPU, ranks=ranks)
    ranks.refuse_uneven(config.batch, parts=3)
    ALONE.refuse_uneven(7, parts=3)


def test_every_rank_has_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cuda = torch.device("cuda")
    assert Ranks(3, 4, 1, 2).own_device(cuda) == torch.device("cuda:1")
    assert ALONE.own_device(cuda) == cuda
    assert Ranks(3, 4, 1, 2).own_device(CPU) == CPU
    with pytest.raises(RequestError, match="cuda:1 is one GPU, and 2 processes"):
        Ranks(3, 4, 1, 2).own_device(torch.device("cuda:1"))
    with pytest.raises(RequestError, match="2 GPUs for 3 processes"):
        Ranks(2, 3, 2, 3).own_device(cuda)
