"""Processes that torchrun starts train an extractor as one does: batch norms, dropout, augmentation, teachers."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.models.weights import read_weights
from fsrcache.presets import PretrainConfig
from fsrcache.training.classifier.trainer import ClassifierTrainer
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.training.whole_batch import whole_batch
from studies.program import run_ranks

# The first process compares a network in float64 on shares of a batch with itself on the whole, and all of them
# pre-train and distil an extractor, in fp32 whatever the machine is good at.
PROGRAM = """
import copy, sys
from pathlib import Path
import torch
from torch import nn
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.training.classifier import trainer
from fsrcache.training.classifier.distillation import Distillation
from fsrcache.training.classifier.fine_tuning import fine_tune
from fsrcache.training.classifier.pretraining import pretrain_extractor
from fsrcache.training.ranks import ALONE, joined
from fsrcache.training.whole_batch import whole_batch

CPU = torch.device("cpu")
torch.set_num_threads(1)


def take(network, pictures, ranks):
    torch.manual_seed(1)
    with whole_batch(ranks):
        loss = network(ranks.share(pictures)).square().mean()
    loss.backward()
    return [*ranks.mean([weight.grad for weight in network.parameters()]), *network.buffers()]


target = Path(sys.argv[1])
faces = usable_faces(list_faces(Path("drawn:140")), side=24)
shape = ExtractorConfig(side=24, stages=((8,), (12,)), spd_side=8, hidden=16, embedding=6)
schedule = PretrainConfig(epochs=2, batch=16, rotation=10.0, zoom=0.1)
trainer.computes_bf16 = lambda device: False
with joined() as ranks:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Dropout2d(0.4), nn.Flatten(), nn.Linear(12, 5),
                            nn.BatchNorm1d(5), nn.GELU(), nn.Dropout(0.2), nn.BatchNorm1d(5, affine=False)).double()
    pictures = torch.rand(8, 2, 4, 4, dtype=torch.float64)
    for one, other in zip(take(copy.deepcopy(network), pictures, ALONE), take(network, pictures, ranks), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    pretrained = pretrain_extractor(faces, shape, schedule, target=target / "extractor.safetensors",
                                    folder=target / "pre", device=CPU, scales=(1, 2), ranks=ranks)
    ranks.wait()
    tuned = fine_tune(faces, sys.argv[2], target=target / "tuned.safetensors", folder=target / "tuned", scales=(1, 2),
                      device=CPU, schedule=schedule, distillation=Distillation(), ranks=ranks)
"""


def train(folder, number, teacher=None):
    """Train on a number of processes; return the weights of both extractors, and their histories' files."""
    folder.mkdir()
    for ended in run_ranks(number, "-c", PROGRAM, folder, teacher or folder / "extractor.safetensors"):
        assert ended.returncode == 0, ended.stderr
    return [read_weights(folder / f"{name}.safetensors", kind="extractor") for name in ("extractor", "tuned")]


@pytest.mark.slow
def test_processes_train_an_extractor_as_one(tmp_path):
    alone = train(tmp_path / "1", 1)
    shared = train(tmp_path / "2", 2, teacher=tmp_path / "1" / "extractor.safetensors")
    for (one, record), (other, other_record) in zip(alone, shared, strict=True):
        assert record.keys() == other_record.keys()
        for name, values in one.items():
            limit = 1e-4 * max(float(values.abs().max()), 1e-6)
            torch.testing.assert_close(other[name], values, rtol=0, atol=limit, msg=name)


def test_alone_networks_are_computed_as_they_are():
    values = torch.rand(4, 3)
    with whole_batch(ALONE):
        torch.manual_seed(0)
        one = torch.nn.functional.dropout(values)
    torch.manual_seed(0)
    assert torch.equal(one, torch.nn.functional.dropout(values))


def test_a_rank_draws_for_the_whole_batch_and_keeps_its_samples():
    whole = torch.rand(8, 3)
    torch.manual_seed(0)
    noise, dropped = torch.randn_like(whole), torch.nn.functional.dropout(whole, 0.3)
    for rank in range(2):
        torch.manual_seed(0)
        ranks = Ranks(rank, 2)
        with whole_batch(ranks):
            own = ranks.share(whole)
            assert torch.equal(torch.randn_like(own), ranks.share(noise))
            assert torch.equal(torch.nn.Dropout(0.3)(own), ranks.share(dropped))
            assert torch.equal(torch.nn.Dropout(0.3).eval()(own), own)


@pytest.mark.parametrize(("kind", "shape"), [("1d", (6, 4, 5)), ("2d", (6, 4, 3, 3)), ("3d", (6, 4, 2, 2, 2))])
def test_dropout_of_channels_is_drawn_for_the_whole_batch(kind, shape):
    whole, dropout = torch.rand(shape), getattr(torch.nn, f"Dropout{kind}")(0.5)
    torch.manual_seed(0)
    dropped = dropout(whole)
    for rank in range(2):
        torch.manual_seed(0)
        ranks = Ranks(rank, 2)
        with whole_batch(ranks):
            assert torch.equal(dropout(ranks.share(whole)), ranks.share(dropped))


def test_fewer_faces_than_a_batch_are_said_with_a_batch_that_can_be_shared():
    extractor = SimpleNamespace(device=torch.device("cpu"))
    made = partial(ClassifierTrainer, extractor, None, torch.zeros(101, 1, 4, 4), torch.zeros(101), views=None, seed=0)
    with pytest.raises(RequestError, match="There are 101 faces to train on, fewer than a batch of 128,") as refused:
        made(schedule=PretrainConfig(epochs=1), ranks=Ranks(0, 2))
    assert refused.value.remedy == "Set a batch of 100, or start another number of processes."
    with pytest.raises(RequestError, match="A batch of 99 cannot be shared"):
        made(schedule=PretrainConfig(epochs=1, batch=99), ranks=Ranks(0, 2))


def test_a_process_that_ends_during_the_backward_pass_of_another_is_said(monkeypatch):
    mean = torch.rand(3, requires_grad=True)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.mul_(2))
    total = Ranks(0, 2).mean_with_gradient(mean)
    assert torch.equal(total, mean)

    def gone(values):  # noqa: ARG001  # as torch's
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "all_reduce", gone)
    with pytest.raises(FsrcacheError, match="Another process of this training has ended"):
        total.sum().backward()
