"""The study of faces without labels and of views: what each variant learns from, its table, and that it goes on."""

import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.store.reader import FeatureStore
from fsrcache.workspace import Workspace
from studies.unlabelled import Variant, features_of_variant, main, variants

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def viewed(workspace, tmp_path_factory):
    files = Workspace(shutil.copytree(workspace, tmp_path_factory.mktemp("viewed") / "fsr"))
    faces = usable_faces(list_faces("drawn:280"), side=24)
    source = face_source(faces, files.extractor, device=CPU, views=1)
    extract_features(source, store=files.store, scales=[2, 4], data="drawn faces")
    return files


def test_what_is_learnt_from(viewed):
    store = FeatureStore(viewed.store)
    count = int((~store.held_out()).sum())
    every, left_out, without = (features_of_variant(one, store).source for one in variants((30,), ()))
    assert (every.shape[1], left_out.shape[1], without.shape[1]) == (count, count - 30, count)
    assert torch.equal(left_out.features, every.features[:, :-30])
    assert torch.equal(without.features, every.features)
    assert torch.equal(without.labels[:-30], every.labels[:-30])
    assert without.labelled.tolist() == [1.0] * (count - 30) + [0.0] * 30
    rows = np.flatnonzero(~store.held_out())[-30:]
    answers = store.probabilities("train", 1)[rows].argmax(1)
    assert without.labels[-30:].tolist() == answers.tolist()
    assert without.probabilities[2, -1] == store.probabilities("train", 4)[rows[-1]][answers[-1]]
    assert features_of_variant(Variant(views=1), store).source.shape[1] == 2 * count


@pytest.mark.slow
def test_the_study_goes_on_and_tells_of_every_variant(viewed, tmp_path):
    words = ["--workspace", viewed.folder, "--out", tmp_path, "--steps", 2, "--hidden", 30, "--views", 1]
    for seeds in (1, 2):
        done = CliRunner().invoke(main, [str(word) for word in (*words, "--seeds", seeds)])
        assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "unlabelled-2.json").read_text())
    names = ["all labels", "30 faces left out", "30 faces without labels", "all labels, 1 view of each"]
    assert [(run["variant"], run["seed"]) for run in record["runs"]] == [(name, s) for s in (0, 1) for name in names]
    assert len({json.dumps(run["accuracy"]) for run in record["runs"]}) > 1
    table = (tmp_path / "unlabelled-2.md").read_text()
    for split in ("held_out", "val"):
        assert f"{record['faces'][split]} faces of {split}" in table
    assert [line.split(" | ")[0][2:] for line in table.splitlines()[4:9]] == ["bicubic", *names]


def test_what_cannot_be_measured_is_refused_before_any_training(viewed, tmp_path):
    for words, text in (
        (("--views", 3), "fewer than 3 views"),
        (("--hidden", 5000, "--views", 1), "5,000 labels are to be hidden"),
    ):
        done = CliRunner().invoke(main, [str(w) for w in ("--workspace", viewed.folder, "--out", tmp_path, *words)])
        assert done.exit_code == 1
        assert text in done.output
    assert not [*tmp_path.iterdir()]
