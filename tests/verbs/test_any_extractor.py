"""Somebody's network as the extractor of a workspace: by reference, entry point, file or ONNX, through every verb."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import fsrcache
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.extractors.extractor import Extractor, state_digest
from fsrcache.models.weights import read_record, write_weights
from fsrcache.presets import ExtractorConfig
from fsrcache.workspace import Data, Workspace

FACES = "drawn:140"
SHAPE = ExtractorConfig(side=16, stages=((6,), (8,)), spd_side=6, hidden=8, embedding=4)
CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
ONNX = {
    "classes": CLASSES, "side": 12, "channel_order": "grey", "mean": (0.5,), "deviation": (0.25,), "range": "1",
    "layout": "nhwc",
}  # fmt: skip


def train(steps=4, **options):
    options = {"preset": "best", "settings": ["generator.width=16", "generator.members=1", "batch=16"]} | options
    return fsrcache.train(steps=steps, device="cpu", **options)


@pytest.mark.parametrize(
    ("factory", "widths", "spd_side", "settings"),
    [
        ("vectors", {"features": 8, "embeddings": 6, "probabilities": 7}, None, ["generator.rank=0"]),
        ("vectors", {"features": 8, "embeddings": 6, "probabilities": 7}, None, ["generator.rank=3"]),
        ("matrices", {"features": 15, "embeddings": 6, "probabilities": 7}, 5, ["generator.rank=3"]),
        ("taps", {"features": 8, "embeddings": 6, "probabilities": 7}, None, ["generator.rank=0"]),
        ("early", {"features": 8, "embeddings": 6, "probabilities": 7, "early": 40}, None, ["generator.rank=0"]),
        ("early", {"features": 8, "embeddings": 6, "probabilities": 7, "early": 40}, None, ["generator.early=false"]),
    ],
)
def test_a_factorys_network_goes_all_the_way(networks, factory, widths, spd_side, settings):
    extracted = fsrcache.extract(extractor=f"somebodys:{factory}", data=FACES, scales=[2])
    assert extracted.complete
    store = fsrcache.FeatureStore(networks / "fsr/features.zarr")
    assert store.spec.widths == widths
    assert store.spec.recipe["extractor"] == f"somebodys:{factory}"
    assert (store.spec.recipe["side"], store.spec.recipe["spd_side"]) == (16, spd_side)
    again = fsrcache.extract(scales=[2])  # what is remembered
    assert (again.digest, again.resumed_from) == (extracted.digest, extracted.blocks)
    assert fsrcache.extract(extractor=f"somebodys:{factory}", scales=[2]).resumed_from == extracted.blocks
    trained = train(settings=["generator.width=16", "generator.members=1", "batch=16", *settings])
    assert set(trained.held_out_accuracy) == {"1", "2"}
    table = fsrcache.evaluate(heads=["frozen"])
    assert {"bicubic", "FSR-FER"} <= {score.row for score in table.rows}
    read = widths.get("early", 0) if settings != ["generator.early=false"] else 0
    assert read_record(Workspace("fsr").run("default") / "generator.safetensors", kind="generator")["early"] == read
    assert len(fsrcache.load()([np.full((16, 16), 40 * one, np.uint8) for one in range(4)], scale=2)) == 4


def onnx_file(path, seed=0):
    """Write a grey classifier of 12 x 12 pixels, channels last, of seven classes and nine features."""
    random = np.random.default_rng(seed)
    tensors = {"kernel": random.standard_normal((9, 1, 5, 5)), "w": random.standard_normal((7, 9)), "b": np.ones(7)}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "kernel"], ["c"]),
        helper.make_node("GlobalMaxPool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
        helper.make_node("Softmax", ["y"], ["s"]),
    ]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 12, 12, 1))],
        [helper.make_tensor_value_info("s", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_an_onnx_file_goes_all_the_way(networks):
    notes = []
    file = onnx_file(networks / "net.onnx")
    file.with_suffix(".toml").write_text('channel_order = "grey"\nmean = [0.5]\ndeviation = [0.2]\nlayout = "nhwc"\n')
    options = {"classes": CLASSES, "side": 12, "deviation": (0.25,), "range": "1"}
    extracted = fsrcache.extract(
        extractor="net.onnx", onnx=options, data=FACES, scales=[2], on_progress=lambda one: notes.append(one.note)
    )
    assert f"net.onnx: 7 classes ({', '.join(CLASSES)}); 12 x 12 grey, nhwc, (pixel / 255 - (0.5)) / (0.25)" in notes
    kept = {name: list(value) if isinstance(value, tuple) else value for name, value in ONNX.items()}
    assert Workspace("fsr").extractor_source.options == kept
    file.unlink()  # the workspace has a copy, and all options
    file.with_suffix(".toml").unlink()
    assert fsrcache.extract(scales=[2]).digest == extracted.digest
    for known in ({}, {"side": 12}, ONNX):  # of its own copy it remembers them
        assert fsrcache.extract(extractor="fsr/extractor.onnx", onnx=known, scales=[2]).digest == extracted.digest
    assert set(train().held_out_accuracy) == {"1", "2"}
    with pytest.raises(RequestError, match=r"has another extractor, ONNX classifier, .*; .*other\.onnx is ONNX"):
        fsrcache.extract(extractor=onnx_file(networks / "other.onnx", seed=1), onnx=ONNX, scales=[2])


def test_an_onnx_file_without_its_options_or_with_wrong_ones(networks):
    file = onnx_file(networks / "net.onnx")
    with pytest.raises(RequestError, match=r"classes, side, .* are missing"):
        fsrcache.extract(extractor=file, data=FACES)
    with pytest.raises(RequestError, match="no ONNX file, and there are options"):
        fsrcache.extract(extractor="somebodys:vectors", onnx=ONNX, data=FACES)
    with pytest.raises(RequestError, match="options of an ONNX file, and no file"):
        fsrcache.extract(onnx=ONNX, data=FACES)
    with pytest.raises(RequestError, match="the options say side 13"):
        fsrcache.extract(extractor=file, onnx=ONNX | {"side": 13}, data=FACES)
    assert not (networks / "fsr").exists()


def covpool(path, seed=0):
    import torch

    model = CovPoolFER(SHAPE, CLASSES, generator=torch.Generator().manual_seed(seed)).eval()
    save_covpool(path, model, training={"seed": seed})
    return path


def test_a_file_of_ours_is_copied_once(networks):
    (networks / "elsewhere").mkdir()
    file = covpool(networks / "elsewhere/e.safetensors")
    extracted = fsrcache.extract(extractor="elsewhere/../elsewhere/e.safetensors", data=FACES, scales=[2])
    assert (networks / "fsr/extractor.safetensors").read_bytes() == file.read_bytes()
    shutil.rmtree(file.parent)
    assert fsrcache.extract(extractor="fsr/extractor.safetensors", scales=[2]).digest == extracted.digest
    other = covpool(networks / "other.safetensors", seed=1)
    for extractor in (other, str(other), "somebodys:vectors"):
        with pytest.raises(RequestError, match=r"has another extractor, CovPoolFER, .*; .*(other|somebodys)"):
            fsrcache.extract(extractor=extractor, scales=[2])
    with pytest.raises(RequestError, match="was not pre-trained there"):
        fsrcache.pretrain(data=FACES, epochs=1)
    assert fsrcache.extract(scales=[2]).digest == extracted.digest
    (networks / "fsr/extractor.safetensors").unlink()  # the store still knows
    with pytest.raises(FsrcacheError, match=r"written with .*CovPoolFER, not with this somebodys:vectors"):
        fsrcache.extract(extractor="somebodys:vectors", scales=[2])
    assert not (networks / "fsr/extractor.json").exists()


def test_home_is_a_tilde(networks, monkeypatch):
    monkeypatch.setenv("HOME", str(networks))
    covpool(networks / "e.safetensors")
    assert fsrcache.extract("~/ws", extractor="~/e.safetensors", data="drawn:28", scales=[2]).complete
    assert (networks / "ws/extractor.safetensors").exists()


def test_an_installed_extractor_comes_before_a_file_of_its_name(networks, monkeypatch):
    sys.path.insert(0, str(networks))

    def load():
        import somebodys

        return somebodys.vectors

    def entry_points(*, group, name="mini"):
        assert group == "fsrcache.extractors"
        return [SimpleNamespace(name="mini", value="somebodys:vectors", load=load)] if name == "mini" else []

    monkeypatch.setattr("fsrcache.extractors.reference.entry_points", entry_points)
    (networks / "mini").write_text("a note")
    assert fsrcache.extract(extractor="mini", data=FACES, scales=[2]).complete
    assert json.loads((networks / "fsr/extractor.json").read_text())["reference"] == "mini"
    with pytest.raises(RequestError, match="no extractor 'maxi': no such file, and installed by name: mini"):
        fsrcache.extract("other", extractor="maxi", data=FACES, scales=[2])


@pytest.mark.parametrize(
    ("extractor", "error", "words"),
    [
        ("somebodys:other_classes", FsrcacheError, "faces are surprise, .*; those of somebodys:other_classes are joy"),
        ("somebodys:three_dimensions", RequestError, r"embed of .* returns \[\[2, 2, 2\], "),
        ("somebodys:early_of_three_dimensions", RequestError, r"\[2, 7\], \[2, 2, 2\]\] for 2 pictures"),
        ("somebodys:no_early_numbers", RequestError, r"\[2, 7\], \[2, 0\]\] for 2 pictures"),
        ("somebodys:five_tensors", RequestError, "It should return features, embedding, logits, and perhaps early"),
        ("somebodys:other_head", RequestError, "head of .* makes another embedding"),
        ("somebodys:no_triangle", RequestError, "features of 8 numbers and spd_side 5"),
        ("somebodys:no_number", RequestError, "spd_side is '5'"),
        ("somebodys:unseeded", RequestError, "makes other weights at each call"),
        ("somebodys:dropping", RequestError, "returns other features each time"),
        ("somebodys:raising", FsrcacheError, "The factory somebodys:raising raised OSError: no weights.pt here"),
        ("somebodys:leaving", FsrcacheError, "The factory somebodys:leaving raised SystemExit: 3"),
        ("somebodys:text", RequestError, "returns a str"),
        ("somebodys:constant", RequestError, "is no function"),
        ("somebodys:nowhere", RequestError, "does not exist in its module"),
        ("somebodys_else:net", RequestError, "there is no module 'somebodys_else'"),
        ("somebodys_broken:net", FsrcacheError, "Importing somebodys_broken raised ZeroDivisionError"),
        ("somebodys_leaving:net", FsrcacheError, "Importing somebodys_leaving raised SystemExit"),
        ("somebodys_needy:net", RequestError, "there is no module 'not_installed_at_all'"),
        ("nothing.safetensors", FsrcacheError, "nothing.safetensors"),
        ("nothing.onnx", RequestError, r"no ONNX file at .*nothing\.onnx"),
        ("somebodys.py", FsrcacheError, "somebodys.py"),
        ("nothing", RequestError, "There is no extractor 'nothing'"),
        ("", RequestError, "The extractor is ''"),
        ("~nosuchuser/net.safetensors", RequestError, "no home folder for '~nosuchuser/net.safetensors'"),
        ("~nosuchuser/net.onnx", RequestError, "no home folder for '~nosuchuser/net.onnx'"),
    ],
)
def test_what_is_no_extractor_is_refused_in_words(networks, extractor, error, words):
    (networks / "somebodys_broken.py").write_text("1 / 0\n")
    (networks / "somebodys_leaving.py").write_text("import sys\nsys.exit('bye')\n")
    (networks / "somebodys_needy.py").write_text("import not_installed_at_all\n")
    with pytest.raises(error, match=words):
        fsrcache.extract(extractor=extractor, data="drawn:70", scales=[2])
    assert not (networks / "fsr/data.json").exists()


@pytest.mark.usefixtures("networks")
def test_early_features_that_are_missing_later_are_refused():
    words = r"\[\d+, 6\], \[\d+, 7\] for \d+ pictures\.\nIt should .* being 8, 6, 7, 40 as"
    with pytest.raises(FsrcacheError, match=words):
        fsrcache.extract(extractor="somebodys:dropping_early", data="drawn:70", scales=[2])


@pytest.mark.usefixtures("networks")
def test_an_extraction_that_fails_goes_on_with_its_data():
    with pytest.raises(FsrcacheError, match=r"raised RuntimeError on torch.uint8 \[\d+, 1, 16, 16\]: shape"):
        fsrcache.extract(extractor="somebodys:only_two", data="drawn:70", scales=[2])
    assert Workspace("fsr").data() == Data("drawn:70")


def rewrite(networks, old, new):
    """Change the module ``somebodys``, also in length, which Python's cache goes by; it is imported anew."""
    source = networks / "somebodys.py"
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))
    del sys.modules["somebodys"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("manual_seed(0)", "manual_seed(12)", "other weights of somebodys:vectors"),
        ("pictures.float() / 255", "pictures.float() / 64.5", "another embed of somebodys:vectors"),
    ],
)
def test_a_network_that_changed_after_the_extraction_is_refused_by_name(networks, old, new, words):
    fsrcache.extract(extractor="somebodys:vectors", data="drawn:70", scales=[2])
    train()
    rewrite(networks, old, new)
    store = fsrcache.FeatureStore("fsr/features.zarr")
    for use in (
        fsrcache.extract,
        lambda: fsrcache.extract(extractor="somebodys:vectors"),
        lambda: train(name="again"),
        fsrcache.evaluate,
        fsrcache.load,
    ):
        with pytest.raises(FsrcacheError, match=f"was written with {words}, not with this somebodys:vectors"):
            use()
    assert fsrcache.FeatureStore("fsr/features.zarr").digest == store.digest


