"""Rows that are trained: by name or all, with settings, resumed, refused; and a row from outside."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fsrcache.cli.main import group
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.formats import to_markdown
from fsrcache.evaluation.plots import accuracy_figure
from fsrcache.evaluation.predictor import Predictor
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import load_covpool, save_covpool
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.weights import read_record
from fsrcache.records import check_fields
from fsrcache.rows import bicubic, fine_tuned, generated, rcan
from fsrcache.rows.index import ROWS
from fsrcache.rows.row import RowResult, no_obstacle, trained_seeds
from fsrcache.store.verify import repair
from fsrcache.verbs.baselines import baselines
from fsrcache.verbs.evaluate import evaluate
from fsrcache.verbs.extract import extract
from fsrcache.verbs.train import train

QUICK = ("epochs=1", "batch=32")


def test_fine_tuning_writes_an_extractor_and_its_features(tuned_once):
    folder, result = tuned_once
    assert (result.row, result.seed, result.epochs, result.resumed_from) == ("fine-tuned", 0, 1, 0)
    file = folder / "rows/fine-tuned/seed-0/extractor.safetensors"
    assert result.extractor == str(file)
    assert set(result.accuracy) == {"held-out", "val", "test"}
    assert [line["epoch"] for line in result.history] == [1]
    assert result.extraction["complete"]
    training = read_record(file, kind="extractor")["training"]
    assert training["fine_tuned_from"] == open_extractor(folder / "extractor.safetensors").digest
    assert training["schedule"] | {"epochs": 1, "batch": 32, "learning_rate": 5e-4} == training["schedule"]


@pytest.mark.slow
def test_the_table_has_the_seeds_that_are_there(tuned):
    again = baselines(tuned, settings=QUICK, device="cpu").rows[0]
    assert (again.resumed_from, again.extraction["resumed_from"]) == (1, again.extraction["blocks"])
    alone = evaluate(tuned, names=["a"], heads=["frozen"], device="cpu")
    baselines(tuned, settings=QUICK, seed=3, device="cpu")
    table = evaluate(tuned, names=["a"], heads=["frozen", "refit-mlp"], device="cpu")
    scores = [score for score in table.rows if score.row == "fine-tuned"]
    assert [(score.head, score.scale) for score in scores] == [
        (head, scale) for head in ("frozen", "refit-mlp") for scale in (1, 2, 4)
    ]
    assert {score.seeds for score in scores} == {(0, 3)}
    assert table.context.seeds == "fine-tuned 0, 3; FSR-FER 0; re-fitted heads 0"
    (tuned.row("fine-tuned", 3) / "features.zarr/zarr.json").unlink()
    notes = []
    left = evaluate(tuned, names=["a"], heads=["frozen"], device="cpu", on_progress=lambda one: notes.append(one.note))
    assert left == alone
    assert any("fine-tuned with the seed 3 is left out" in note for note in notes)


def test_a_seed_whose_features_are_not_complete_is_left_out(tuned):
    store = tuned.row("fine-tuned", 0) / "features.zarr"
    next(store.glob("train/x2/features/c/*/*")).unlink()
    repair(store)
    notes = []
    table = evaluate(tuned, names=["a"], heads=["frozen"], device="cpu", on_progress=lambda one: notes.append(one.note))
    assert {score.row for score in table.rows} == {"majority", "bicubic", "FSR-FER", "FSR-FER, one of 2"}
    assert any("fine-tuned with the seed 0 is left out" in note for note in notes)


def test_a_seed_that_was_trained_anew_and_has_the_features_of_before_is_left_out(tuned):
    weights = tuned.row("fine-tuned", 0) / "extractor.safetensors"
    model, training = load_covpool(weights), read_record(weights, kind="extractor")["training"]
    with torch.no_grad():
        next(model.parameters()).mul_(1.5)
    save_covpool(weights, model, training=training)
    notes = []
    table = evaluate(tuned, names=["a"], heads=["frozen"], device="cpu", on_progress=lambda one: notes.append(one.note))
    assert "fine-tuned" not in {score.row for score in table.rows}
    assert any("fine-tuned with the seed 0 is left out" in note for note in notes)


def test_a_row_of_faces_that_were_made_coarse_otherwise_is_refused(tuned):
    faces = usable_faces(list_faces(Path("drawn:140")), side=16)
    source = face_source(faces, tuned.extractor, device=torch.device("cpu"), degradation=Degradation(jpeg=5))
    extract_features(source, store=tuned.folder / "other.zarr", scales=[2, 4], data="drawn faces")
    with pytest.raises(FsrcacheError, match=r"or of others made coarse: their preprocessing differ") as caught:
        evaluate(tuned, store=tuned.folder / "other.zarr", device="cpu")
    assert "baselines" in caught.value.remedy


def test_settings_are_checked(tuned):
    for rows in (["fine-tuned"], ["all"]):  # of which the first has none of these
        with pytest.raises(RequestError, match="'epoch' is unknown") as refused:
            baselines(tuned, rows=rows, settings=["epoch=1"], device="cpu")
        assert refused.value.remedy.startswith("Did you mean epochs")
    with pytest.raises(RequestError, match="'foo' is unknown") as refused:
        baselines(tuned, rows=["all"], settings=["foo=1"], device="cpu")
    assert {"epochs", "patch"} <= set(refused.value.remedy.strip(".").replace(",", "").split())
    with pytest.raises(FsrcacheError, match=r": batch is 32 there and 16 here"):
        baselines(tuned, settings=["epochs=1", "batch=16"], device="cpu")


@pytest.mark.slow
def test_a_row_of_another_store_or_extractor_is_refused(tuned):
    assert trained_seeds(tuned, "fine-tuned") == [(0, tuned.row("fine-tuned", 0))]
    faces = usable_faces(list_faces(Path("drawn:140")), side=16)

    def extract_again(scales):
        source = face_source(faces, tuned.extractor, device=torch.device("cpu"))
        extract_features(source, store=tuned.store, scales=scales, data="drawn faces")

    other = usable_faces(list_faces(Path("drawn:210")), side=16)
    elsewhere = tuned.folder / "other.zarr"
    source = face_source(other, tuned.extractor, device=torch.device("cpu"))
    extract_features(source, store=elsewhere, scales=[2, 4], data="drawn faces")
    with pytest.raises(
        FsrcacheError, match=r"is of other faces than .*: their pictures, labels, order differ"
    ) as caught:
        evaluate(tuned, store=elsewhere, names=["a"], device="cpu")
    assert caught.value.remedy == (
        f"Train it again: `fsrcache.baselines('{tuned.folder}', rows=['fine-tuned'], seed=0, restart=True)`."
    )
    shutil.rmtree(tuned.store)
    model = load_covpool(tuned.extractor)
    with torch.no_grad():
        model.head.classify.bias += 1
    save_covpool(tuned.extractor, model, training={})
    extract_again([2, 4])
    with pytest.raises(FsrcacheError, match="is not this CovPoolFER trained further, but another"):
        evaluate(tuned, names=["a"], device="cpu")


@pytest.mark.parametrize(
    ("rows", "words"),
    [(["ridges"], "no row 'ridges'"), (["bicubic"], "bicubic needs no training"), ([], r"rows are \[\]"),
     (["fine-tuned", "fine-tuned"], "named twice"), (["all", "fine-tuned"], "no row 'all'"),
     ("fine-tuned", "rows are 'fine-tuned'")],
)  # fmt: skip
def test_what_is_no_row_to_train_is_named(workspace, rows, words):
    with pytest.raises(RequestError, match=words) as caught:
        baselines(workspace, rows=rows, device="cpu")
    assert "Choose from rcan, " in caught.value.remedy or "once" in caught.value.remedy


def frozen(monkeypatch):
    """Have every workspace's extractor be one that cannot be trained."""
    for verb in ("baselines", "evaluate"):
        monkeypatch.setattr(
            f"fsrcache.verbs.{verb}.open_extractor",
            lambda source, device: replace(open_extractor(source, device=device), trainable=False),
        )


