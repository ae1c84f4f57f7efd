"""Text does wherever a path does, a ``Path`` wherever text does, and what is neither is named."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import fsrcache
from fsrcache.benchmarks.figures import write_bench_figure
from fsrcache.errors import RequestError
from fsrcache.evaluation.evaluate import evaluate_predictors
from fsrcache.evaluation.predictions import read_predictions, write_predictions
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.style import write_figure
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import load_covpool, save_covpool
from fsrcache.extractors.onnx import onnx_digest, open_onnx
from fsrcache.extractors.onnx_options import read_options
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.decode import decode
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.files import as_path, write_whole
from fsrcache.models.generators.forms import load_generator, read_training, save_generator
from fsrcache.models.weights import file_digest, kind_of, read_record, read_weights, write_weights
from fsrcache.presets import FINE_TUNING, PRETRAINING, TRAINING, MLPConfig
from fsrcache.training.classifier.fine_tuning import fine_tune
from fsrcache.training.classifier.pretraining import pretrain_extractor
from fsrcache.training.run.estimate import estimate_training
from fsrcache.training.run.train import train_generator
from fsrcache.verbs.extract import estimate_extract
from fsrcache.verbs.train import estimate_train

CPU = torch.device("cpu")
CONFIG = replace(TRAINING["tiny"], generator=MLPConfig(width=4, blocks=1, rank=0), steps=1, batch=8)
ROW = {"case": "a", "ratio": 2.0, "alternative": "b", "candidate": "c", "flop_per_byte": None, "ms": 1.0, "ms_p20": 1.0,
       "ms_p80": 1.0}  # fmt: skip
WEIGHTS, GENERATOR, STORE = "fsr/extractor.safetensors", "fsr/runs/default/generator.safetensors", "fsr/features.zarr"
OPTIONS = {"classes": ["a", "b"], "side": 8, "channel_order": "grey", "mean": [0], "deviation": [1], "range": "1",
           "layout": "nchw"}  # fmt: skip


class Things:
    """What functions need beside a path."""

    def __init__(self, folder):
        self.store, self.extractor = fsrcache.FeatureStore(folder / STORE), open_extractor(folder / WEIGHTS)
        self.faces = usable_faces(list_faces("drawn:140"), side=24)
        self.model, (self.generator, self.training) = load_covpool(folder / WEIGHTS), load_generator(folder / GENERATOR)
        self.predictions = {1: np.ones((1, 1), np.float32)}
        count = len(self.store.labels("test")), len(self.store.classes)
        self.row = Predictor(row="r", name="r", source={}, probabilities=lambda *_: np.ones(count, np.float32))
        Image.new("L", (8, 8)).save(folder / "face.png")
        for name in ("happiness", "anger"):
            (folder / "faces" / name).mkdir(parents=True)
            shutil.copy(folder / "face.png", folder / "faces" / name)
        write_predictions(folder / "old", self.predictions, source={})

    def columns(self):
        spec = self.store.spec
        names = {split: [f"{split}/{i}" for i in range(count)] for split, count in spec.rows.items()}
        return {"labels": {split: self.store.labels(split) for split in spec.rows}, "ids": names}


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paths")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def things(folder):
    return Things(folder)


def new_writer(path, t):
    with fsrcache.FeatureWriter(path, t.store.spec, **t.columns()):
        pass


def fine_tuned(t, extractor, target, folder):
    schedule = replace(FINE_TUNING, epochs=1)
    fine_tune(t.faces, extractor, target=target, folder=folder, scales=(1,), device=CPU, schedule=schedule)


def pretrained(t, target, folder):
    schedule = replace(PRETRAINING["tiny"], epochs=1)
    pretrain_extractor(t.faces, t.model.config, schedule, target=target, folder=folder, device=CPU)


# The path and what is done with it; a name of a file that is there is read, any other is written.
CALLS = {
    "load": ("fsr", lambda path, _: fsrcache.load(path)),
    "runs": ("fsr", lambda path, _: fsrcache.runs(path)),
    "info": ("fsr", lambda path, _: fsrcache.info(path)),
    "Workspace": ("fsr", lambda path, _: fsrcache.Workspace(path)),
    "evaluate": ("fsr", lambda path, _: fsrcache.evaluate(path, heads=["frozen"], device="cpu")),
    "estimate_train": (
        "fsr", lambda path, _: estimate_train(path, name="new", settings=["generator.width=4"], device="cpu")
    ),
    "estimate_extract": ("fsr", lambda path, _: estimate_extract(path, scales=[2], device="cpu")),
    "train": ("fsr", lambda path, _: fsrcache.train(path, preset="tiny", steps=2, device="cpu")),
    "extract": ("fsr", lambda path, _: fsrcache.extract(path, scales=[2], device="cpu")),
    "FeatureStore": (STORE, lambda path, _: fsrcache.FeatureStore(path)),
    "FeatureWriter": ("new.zarr", new_writer),
    "open_extractor": (WEIGHTS, lambda path, _: fsrcache.open_extractor(path)),
    "face_source": (WEIGHTS, lambda path, t: face_source(t.faces, path, device=CPU)),
    "load_covpool": (WEIGHTS, lambda path, _: load_covpool(path)),
    "file_digest": (WEIGHTS, lambda path, _: file_digest(path)),
    "kind_of": (WEIGHTS, lambda path, _: kind_of(path, wanted="extractor")),
    "read_record": (WEIGHTS, lambda path, _: read_record(path, kind="extractor")),
    "read_weights": (WEIGHTS, lambda path, _: read_weights(path, kind="extractor")),
    "load_generator": (GENERATOR, lambda path, _: load_generator(path)),
    "read_training": (GENERATOR, lambda path, _: read_training(path)),
    "read_predictions": ("old", lambda path, _: read_predictions(path, source={}, scales=(1,), shape=(1, 1))),
    "read_options": ("none.toml", lambda path, _: read_options(path, **OPTIONS)),
    "decode": ("face.png", lambda path, _: decode(path)),
    "list_faces": ("faces", lambda path, _: list_faces(path)),
    "as_path": ("face.png", lambda path, _: as_path(path)),
    "write_whole": ("a", lambda path, _: write_whole(path, b"")),
    "write_weights": ("b", lambda path, _: write_weights(path, {}, kind="k", record={})),
    "write_predictions": ("c", lambda path, t: write_predictions(path, t.predictions, source={})),
    "write_figure": ("d.png", lambda path, _: write_figure(Figure(), path)),
    "write_bench_figure": ("e.png", lambda path, _: write_bench_figure({"cases": [ROW]}, path)),
    "save_covpool": ("f", lambda path, t: save_covpool(path, t.model, training={})),
    "save_generator": (
        "g", lambda path, t: save_generator(path, t.generator, features=t.extractor.form, training=t.training)
    ),
    "train_generator": ("h", lambda path, t: train_generator(t.store, t.extractor, CONFIG, folder=path, device=CPU)),
    "estimate_training": (
        "i", lambda path, t: estimate_training(t.store, t.extractor, CONFIG, folder=path, device=CPU)
    ),
    "fine_tune": ("j", lambda path, t: fine_tuned(t, t.extractor, "j-weights", path)),
    "pretrain_extractor": ("k", lambda path, t: pretrained(t, "k-weights", path)),
    "evaluate_predictors": (
        "l", lambda path, t: evaluate_predictors(t.store, t.extractor, [t.row], device=CPU, folder=path)
    ),
}  # fmt: skip
WRITES_NOTHING = ("read_options", "estimate_training")


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("name", CALLS)
def test_text_and_paths_are_the_same(folder, things, monkeypatch, name, kind):
    path, call = CALLS[name]
    monkeypatch.chdir(folder)
    call(kind(folder / path), things)
    assert (folder / path).exists() or name in WRITES_NOTHING


@pytest.mark.parametrize("wrong", [3, b"a", [], object()], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_path_is_named(folder, things, monkeypatch, name, wrong):
    monkeypatch.chdir(folder)
    with pytest.raises(RequestError):
        CALLS[name][1](wrong, things)


@pytest.mark.parametrize(
    "call",
    [
        lambda t: fine_tuned(t, 3, "t", "f"),
        lambda t: fine_tuned(t, t.extractor, 3, "f"),
        lambda t: pretrained(t, 3, "f"),
        lambda t: train_generator(t.store, 3, CONFIG, folder="f", device=CPU),
        lambda _: open_onnx(3),
        lambda _: onnx_digest(b"a", None),
        lambda _: fsrcache.train("fsr", store=3, device="cpu"),
        lambda _: fsrcache.extract("fsr", data=3, device="cpu"),
        lambda _: fsrcache.extract("fsr", extractor=3, device="cpu"),
        lambda _: fsrcache.pretrain("fsr", data=3, device="cpu"),
        lambda _: fsrcache.verify(3),
        lambda _: usable_faces("faces"),
        lambda _: as_path(""),
        lambda _: as_path("a\0b"),
        lambda _: as_path("~nobody-of-that-name/x"),
    ],
)
def test_other_arguments_that_are_no_path_are_named(folder, things, monkeypatch, call):
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(RequestError):
        call(things)
    assert sorted(folder.rglob("*")) == before