def test_another_number_of_early_features_is_another_embed(networks):
    fsrcache.extract(extractor="somebodys:described", data="drawn:70", scales=[2])
    train()
    rewrite(networks, "[:, ::40]", "[:, ::128]")
    for use in (fsrcache.extract, lambda: train(name="again"), fsrcache.evaluate, fsrcache.load):
        with pytest.raises(
            FsrcacheError,
            match=r"another embed of somebodys:described|widths are .*early 40, |for early features of 40",
        ):
            use()
    shutil.rmtree(networks / "fsr/features.zarr")
    with pytest.raises(FsrcacheError, match=r"is for early features of 40 numbers; somebodys:described has 13\."):
        fsrcache.load()


@pytest.mark.usefixtures("networks")
def test_a_covpoolfer_of_a_factory_is_fine_tuned():
    fsrcache.extract(extractor="somebodys:covpool", data="drawn:70", scales=[2])
    assert fsrcache.FeatureStore("fsr/features.zarr").spec.widths["early"] == 54
    result = fsrcache.baselines(rows=["fine-tuned", "distilled"], settings=["epochs=1"], device="cpu")
    assert len(result.rows) == 2


@pytest.mark.usefixtures("networks")
def test_another_factory_of_the_same_weights_is_another_extractor():
    fsrcache.extract(extractor="somebodys:vectors", data="drawn:70", scales=[2])
    with pytest.raises(RequestError, match=r"another extractor, somebodys:vectors, .*; somebodys:changed is "):
        fsrcache.extract(extractor="somebodys:changed", data="drawn:70", scales=[2])


