"""The answers that studies keep: of the very same training alone, with nothing else of the store."""

import json
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import TRAINING, MLPConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace
from studies import reweighting, unlabelled, variants
from studies.answers import kept_answer, training_identity

SMALL = replace(TRAINING["best"], generator=MLPConfig(width=8), batch=16)
OTHER = replace(SMALL, learning_rate=0.01)


@pytest.fixture
def files(workspace, tmp_path):
    return Workspace(shutil.copytree(workspace, tmp_path / "fsr"))


def test_an_answer_is_kept_for_the_same(tmp_path):
    folders = []

    def make(folder):
        folders.append(folder)
        return {"number": len(folders)}

    identities = ({"seed": 0}, {"seed": 1}, {"seed": 0}, {"seed": 1})
    assert [kept_answer(tmp_path, "base", one, make)["number"] for one in identities] == [1, 2, 1, 2]
    assert len(set(folders)) == 2
    assert {json.loads((folder / "answer.json").read_text())["identity"]["seed"] for folder in folders} == {0, 1}


def test_an_interrupted_training_goes_on_in_its_folder(tmp_path):
    def interrupted(folder):
        (folder / "checkpoint").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept_answer(tmp_path, "base", {"seed": 0}, interrupted)
    assert kept_answer(tmp_path, "base", {"seed": 1}, lambda folder: {"there": [*folder.iterdir()]}) == {"there": []}
    answer = kept_answer(tmp_path, "base", {"seed": 0}, lambda folder: {"there": (folder / "checkpoint").exists()})
    assert answer == {"there": True}


def test_what_a_training_is_of(files):
    store, extractor = FeatureStore(files.store), open_extractor(files.extractor)
    other_store = FeatureStore(files.store)
    other_store.spec = replace(store.spec, digests={**store.spec.digests, "pictures": "ff"})
    viewed = FeatureStore(files.store)
    viewed.spec = replace(store.spec, extra={"view-1": {"rows": 5, "digest": "aa"}})
    other_extractor = replace(extractor, digest="ff")
    identities = [
        training_identity(store, extractor, SMALL, seed=0),
        training_identity(store, extractor, OTHER, seed=0),
        training_identity(store, extractor, SMALL, seed=1),
        training_identity(store.at_scales([2]), extractor, SMALL, seed=0),
        training_identity(other_store, extractor, SMALL, seed=0),
        training_identity(viewed, extractor, SMALL, seed=0),
        training_identity(store, other_extractor, SMALL, seed=0),
    ]
    texts = [json.dumps(one) for one in identities]
    assert len(set(texts)) == len(texts)
    assert training_identity(viewed.with_extra(()), extractor, SMALL, seed=0) == identities[0]


STUDIES = {
    "variants": (variants, "variants-1.json", ("--seeds", 1, "--steps", 1, "--only", "base")),
    "unlabelled": (unlabelled, "unlabelled-1.json", ("--steps", 1, "--hidden", 0, "--views", 0)),
    "reweighting": (reweighting, "reweighting.json", ("--seeds", 1, "--steps", 1, "--every", 1, "--faces", 20)),
}


def run(study, files, out):
    module, name, words = STUDIES[study]
    words = [str(word) for word in ("--workspace", files.folder, "--out", out, *words)]
    done = CliRunner().invoke(module.main, words)
    assert done.exit_code == 0, done.output
    return json.loads((out / name).read_text())["runs"]


def set_preset(config, monkeypatch):
    monkeypatch.setitem(variants.VARIANTS, "base", config)
    monkeypatch.setattr(unlabelled, "TRAINING", {"best": config})
    monkeypatch.setattr(reweighting, "_SMALL", config)
    monkeypatch.setattr(reweighting, "SOURCES", ("none",))


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_goes_on_with_the_same_preset_alone(study, files, tmp_path, monkeypatch):
    set_preset(SMALL, monkeypatch)
    first = run(study, files, tmp_path)
    answers = {path: path.stat().st_mtime_ns for path in files.folder.rglob("answer.json")}
    assert run(study, files, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in files.folder.rglob("answer.json")} == answers
    set_preset(OTHER, monkeypatch)
    run(study, files, tmp_path)
    assert len([*files.folder.rglob("answer.json")]) == 2


def test_reweighting_draws_no_views(files, tmp_path, monkeypatch):
    set_preset(SMALL, monkeypatch)
    (before,) = run("reweighting", files, tmp_path)
    shutil.rmtree(files.folder / "reweighting")
    source = face_source(usable_faces(list_faces("drawn:280"), side=24), files.extractor, device=variants._CPU, views=1)
    extract_features(source, store=files.store, scales=[2, 4], data="drawn faces")
    assert FeatureStore(files.store).spec.extra
    (after,) = run("reweighting", files, tmp_path)
    assert after["curve"] == before["curve"]
