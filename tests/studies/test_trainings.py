"""The benchmarks that train: one thing changed at a time, and re-weighting; their tables, and that they go on."""

import json
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fsrcache.extractors.covpool import load_covpool
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.forms import read_training
from fsrcache.models.generators.mlp import MLPGenerator
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.batches import Batches
from fsrcache.training.data.loader import load_cache
from fsrcache.training.run.loop import score
from fsrcache.training.step.updates import Networks
from fsrcache.workspace import Data, Workspace
from studies import reweighting, table, variants
from studies.forms import FORMS, _embedding_critic, _OnEmbeddings, train_form


def run(main, *words):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.slow
def test_variants(workspace, tmp_path):
    words = ("--workspace", workspace, "--out", tmp_path, "--steps", 2, "--only", "base", "--only", "all samples mixed")
    run(variants.main, *words, "--seeds", 1)
    first = json.loads((tmp_path / "variants-2.json").read_text())
    assert [(one["variant"], one["seed"]) for one in first["runs"]] == [("base", 0), ("all samples mixed", 0)]
    run(variants.main, *words, "--seeds", 2)
    both = json.loads((tmp_path / "variants-2.json").read_text())
    assert both["runs"][:2] == first["runs"]
    assert len(both["runs"]) == 4
    lines = (tmp_path / "variants-2.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| bicubic", "| base", "| all samples mixed"]
    assert all(line.count("|") == 10 for line in lines[:5])  # HR, x2, x4, their mean, deviation, seen, seeds, seconds
    assert lines[3].split(" | ")[7] == "2"


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_forms(workspace, name):
    """At the beginning a form returns its input, and it learns; scores are the head's own on the features alone."""
    files = Workspace(workspace)
    store = FeatureStore(files.store)
    cache = load_cache(store, "train", rows=np.arange(len(store.labels("train"))), device=torch.device("cpu"))
    plain = score(torch.nn.Identity(), load_covpool(files.extractor).head, cache, store.scales)
    weights = {"classification_weight": 1.0, "distillation_weight": 0.0, "perceptual_weight": 0.0, "l2_weight": 0.0}
    config = replace(TRAINING["best"], steps=150, batch=32, learning_rate=0.0, precision="fp32", **weights)
    assert train_form(name, store, files.extractor, config, seed=0)[0](cache) == plain
    longer = {"generator of BiMaps": {"learning_rate": 2e-3}, "generator with attention over rows": {"steps": 800}}
    config = replace(config, **{"learning_rate": 5e-4, **longer.get(name, {})})  # in 150 steps it finds one class alone
    learnt, seconds = train_form(name, store, files.extractor, config, seed=0)
    assert seconds > 0
    assert sum(learnt(cache).values()) > sum(plain.values()) + 10