@pytest.mark.usefixtures("networks")
def test_classes_may_be_a_property_that_returns_a_list():
    assert fsrcache.open_extractor("somebodys:fixed_classes").classes == CLASSES


@pytest.mark.usefixtures("networks")
def test_weights_drawn_at_import_are_the_same_in_every_process():
    digests = {fsrcache.open_extractor("somebodys:drawn_at_import").digest}
    del sys.modules["somebodys"]
    torch.rand(1)
    assert digests == {fsrcache.open_extractor("somebodys:drawn_at_import").digest}


@pytest.mark.usefixtures("networks")
def test_a_network_that_a_factory_shares_keeps_its_weights_when_it_is_fine_tuned():
    fsrcache.extract(extractor="somebodys:drawn_at_import", data="drawn:70", scales=[2])
    result = fsrcache.baselines(settings=["epochs=1"], device="cpu").rows[0]
    frozen = fsrcache.open_extractor("somebodys:drawn_at_import")
    tuned = fsrcache.open_extractor(Path(result.extractor), base="somebodys:drawn_at_import")
    assert tuned.digest != frozen.digest
    assert state_digest(frozen.module) == frozen.digest
    assert state_digest(tuned.module) != frozen.digest


@pytest.mark.usefixtures("networks")
def test_opening_a_fine_tuned_network_leaves_its_base_on_its_device(monkeypatch):
    fsrcache.extract(extractor="somebodys:vectors", data="drawn:70", scales=[2])
    result = fsrcache.baselines(settings=["epochs=1"], device="cpu").rows[0]
    base, moved, to = fsrcache.open_extractor("somebodys:vectors"), [], Extractor.to
    monkeypatch.setattr(Extractor, "to", lambda self, device: moved.append(self) or to(self, device))
    tuned = fsrcache.open_extractor(Path(result.extractor), base=base)
    assert moved
    assert all(one.module is not base.module for one in moved)
    assert tuned.module is not base.module