def test_a_row_that_cannot_be_had_is_refused_by_name_and_left_out_of_all(workspace, monkeypatch):
    frozen(monkeypatch)
    with pytest.raises(RequestError, match="row fine-tuned cannot be trained: CovPoolFER cannot be trained further"):
        baselines(workspace, device="cpu")
    notes = []
    quick = ["steps=1", "batch=2", "network.features=4", "network.blocks=1"]
    result = baselines(
        workspace, rows=["all"], settings=quick, device="cpu", on_progress=lambda one: notes.append(one.note)
    )  # fmt: skip
    assert [row.row for row in result.rows] == [
        "rcan", "meta-sr", "meta-sr-retrained", "fsr", "fsr-fer", "fsr-fer-unweighted", "fsr-fer-without-critic",
        "ridge", "ridge-per-scale",
    ]  # fmt: skip
    assert any(note.startswith("fine-tuned is left out: CovPoolFER cannot be trained further") for note in notes)
    table = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    assert table.context.notes == (
        "No row fine-tuned: CovPoolFER cannot be trained further, its weights take no gradients.",
        "No row distilled: CovPoolFER cannot be trained further, its weights take no gradients.",
        "No row distilled-unlabelled: CovPoolFER cannot be trained further, its weights take no gradients.",
        "No row specialists: how CovPoolFER was pre-trained is not known.",
    )


