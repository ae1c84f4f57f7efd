"""``export``: the folder that it writes, and what it refuses."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import fsrcache
from fsrcache.cli.main import main
from fsrcache.drawn.face import draw_face
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.extractors.onnx_graph import open_session
from fsrcache.files import PARTIAL, write_whole
from fsrcache.models.weights import file_digest
from fsrcache.presets import EXTRACTORS
from studies.program import run

FILES = {"README.md", "model.onnx", "model.safetensors", "temperatures.json"}


@pytest.fixture
def workspace(trained, tmp_path):
    """A copy of the small workspace, with a table that was printed."""
    shutil.copytree(trained / "fsr", tmp_path / "fsr")
    digest = file_digest(tmp_path / "fsr/runs/default/generator.safetensors")[:12]
    (tmp_path / "fsr/runs/default/table.md").write_text(f"| the table |\n- digests: FSR-FER/default {digest}\n")
    return tmp_path / "fsr"


def answers(folder, pictures):
    session = open_session((folder / "model.onnx").read_bytes(), where=folder)
    return session.run(None, {"faces": np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))})[0]


@pytest.mark.slow
def test_the_folder_is_the_model(workspace, tmp_path):
    result = fsrcache.export(tmp_path / "model", workspace)
    folder = tmp_path / "model"
    assert {path.name for path in folder.iterdir()} == FILES
    faces = np.stack([draw_face(9, index)[10:90, 20:75] for index in range(21)])
    expected = fsrcache.load(workspace)(faces)
    assert np.array_equal(fsrcache.load(folder)(faces).probabilities, expected.probabilities)
    np.testing.assert_allclose(answers(folder, faces), expected.probabilities, atol=1e-4)
    assert 0 < result.difference < 1e-4
    assert (result.same_labels, result.precision, result.web) == (1.0, "fp32", False)
    assert result.onnx_bytes == (folder / "model.onnx").stat().st_size

    metadata = {one.key: one.value for one in onnx.load(folder / "model.onnx").metadata_props}
    digest = file_digest(folder / "model.safetensors")
    assert json.loads(metadata["classes"]) == list(expected.classes)
    assert {name: metadata[name] for name in ("side", "channels", "colours", "digest", "precision", "fsrcache")} == {
        "side": "24", "channels": "3", "colours": "RGB", "digest": digest, "precision": "fp32",
        "fsrcache": fsrcache.__version__,
    }  # fmt: skip
    card = (folder / "README.md").read_text()
    for text in ("must not be used", "| the table |", "Apache-2.0", "drawn faces", digest, *expected.classes):
        assert text in card
    assert card.index("must not be used") < card.index("What it is")
    assert str(tmp_path) not in card


@pytest.mark.slow
def test_the_lines_of_the_card_run(workspace, tmp_path):
    done = run("export", "model", "--workspace", workspace, "--precision", "int8", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["precision"], result["opset"]) == ("int8", 18)
    assert 1e-4 < result["difference"] < 0.5
    (lines,) = (tmp_path / "model/README.md").read_text().split("```python\n")[1:]
    program = compile(lines.split("```")[0], "README.md", "exec")
    Image.fromarray(draw_face(0, 0)[::8, ::8]).save(tmp_path / "model/face.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "model")
        names = {}
        exec(program, names)
    assert names["probabilities"].sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"name": "other"}, "no trained run 'other'"),
        ({"workspace": "nowhere"}, "no workspace at"),
        ({"folder": "fsr"}, "is a workspace"),
        ({"web": True, "onnxruntime_web": "nowhere"}, "npm package onnxruntime-web"),
        ({"onnxruntime_web": "nowhere"}, "onnxruntime-web is for a web page"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_written(change, text, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RequestError, match=text):
        fsrcache.export(**{"folder": "model", "workspace": workspace, **change})
    assert sorted(tmp_path.rglob("*")) == before


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(RequestError, match=r"pip install 'fsrcache\[export\]': .*onnxscript"):
        fsrcache.export(tmp_path / "model", tmp_path)


def test_other_extractors_are_refused(workspace, tmp_path, monkeypatch):
    model = fsrcache.load(workspace)
    config = replace(EXTRACTORS["tiny"], ridge=1e-5)
    for extractor, text in (
        (replace(model.extractor, module=nn.Identity(), name="mine:factory"), "mine:factory; only CovPoolFER"),
        (extractor_of(CovPoolFER(config, model.classes)), "ridge is 1e-05"),
    ):
        monkeypatch.setattr("fsrcache.verbs.export.load", lambda *_, of=extractor: replace(model, extractor=of))
        with pytest.raises(RequestError, match=text):
            fsrcache.export(tmp_path / "model", workspace)
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_what_a_killed_export_leaves_is_in_nobodys_way(tmp_path, workspace):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (f".model.safetensors.0123{PARTIAL}", f".mine{PARTIAL}", ".DS_Store"):
        (folder / name).write_bytes(b"-")
    fsrcache.export(folder, workspace)
    assert {path.name for path in folder.iterdir() if path.name.startswith(".")} == {f".mine{PARTIAL}", ".DS_Store"}


@pytest.mark.parametrize("kind", [None, "generator", "nothing"])
def test_a_folder_of_somebody_elses_files_is_left_alone(kind, tmp_path, workspace):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("my project")
    (mine / "index.html").write_text("my page")
    if kind == "nothing":
        (mine / "model.safetensors").write_bytes(b"")
    else:  # every folder of Hugging Face's has a file of that name
        metadata = {"format": "pt"} if kind is None else {"fsrcache": json.dumps({"kind": kind})}
        save_file({"weight": torch.zeros(3)}, mine / "model.safetensors", metadata)
    before = {path.name: path.read_bytes() for path in mine.iterdir()}
    with pytest.raises(RequestError, match="holds other files, and no exported model"):
        fsrcache.export(mine, workspace)
    assert {path.name: path.read_bytes() for path in mine.iterdir()} == before
    (mine / "model.safetensors").unlink()
    with pytest.raises(RequestError, match="holds other files, and no exported model"):
        fsrcache.export(mine, workspace)


@pytest.mark.slow
def test_framing_and_temperatures_go_along_without_the_path_of_the_data(tmp_path, workspace):
    (workspace / "framing.json").write_text(
        json.dumps(
            {"data": fsrcache.Workspace(workspace).data().path, "finders": {"haar": {"side": 1.3, "down": -0.1}}}
        )
    )
    Image.fromarray(draw_face(0, 0)).save(tmp_path / "face.png")
    (expected,) = fsrcache.predict([tmp_path / "face.png"], workspace=workspace, crops=True)
    kept = workspace / "runs/default/temperatures.json"
    assert list(json.loads(kept.read_text())["scales"]) == ["1"]
    fsrcache.export(tmp_path / "model", workspace)
    framing = json.loads((tmp_path / "model/framing.json").read_text())
    assert framing == {"data": "", "finders": {"haar": {"side": 1.3, "down": -0.1}}}
    scales = fsrcache.load(tmp_path / "model").scales
    carried = json.loads((tmp_path / "model/temperatures.json").read_text())["scales"]
    assert list(carried) == [str(scale) for scale in scales]
    assert len(scales) > 1
    (answer,) = fsrcache.predict([tmp_path / "face.png"], workspace=tmp_path / "model", crops=True)
    assert answer.faces[0].confidence == pytest.approx(expected.faces[0].confidence)
    kept.unlink()
    shutil.rmtree(workspace / "features.zarr")
    notes = []
    fsrcache.export(tmp_path / "model", workspace, on_progress=notes.append)
    assert not (tmp_path / "model/temperatures.json").exists()
    assert any("not calibrated" in one.note for one in notes)


@pytest.mark.slow
@pytest.mark.slow
def test_the_card_knows_whose_data_the_extractor_saw(workspace, tmp_path):
    def card():
        fsrcache.export(tmp_path / "model", workspace)
        return (tmp_path / "model/README.md").read_text()

    assert "of the extractor: drawn faces" in card()
    assert "not known to this program" not in card()
    shutil.rmtree(workspace / "pretraining")  # as after extract --extractor FILE
    assert "of the extractor: not known" in card()
    assert "The terms of the extractor's own training data are not known" in card()


def test_the_table_of_another_generator_is_not_on_the_card(tmp_path, workspace):
    assert fsrcache.evaluate(workspace, heads=["frozen"]).context.digests.count(";") == 2
    with pytest.raises(SystemExit):
        main(["evaluate", "--workspace", str(workspace), "--heads", "frozen"])
    said = []
    for seed, there in ((0, True), (1, False)):
        fsrcache.train(workspace, steps=2, seed=seed, device="cpu", restart=bool(seed))
        fsrcache.export(tmp_path / "model", workspace, on_progress=lambda progress: said.append(progress.note))
        assert ("Total accuracy" in (tmp_path / "model/README.md").read_text()) == there
        assert any("table.md is of another generator" in one for one in said) != there


@pytest.mark.slow
def test_a_model_stays_whole_until_the_next_is_ready(tmp_path, workspace, monkeypatch):
    fsrcache.export(tmp_path / "model", workspace)
    for name in ("index.html", "ort.wasm.min.mjs"):  # of an export with a page
        (tmp_path / "model" / name).write_text("page")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    fsrcache.train(workspace, steps=3, seed=1, device="cpu", restart=True)
    monkeypatch.setattr("fsrcache.verbs.export._MOST_DIFFERENCE", -1.0)
    with pytest.raises(FsrcacheError, match="differ from PyTorch"):
        fsrcache.export(tmp_path / "model", workspace)
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    monkeypatch.setattr("fsrcache.verbs.export._comparison", lambda *_, **__: (float("nan"), 1.0))
    with pytest.raises(FsrcacheError, match="in fp16 has probabilities that are no numbers") as error:
        fsrcache.export(tmp_path / "model", workspace, precision="fp16")
    assert "precision='fp32'" in error.value.remedy
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    monkeypatch.undo()
    names = []

    def full(path, content):  # a disk that fills up
        names.append(path.name)
        if len(names) == 2:
            raise FsrcacheError("No space left.")
        write_whole(path, content)

    monkeypatch.setattr("fsrcache.verbs.export.write_whole", full)
    with pytest.raises(FsrcacheError, match="No space left"):
        fsrcache.export(tmp_path / "model", workspace)
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.safetensors"}  # of one model
    monkeypatch.undo()
    fsrcache.export(tmp_path / "model", workspace)
    after = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    assert set(after) == FILES
    assert not any(after[name] == before[name] for name in FILES)