@pytest.mark.usefixtures("networks")
def test_what_a_network_keeps_of_its_first_call_takes_part_in_gradients():
    extractor = fsrcache.open_extractor("somebodys:keeps_a_grid")
    features = torch.randn(50, extractor.form.length, requires_grad=True)
    extractor.head(features)[1].sum().backward()
    assert features.grad.abs().sum() > 0


@pytest.mark.usefixtures("networks")
def test_a_network_that_has_weights_twice_is_fine_tuned():
    fsrcache.extract(extractor="somebodys:shared_head", data="drawn:70", scales=[2])
    result = fsrcache.baselines(settings=["epochs=1"], device="cpu").rows[0]
    tuned = fsrcache.open_extractor(Path(result.extractor), base="somebodys:shared_head").module
    assert tuned.again.weight is tuned.head.embed.weight
    assert (tuned.again.weight != fsrcache.open_extractor("somebodys:shared_head").head.embed.weight).any()
    assert "fine-tuned" in {score.row for score in fsrcache.evaluate(heads=["frozen"]).rows}
    for base, words in ((None, ""), ("somebodys:vectors", ", not from 'somebodys:vectors'")):
        with pytest.raises(RequestError, match=f"fine-tuned from what somebodys:shared_head makes{words}, and no file"):
            fsrcache.open_extractor(result.extractor, base=base)