def test_the_command_prints_one_object_or_a_list(tuned, monkeypatch):
    def command(rows):
        words = ["baselines", "--workspace", str(tuned.folder), "--rows", rows, "--json", "--device", "cpu"]
        done = CliRunner().invoke(group, [*words, *(word for one in QUICK for word in ("--set", one))])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    one = command("fine-tuned")
    keys = {"row", "extractor", "epochs", "resumed_from", "accuracy", "history", "seconds", "extraction"}
    assert keys | {"seed", "held_out", "super_resolution", "was_there"} == set(one)
    monkeypatch.setattr("fsrcache.rows.index.ROWS", (*ROWS, prior()))
    assert [row["row"] for row in command("prior, fine-tuned")["rows"]] == ["prior", "fine-tuned"]


@dataclass(frozen=True, kw_only=True)
class PriorSettings:
    epochs: int = 3
    batch: int = 4

    def __post_init__(self):
        check_fields(self)


def prior():
    """Return a row from outside: the commonest class of the training split, with some noise that is its seed's."""
    name = "prior"

    def train_counts(training):
        store, folder = training.context.store, training.context.workspace.row(name, training.seed)
        folder.mkdir(parents=True)
        counts = np.bincount(store.labels("train"), minlength=len(store.classes))
        np.save(folder / "counts.npy", counts + training.settings.epochs)
        return RowResult(row=name, seed=training.seed, accuracy={}, seconds=0.0)

    def predictors(context, runs):  # noqa: ARG001  # a row's signature
        def predictor(seed, folder):
            counts = np.load(folder / "counts.npy").astype(np.float32)

            def probabilities(split, scale):  # noqa: ARG001  # a row's signature
                return np.tile(counts / counts.sum(), (len(context.store.labels(split)), 1))

            source = {"counts": counts.tolist()}
            return Predictor(row=name, name=f"{name}/{seed}", source=source, seed=seed, probabilities=probabilities)

        return [predictor(seed, folder) for seed, folder in trained_seeds(context.workspace, name)]

    return SimpleNamespace(
        NAME=name, NOTE="the commonest class", SETTINGS=PriorSettings(), train=train_counts, obstacle=no_obstacle,
        predictors=predictors,
    )  # fmt: skip


