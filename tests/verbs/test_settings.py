"""Settings of pretrain and train as texts: resolved, recorded, and refused before any work."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

import fsrcache
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.presets import EXTRACTORS, PRETRAINING, TRAINING
from fsrcache.training.classifier.pretraining import PretrainResult
from fsrcache.verbs import pretrain as pretrain_module
from fsrcache.verbs.pretrain import estimate_pretrain, pretrain_settings, resolve_settings
from fsrcache.verbs.train import estimate_train, train_settings
from fsrcache.workspace import Data, Workspace

CPU, GPU = torch.device("cpu"), torch.device("cuda")
PICTURES = Data("/faces")
TINY = ["stages=4,6", "spd_side=4", "hidden=8", "embedding=4", "batch=32"]


@pytest.mark.parametrize(
    ("data", "side", "device", "preset"),
    [
        (Data("drawn:70"), 100, GPU, "tiny"),
        (PICTURES, 64, CPU, "small"),
        (PICTURES, 65, CPU, "medium"),
        (PICTURES, 100, GPU, "paper"),
    ],
)
def test_the_preset_follows_from_faces_and_device(data, side, device, preset):
    resolved = resolve_settings(data, side, device=device)
    assert resolved.preset == preset
    assert resolved.extractor == replace(EXTRACTORS[preset], side=side)
    assert (resolved.schedule, resolved.differences) == (PRETRAINING[preset], ())


@pytest.mark.parametrize("side", [0, 2049, "20"])
def test_a_side_that_cannot_be_is_refused(tmp_path, side):
    with pytest.raises(RequestError, match=f"side is {side!r}"):
        pretrain_settings(tmp_path, data="drawn:14", side=side)


def test_settings_of_shape_and_schedule():
    settings = ["spd_side=16", "learning_rate=1e-3", "stages=8/12,16"]
    resolved = resolve_settings(PICTURES, 40, preset="small", epochs=3, settings=settings, device=CPU)
    assert (resolved.extractor.stages, resolved.extractor.spd_side) == (((8,), (12, 16)), 16)
    assert (resolved.schedule.epochs, resolved.schedule.learning_rate) == (3, 1e-3)
    assert resolved.differences == ("stages=8/12,16", "spd_side=16", "epochs=3", "learning_rate=0.001")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["side=48"], "(?s)side of the pictures is no setting.*side=PIXELS"),
        (["epochs=2"], "epochs is set twice, to '2' and '1'"),
        (["learning_rat=1"], "(?s)'learning_rat' is unknown.*learning_rate"),
        (["spd_sid=1"], "(?s)'spd_sid' is unknown.*spd_side"),
        (["batch"], "'batch' is not NAME=VALUE"),
        (["batch=many"], "batch is 'many'"),
        (["spd_side=99"], "side is 99 and the convolutions end in 64"),
        ("batch=3", "The settings are 'batch=3'"),
    ],
)
def test_pretrain_refuses_a_setting(tmp_path, settings, words):
    with pytest.raises(RequestError, match=words):
        fsrcache.pretrain(tmp_path / "fsr", data="drawn:14", side=16, epochs=1, settings=settings)
    with pytest.raises(RequestError, match=words):
        pretrain_settings(tmp_path / "fsr", data="drawn:14", side=16, epochs=1, settings=settings)


@pytest.mark.parametrize("options", [{}, {"steps": 2}])
@pytest.mark.parametrize("verb", ["train", "sweep", "baselines"])
def test_one_text_is_no_list_of_settings(tmp_path, verb, options):
    options = options if verb != "baselines" else {}
    with pytest.raises(RequestError, match=r"The settings are 'batch=3'\.") as caught:
        getattr(fsrcache, verb)(tmp_path / "fsr", settings="batch=3", device="cpu", **options)
    assert caught.value.remedy == "Name a list of them: ['batch=3']."


@pytest.mark.slow
def test_train_settings(tmp_path):
    workspace = Workspace(tmp_path / "fsr")
    assert train_settings(workspace) == ("best", TRAINING["best"])
    workspace.remember(Data("drawn:70"))
    preset, config = train_settings(workspace, steps=7, settings=["generator.width=8", "critic.filters=4"])
    assert (preset, config.steps, config.generator.width, config.critic.filters) == ("tiny", 7, 8, 4)
    with pytest.raises(RequestError, match="steps is set twice"):
        train_settings(workspace, steps=7, settings=["steps=8"])
    with pytest.raises(RequestError, match="no preset 'huge'"):
        fsrcache.train(workspace, preset="huge")
    with pytest.raises(RequestError, match=r"(?s)'l2_wight' is unknown.*l2_weight"):
        fsrcache.train(workspace, settings=["l2_wight=1"])


@pytest.mark.slow
def test_what_differs_is_in_the_results_and_in_the_records(tmp_path):
    folder = tmp_path / "fsr"
    estimate = estimate_pretrain(folder, data="drawn:140", side=16, epochs=1, settings=TINY)
    assert (estimate.epochs, estimate.preset) == (1, "tiny")
    assert estimate.seconds > 0
    assert not folder.exists()
    pretrained = fsrcache.pretrain(folder, data="drawn:140", side=16, epochs=1, settings=TINY)
    differences = ("stages=4,6", "spd_side=4", "hidden=8", "embedding=4", "epochs=1", "batch=32")
    assert (pretrained.preset, pretrained.settings) == ("tiny", differences)
    assert estimate.settings == differences
    record = json.loads((folder / "pretraining/result.json").read_text())
    assert (record["settings"], record["schedule"]["batch"]) == (list(differences), 32)
    fsrcache.extract(folder, scales=[2])
    options = {"steps": 3, "settings": ["generator.width=8", "batch=16"], "seed": 5}
    differences = ("generator.width=8", "steps=3", "batch=16")
    estimated = estimate_train(folder, **options)
    assert (estimated.preset, estimated.settings, estimated.steps) == ("tiny", differences, 3)
    assert not (folder / "runs").exists()
    trained = fsrcache.train(folder, **options, name="mine")
    assert (trained.name, trained.preset, trained.settings, trained.seed) == ("mine", "tiny", differences, 5)
    record = json.loads((folder / "runs/mine/result.json").read_text())
    assert (record["settings"], record["steps"]) == (list(differences), 3)
    with pytest.raises(FsrcacheError, match=r"generator\.width is 8 there and 512 here"):
        fsrcache.train(folder, steps=3, settings=["batch=16"], seed=5, name="mine")


@pytest.mark.parametrize(("preset", "noted"), [(None, True), ("medium", False)])
def test_medium_by_default_is_announced(tmp_path, monkeypatch, preset, noted):
    def pretrain_extractor(_faces, _config, schedule, **_):
        return PretrainResult("e", schedule, schedule.epochs, 0, 0, {}, [], 1.0)

    monkeypatch.setattr(pretrain_module, "pretrain_extractor", pretrain_extractor)
    for name in ("happy", "sad"):
        (tmp_path / "faces/train" / name).mkdir(parents=True)
        Image.new("L", (80, 80)).save(tmp_path / "faces/train" / name / "1.png")
    notes = []
    result = fsrcache.pretrain(
        tmp_path / "fsr", data=tmp_path / "faces", preset=preset, device="cpu",
        on_progress=lambda progress: notes.append(progress.note),
    )  # fmt: skip
    assert result.preset == "medium"
    assert ("Preset medium: 80 x 80 pixels without a GPU." in notes) == noted