def test_a_critic_on_embeddings_learns_by_its_definition(workspace):
    """Its gradient is that of WGAN-div: scores of fine embeddings down, of generated ones up, and the penalty."""
    files = Workspace(workspace)
    store, head = FeatureStore(files.store), load_covpool(files.extractor).head
    cache = load_cache(store, "train", rows=np.arange(len(store.labels("train"))), device=torch.device("cpu"))
    config = replace(
        TRAINING["best"], critic=CriticConfig(), batch=16, learning_rate=0.0, penalty_power=2.0, precision="fp32"
    )
    batches = Batches(cache, config, mode="ram", seed=0, device=torch.device("cpu"), ahead=1)
    generator = MLPGenerator(MLPConfig(width=16, dropout=0.0), FeatureForm(136, 16))
    with torch.no_grad():
        generator.members[0][-1].weights.bias.fill_(0.1)  # so that something is generated
    critic = _embedding_critic(store.spec.widths["embeddings"])
    trainer = _OnEmbeddings(Networks(generator, critic, head), batches, config)
    batches.prepare(0, 1)
    trainer.step(0)
    batches.begin(0)
    batch = batches.batch(0)
    hr, sr = batch.hr_embeddings, head(generator(batch.lr_features))[0].detach()
    between = (hr + torch.rand(16, 1) * (sr - hr)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = config.penalty_weight * slope.square().sum(1).mean()
    grads = torch.autograd.grad(critic(hr).mean() - critic(sr).mean() + penalty, list(critic.parameters()))
    for weight, grad in zip(critic.parameters(), grads, strict=True):
        torch.testing.assert_close(weight.grad, grad, rtol=1e-4, atol=1e-6)
    adversarial = ((config.sigma - batch.lr_probabilities) * critic(sr)).mean().item()  # the generator lowers it
    assert trainer.meters.means()["adversarial"] == pytest.approx(adversarial, rel=1e-4)


@pytest.mark.slow
def test_variants_draw_from_views_where_they_say_so(workspace, tmp_path):
    files = Workspace(shutil.copytree(workspace, tmp_path / "fsr"))
    files.remember(Data("drawn:280"))
    name, workspace = "mirrored and shifted views too", files.folder
    run(variants.main, "--workspace", workspace, "--out", tmp_path, "--steps", 2, "--seeds", 1, "--only", name)
    assert [*FeatureStore(files.store).spec.extra] == ["view-1"]
    run(variants.main, "--workspace", workspace, "--out", tmp_path, "--steps", 2, "--seeds", 1, "--only", "base")
    ((base,), (views,)) = (files.folder.glob(f"variants/2-0-{one}*/generator.safetensors") for one in ("base", "mir"))
    assert read_training(base).get("extra") is None
    assert [*read_training(views)["extra"]] == ["view-1"]


@pytest.mark.slow
def test_reweighting(workspace, tmp_path):
    words = ("--workspace", workspace, "--out", tmp_path, "--steps", 4, "--every", 1, "--seeds", 1, "--faces", 10)
    run(reweighting.main, *words)
    record = json.loads((tmp_path / "reweighting.json").read_text())
    assert [one["source"] for one in record["runs"]] == list(reweighting.SOURCES)
    starts = {json.dumps(one["curve"][0]) for one in record["runs"]}
    assert len(starts) == 1  # the same first weights
    assert len({json.dumps(one["curve"]) for one in record["runs"]}) > 1
    assert all(one["steps_to_the_level"]["loss"] is not None for one in record["runs"] if one["source"] == "none")


def test_the_level_is_where_the_other_run_ends():
    plain = [{"step": step, "accuracy": value} for step, value in enumerate([10.0, 20, 30, 40, 42, 44])]
    faster = [{"step": step, "accuracy": value} for step, value in enumerate([10.0, 40, 42, 44, 46, 48])]
    reached = reweighting.steps_to_the_level
    assert reached(plain, plain, measure="accuracy") == 5
    assert reached(faster, plain, measure="accuracy") == 3
    assert reached(plain, faster, measure="accuracy") is None
    falling, fallen = ([{"step": one["step"], "loss": -one["accuracy"]} for one in curve] for curve in (plain, faster))
    assert reached(fallen, falling, measure="loss") == 3


def test_no_path_is_kept():
    kept = {"store": {"rows": 3}, "seconds": 1.0, "gap": "(a - b) / (c - b)", "rows": [{"row": "ridge"}]}
    answer = {
        **kept, "store": {"store": "/a/b", "rows": 3}, "extractor": "c/d", "rows": [{"row": "ridge", "file": "/a"}]
    }  # fmt: skip
    assert table.without_paths(answer, Path("c")) == kept


def test_all_seeds_are_one_table():
    commands = dict(
        table.training_commands(["fine-tuned", "specialists", "ridge"], seeds=2, seeds_of={"specialists": 1})
    )
    assert list(commands) == [
        "train-seed-0", "fine-tuned-seed-0", "specialists-seed-0", "ridge-seed-0",
        "train-seed-1", "fine-tuned-seed-1",
    ]  # fmt: skip
    assert commands["fine-tuned-seed-1"] == ("baselines", "--rows", "fine-tuned", "--seed", "1")
    fewer = dict(table.training_commands(["fine-tuned"], seeds=1, seeds_of={"FSR-FER": 1, "fine-tuned": 3}))
    assert list(fewer) == ["train-seed-0", *(f"fine-tuned-seed-{seed}" for seed in range(3))]
    assert table.evaluate_command(2)[:5] == ("evaluate", "--name", "seed-0", "--name", "seed-1")
    assert "--split" not in table.evaluate_command(1)
    assert table.evaluate_command(1, split="val")[-2:] == ("--split", "val")


def test_more_rows_make_the_table_anew_and_train_nothing_twice(tmp_path, monkeypatch):
    calls = []

    def run(*words):
        calls.append(words[:3])
        first = tmp_path / "ws/runs/seed-0"
        first.mkdir(parents=True, exist_ok=True)
        (first / "table.md").write_text(f"table {len(calls)}")
        (first / "accuracy.png").touch()
        return "{}"

    monkeypatch.setattr(table, "_run", run)
    (tmp_path / "faces.csv").touch()
    words = ["--data", str(tmp_path / "faces.csv"), "--workspace", str(tmp_path / "ws"), "--out", str(tmp_path / "out")]
    words += ["--title", "faces", "--seeds", "1", "--rows"]
    table.main([*words, "ridge"], standalone_mode=False)
    assert [one[0] for one in calls] == ["pretrain", "extract", "train", "baselines", "evaluate"]
    calls.clear()
    table.main([*words, "ridge,fine-tuned"], standalone_mode=False)
    assert [one[0] for one in calls] == ["baselines", "evaluate"]
    assert calls[0][2] == "fine-tuned"
    assert (tmp_path / "out/faces.md").read_text() == "table 2"
    assert len(json.loads((tmp_path / "out/faces.json").read_text())["commands"]) == 6
    calls.clear()
    with pytest.raises(click.UsageError, match="was not trained on the features of"):
        table.main([*words, "ridge", "--views", "3"], standalone_mode=False)
    assert not calls


def test_trainings_at_once_share_the_cores(tmp_path, monkeypatch):
    together, calls = threading.Barrier(2, timeout=30), []

    def run(*words):
        calls.append(words)
        if words[0] in ("train", "baselines"):
            together.wait()  # until another training has begun
        first = tmp_path / "ws/runs/seed-0"
        first.mkdir(parents=True, exist_ok=True)
        for name in ("table.md", "accuracy.png"):
            (first / name).touch()
        return json.dumps({"command": words[0]})

    monkeypatch.setattr(table, "_run", run)
    monkeypatch.setattr(table, "usable_cores", lambda: 6)
    (tmp_path / "faces.csv").touch()
    words = ["--data", str(tmp_path / "faces.csv"), "--workspace", str(tmp_path / "ws"), "--out", str(tmp_path / "out")]
    words += ["--title", "faces", "--seeds", "1", "--rows", "ridge,fine-tuned,distilled"]
    table.main([*words, "--at-once", "2"], standalone_mode=False)
    threads = {one[0]: one[-2:] if "--threads" in one else () for one in calls}
    assert threads == {
        "pretrain": (), "extract": (), "train": ("--threads", "3"), "baselines": ("--threads", "3"), "evaluate": (),
    }  # fmt: skip
    shown = json.loads((tmp_path / "out/faces.json").read_text())["commands"]
    order = ["pretrain", "extract", "train", "ridge", "fine-tuned", "distilled", "evaluate"]
    assert [next(word for word in order[::-1] if word in one["command"].split()) for one in shown] == order
    calls.clear()
    table.main(words, standalone_mode=False)
    assert [one[0] for one in calls] == ["evaluate"]


def test_a_training_that_fails_ends_the_study_with_its_code(tmp_path, monkeypatch):
    began = []

    def run(*words):
        began.append(words[0])
        if words[0] == "train":
            sys.exit(3)
        return "{}"

    monkeypatch.setattr(table, "_run", run)
    (tmp_path / "faces.csv").touch()
    words = ["--data", str(tmp_path / "faces.csv"), "--workspace", str(tmp_path / "ws"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        table.main([*words, "--title", "faces", "--rows", "ridge", "--at-once", "1"], standalone_mode=False)
    assert stop.value.code == 3
    assert began == ["pretrain", "extract", "train"]  # no further training has begun


def test_a_row_that_is_none_is_a_wrong_request(tmp_path):
    options = ("--data", tmp_path, "--workspace", tmp_path / "w", "--out", tmp_path / "out", "--title", "a")
    done = CliRunner().invoke(table.main, [*map(str, options), "--rows", "nope"])
    assert (done.exit_code, "nope" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_somebodys_network_is_not_pretrained():
    network = "some.network:factory"
    commands = dict(table.features_commands(side=None, views=0, mixed=False, extractor=network))
    assert commands == {"extract": ("extract", "--scales", "1..8", "--extractor", network)}
    commands = dict(table.features_commands(side=64, views=3, mixed=False, extractor=None))
    assert commands["pretrain"] == ("pretrain", "--side", "64")
    assert commands["extract"][-2:] == ("--views", "3")