def test_a_new_row_is_one_object_and_one_line(workspace, monkeypatch):
    monkeypatch.setattr("fsrcache.rows.index.ROWS", (prior(), *ROWS))
    with pytest.raises(RequestError) as caught:
        baselines(workspace, rows=["ridges"], device="cpu")
    assert caught.value.remedy.startswith("Choose from prior, rcan, ")
    assert not [score for score in evaluate(workspace, names=["a"], device="cpu").rows if score.row == "prior"]
    for seed in (0, 1):
        result = baselines(workspace, rows=["prior"], settings=["epochs=7"], seed=seed, device="cpu")
        assert [(row.row, row.seed) for row in result.rows] == [("prior", seed)]
    table = evaluate(workspace, names=["a"], device="cpu")
    assert table.order[:2] == ("prior", "majority")
    scores = [score for score in table.rows if score.row == "prior"]
    assert [(score.head, score.scale, score.seeds) for score in scores] == [("frozen", s, (0, 1)) for s in (1, 2, 4)]
    assert {score.deviation for score in scores} == {0}
    assert all(score.mean_class_accuracy == pytest.approx(100 / 7) for score in scores)
    assert accuracy_figure(table).axes[0].lines[0].get_label() == "prior"
    assert "prior" in to_markdown(table)


def test_all_rows_but_those_of_other_scales(workspace, monkeypatch):
    monkeypatch.setattr("fsrcache.rows.index.ROWS", (rcan, prior()))
    monkeypatch.setattr("fsrcache.rows.rcan._SCALES", (3, 8))
    notes = []
    result = baselines(workspace, rows=["all"], device="cpu", on_progress=lambda progress: notes.append(progress.note))
    left_out = "it is for x2, x3, x4 and x8, and the store has none of these."
    assert f"rcan is left out: {left_out}" in notes
    assert [row.row for row in result.rows] == ["prior"]
    with pytest.raises(RequestError, match=f"rcan cannot be trained: {left_out}"):
        baselines(workspace, rows=["rcan"], device="cpu")
    assert rcan.obstacle(None, (1, 5, 8)) == ""


def test_the_rows_are_what_a_row_should_be():
    assert {bicubic, fine_tuned, generated} < set(ROWS)
    names = [row.NAME for row in ROWS]
    assert names == [
        "majority", "bicubic", "rcan", "meta-sr", "meta-sr-retrained", "fsr", "fsr-fer", "fsr-fer-unweighted",
        "fsr-fer-without-critic", "ridge", "ridge-per-scale", "fine-tuned", "distilled", "distilled-unlabelled",
        "specialists", "pictures", "FSR-FER",
    ]  # fmt: skip
    for row in ROWS:
        assert row.NOTE
        assert callable(row.predictors)
        assert callable(row.obstacle)
        assert row.train is None or callable(row.train)


NETWORK = """
import torch
from torch import nn


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.classify = nn.Linear(8, 6), nn.Linear(6, 7)

    def forward(self, features):
        embedding = self.embed(features).relu()
        return embedding, self.classify(embedding)


class Network(nn.Module):
    classes = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
    side, channels = 16, 1

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = Head()

    def embed(self, pictures):
        features = self.body(pictures.float() / 255)
        return features, *self.head(features)


def vectors():
    torch.manual_seed(0)
    return Network()
"""


@pytest.mark.slow
def test_somebodys_network_of_plain_vectors_has_every_row_and_head(tmp_path, monkeypatch):
    (tmp_path / "rows_network.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    extract(extractor="rows_network:vectors", data="drawn:140", scales=[2], device="cpu")
    train(preset="best", steps=2, settings=["generator.width=8", "generator.rank=0", "batch=16"], device="cpu")
    assert baselines(settings=QUICK, device="cpu").rows[0].epochs == 1
    table = evaluate(device="cpu")
    assert {(score.row, score.head) for score in table.rows} == {
        (row, head)
        for row in ("bicubic", "fine-tuned", "FSR-FER", "FSR-FER, one of 3")
        for head in ("frozen", "refit-mlp", "refit-linear")
    } | {("majority", "frozen")}