FORGED = "forged.py", "forged:factory", "forged.safetensors", "./forged.py:factory"


@pytest.mark.parametrize("reference", FORGED)
@pytest.mark.parametrize("base", [None, "somebodys:vectors"])
def test_a_file_has_no_code_run(networks, reference, base):
    (networks / "forged.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    record = {"reference": reference, "training": {}}
    write_weights("forged.safetensors", {"w": torch.zeros(1)}, kind="fine-tuned extractor", record=record)
    with pytest.raises(RequestError, match="no file has code run"):
        fsrcache.open_extractor("forged.safetensors", base=base)
    with pytest.raises(RequestError, match="no file has code run"):
        fsrcache.extract(extractor="forged.safetensors", data="drawn:70", scales=[2])
    (networks / "fsr").mkdir(exist_ok=True)
    shutil.copy("forged.safetensors", "fsr/extractor.safetensors")
    assert not fsrcache.doctor().ok
    assert not (networks / "ran").exists()


def test_doctor_names_the_code_of_a_workspace_and_does_not_import_it(networks):
    (networks / "forged.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    fsrcache.extract(extractor="somebodys:vectors", data="drawn:70", scales=[2])
    (networks / "fsr/extractor.json").write_text('{"reference": "forged:factory"}')
    text = next(finding.text for finding in fsrcache.doctor().findings if finding.subject == "extractor")
    assert text == "forged:factory, Python code that is not imported here"
    assert not (networks / "ran").exists()


def test_a_note_that_cannot_be_read_is_mended(networks):
    (networks / "fsr").mkdir()
    (networks / "fsr/extractor.json").write_text("{")
    with pytest.raises(FsrcacheError, match=r"extractor\.json cannot be read"):
        fsrcache.extract(data=FACES, scales=[2])
    assert fsrcache.extract(extractor="somebodys:vectors", data=FACES, scales=[2]).complete
    assert json.loads((networks / "fsr/extractor.json").read_text())["reference"] == "somebodys:vectors"


def test_an_estimate_of_a_named_extractor_writes_nothing(networks):
    from fsrcache.verbs.extract import estimate_extract

    estimate = estimate_extract(extractor="somebodys:vectors", data=FACES, scales=[2, 4])
    assert (sum(estimate.rows.values()), estimate.scales, estimate.pictures) == (140, (1, 2, 4), 420)
    assert not (networks / "fsr").exists()


@pytest.mark.slow
def test_a_module_in_the_working_folder_from_the_command_line(networks):
    def run(*arguments, program=(f"{sys.prefix}/bin/fsrcache",)):
        return subprocess.run([*program, *arguments], cwd=networks, capture_output=True, text=True, check=False)

    named = "--extractor", "somebodys:vectors", "--data", FACES, "--scales", "2", "--json"
    for program in ([sys.executable, "-m", "fsrcache"], [f"{sys.prefix}/bin/fsrcache"]):
        done = run("extract", *named, program=program)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["complete"]
    done = run("train", "--preset", "best", "--steps", "2", "--set", "generator.width=8", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["settings"] == ["generator.width=8", "steps=2"]
    done = run("extract", "--extractor", "somebodys:raising", "--json")
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (1, 1)
    assert "Traceback" not in done.stderr
