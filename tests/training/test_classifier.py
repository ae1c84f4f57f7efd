"""Training a classifier: interrupted within an epoch it ends the same, reports by the clock, refuses in words."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.extractors.extractor import make_extractor
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.weights import read_record
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.training.classifier.fit import fit_classifier
from fsrcache.training.classifier.pictures import split_rows
from fsrcache.training.run import due

SHAPE = ExtractorConfig(side=24, stages=((4,), (6,)), spd_side=4, hidden=8, embedding=4)
SCHEDULE = PretrainConfig(epochs=2, batch=16, rotation=10.0, zoom=0.1)


class StopError(Exception):
    """Raised by a callback in place of Ctrl-C."""


class Plain(nn.Module):
    """A network of one's own, with dropout."""

    side, channels = 24, 3

    def __init__(self, classes):
        super().__init__()
        self.classes = classes
        self.body = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(432, 12), nn.ReLU(), nn.Dropout(0.2))
        self.head = Head(len(classes))

    def embed(self, pictures):
        features = self.body(pictures.float() / 127.5 - 1)
        return (features, *self.head(features))


class Head(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.classify = nn.Linear(12, classes)

    def forward(self, features):
        return features, self.classify(features)


class Frozen(Plain):
    @torch.no_grad()
    def embed(self, pictures):
        return super().embed(pictures)


@pytest.fixture(scope="module")
def faces():
    return usable_faces(list_faces(Path("drawn:140")), side=24)


def covpool(classes):
    return extractor_of(CovPoolFER(SHAPE, classes))


def plain(classes, *, network=Plain, trainable=True):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        module = network(classes)
    return make_extractor(module, name="plain", digest="0", preprocessing="/ 255", trainable=trainable)


@pytest.fixture
def fit(faces, tmp_path):
    """Return what trains a classifier in a folder, here or up to a step."""

    def fit_here(extractor, folder="run", *, schedule=SCHEDULE, stop=None, reports=None, **options):
        def on_progress(progress):
            if reports is not None:
                reports.append(progress)
            if progress.phase == "training" and stop is not None and progress.done >= stop:
                raise StopError

        return fit_classifier(
            extractor, faces, schedule, phase="training", folder=tmp_path / folder, settings={}, seed=5,
            on_progress=on_progress, **options,
        )  # fmt: skip

    return fit_here


@pytest.fixture
def steps(faces):
    """Steps of an epoch."""
    count = len(split_rows(faces)["train"]) // SCHEDULE.batch
    assert count > 3
    return count


def clock(monkeypatch, *, step):
    """Give reports and checkpoints a clock that goes on by so many seconds whenever it is read."""
    now = iter(range(0, 10**6 * step, step) if step else iter(int, 1))
    monkeypatch.setattr(due, "time", SimpleNamespace(perf_counter=lambda: float(next(now))))


@pytest.mark.slow
@pytest.mark.parametrize(("network", "scales"), [(covpool, (1, 2)), (plain, (1,))], ids=["CovPoolFER", "dropout"])
def test_interrupted_within_an_epoch_it_ends_the_same(fit, faces, steps, tmp_path, monkeypatch, network, scales):
    whole = network(faces.classes)
    undisturbed = fit(whole, "whole", scales=scales)
    monkeypatch.setattr(due, "_REPORT_SECONDS", 0.0)
    for stop in (2, steps + 3):
        torch.manual_seed(stop)
        with pytest.raises(StopError):
            fit(network(faces.classes), stop=stop, checkpoint_seconds=0.0, scales=scales)
    last = network(faces.classes)
    resumed = fit(last, scales=scales)
    assert (resumed.resumed_from, resumed.resumed_step) == (1, 2)
    assert resumed.history == undisturbed.history
    assert resumed.accuracy == undisturbed.accuracy
    one, other = whole.module.state_dict(), last.module.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    histories = [(tmp_path / name / "history.jsonl").read_bytes() for name in ("whole", "run")]
    assert histories[0] == histories[1]
    assert histories[0].count(b"\n") == SCHEDULE.epochs


def test_other_threads_within_an_epoch(fit, faces, steps, monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(due, "_REPORT_SECONDS", 0.0)
    with pytest.raises(StopError):
        fit(plain(faces.classes), stop=steps + 3, checkpoint_seconds=0.0)
    torch.set_num_threads(threads + 1)
    try:
        with pytest.raises(FsrcacheError, match=f"another number of threads: {threads} there, {threads + 1} here"):
            fit(plain(faces.classes))
        reports = []
        result = fit(plain(faces.classes), reports=reports, other_threads=True)
        again = fit(plain(faces.classes))
    finally:
        torch.set_num_threads(threads)
    assert (result.resumed_from, result.resumed_step) == (1, 2)
    assert result.earlier_threads == again.earlier_threads == (threads,)
    assert result.record["earlier_threads"] == (threads,)
    assert result.record["threads"] == threads + 1
    assert sum("it no longer ends in the same bytes" in progress.note for progress in reports) == 1
    finished = fit(plain(faces.classes))  # nothing is left to compute: no leave is needed
    assert (finished.record["threads"], finished.earlier_threads) == (threads + 1, (threads,))


def test_every_epoch_and_step_draws_otherwise(fit, faces, monkeypatch):
    drawn = []

    def remember(pictures, *_, random):
        drawn.append((pictures.clone(), random.random(4).tolist()))
        return pictures.float()

    monkeypatch.setattr("fsrcache.training.classifier.trainer.augment", remember)
    extractor, before = covpool(faces.classes), torch.random.get_rng_state()
    fit(extractor)
    assert torch.equal(torch.random.get_rng_state(), before)
    numbers = [tuple(values) for _, values in drawn]
    assert len(set(numbers)) == len(numbers)
    first, second = (
        torch.cat([pictures for pictures, _ in drawn[start : start + 4]]) for start in (0, len(drawn) // 2)
    )
    assert not torch.equal(first, second)


@pytest.mark.slow
def test_reports_by_the_clock(fit, faces, steps, monkeypatch):
    total = SCHEDULE.epochs * steps
    clock(monkeypatch, step=0)  # no time goes by
    reports = []
    fit(covpool(faces.classes), "still", reports=reports)
    ends = [epoch * steps for epoch in range(1, SCHEDULE.epochs + 1)]
    assert [one.done for one in reports if one.phase == "training"] == [0, 1, *ends]
    assert {one.total for one in reports if one.phase == "training"} == {total}
    assert [one.phase for one in reports].count("scoring") == SCHEDULE.epochs + 3  # held-out, val and test at the end
    assert reports[0].phase == "reading pictures"
    assert set(reports[-4].values) == {"epoch", "loss", "held_out_accuracy"}
    clock(monkeypatch, step=1)
    reports = []
    fit(covpool(faces.classes), "slow", reports=reports)
    done = [one.done for one in reports if one.phase == "training"]
    assert sorted(set(done)) == list(range(total + 1))
    assert all(one.values["loss"] > 0 for one in reports if one.phase == "training" and one.done)


def test_checkpoints_by_the_clock(fit, faces, steps, monkeypatch):
    kept = []

    def save(_, state):
        kept.append((len(state["history"]), state["step"]))

    monkeypatch.setattr("fsrcache.training.run.checkpoint.Checkpoints.save", save)
    clock(monkeypatch, step=0)
    epochs = [(epoch, 0) for epoch in range(1, SCHEDULE.epochs + 1)]
    fit(covpool(faces.classes), checkpoint_seconds=30.0)
    assert kept == epochs
    kept.clear()
    clock(monkeypatch, step=31)
    fit(covpool(faces.classes), checkpoint_seconds=30.0)
    assert kept == [(epoch, (step + 1) % steps) if step + 1 < steps else (epoch + 1, 0)
                    for epoch in range(SCHEDULE.epochs) for step in range(steps)]  # fmt: skip


def test_a_checkpoint_is_made_soon_after_the_first_step(fit, faces, steps, tmp_path):
    with pytest.raises(StopError):
        fit(covpool(faces.classes), stop=steps)  # at the end of the first epoch
    state = read_record(tmp_path / "run/checkpoint.previous.safetensors", kind="checkpoint")["state"]
    assert state["step"] > 0
    assert state["history"] == []


@pytest.mark.parametrize(
    ("network", "told"),
    [
        (lambda classes: plain(classes, network=Frozen), "plain cannot be trained: its embed returns logits without"),
        (lambda classes: plain(classes, trainable=False), "plain cannot be trained: none of its weights takes a grad"),
        (lambda classes: frozen(plain(classes)), "plain cannot be trained: none of its weights takes a gradient"),
    ],
    ids=["no_grad", "untrainable", "frozen"],
)
def test_a_network_without_gradients_is_refused(fit, faces, tmp_path, network, told):
    with pytest.raises(RequestError, match=told) as error:
        fit(network(faces.classes))
    assert "no_grad" in error.value.remedy
    assert not list(tmp_path.rglob("*.safetensors"))


def frozen(extractor):
    extractor.module.requires_grad_(False)
    return extractor


@pytest.mark.slow
def test_a_network_of_ones_own_learns(fit, faces):
    schedule = replace(SCHEDULE, epochs=30, learning_rate=2e-2, shift=0, rotation=0.0, zoom=0.0)
    extractor = plain(faces.classes)
    result = fit(extractor, schedule=schedule)
    assert result.history[-1]["loss"] < 0.95 * result.history[0]["loss"]
    assert not extractor.module.training
    assert result.record["epochs"] == 30


def test_weights_that_are_not_finite_are_not_kept(fit, faces, tmp_path, monkeypatch):
    extractor = plain(faces.classes)

    class Wild(torch.optim.SGD):
        def step(self):
            next(iter(extractor.module.parameters())).data.fill_(float("inf"))

    wild = Wild(extractor.module.parameters(), lr=0.0)
    monkeypatch.setattr("fsrcache.training.classifier.fit.make_optimiser", lambda *_: wild)
    with pytest.raises(FsrcacheError, match="Weights stopped being finite in epoch 1 of the training"):
        fit(extractor, checkpoint_seconds=0.0)
    assert not (tmp_path / "run/checkpoint.safetensors").exists()


@pytest.mark.parametrize("scales", [(), (0,), [1]])
def test_scales_that_are_none_are_refused(fit, faces, tmp_path, scales):
    with pytest.raises(RequestError, match="scales"):
        fit(covpool(faces.classes), scales=scales)
    assert not (tmp_path / "run").exists()
