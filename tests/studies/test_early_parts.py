"""The study of finer early features: where it averages as a store does, it has what the store and the row have."""

import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fsrcache.progress import no_progress
from fsrcache.store.reader import FeatureStore
from fsrcache.training.ridge import RidgeConfig
from fsrcache.verbs.baselines import baselines
from fsrcache.workspace import Data, Workspace
from studies import early_parts
from studies.early_parts import main, means_of, source_of


@pytest.fixture
def files(workspace, tmp_path):
    files = Workspace(shutil.copytree(workspace, tmp_path / "fsr"))
    files.remember(Data("drawn:280"))
    return files


def test_three_parts_are_what_the_store_keeps(files):
    store = FeatureStore(files.store)
    means = means_of(source_of(files, store, no_progress), 4, (0, 3, 6), no_progress)
    assert {count: one.shape[1] for count, one in means.items()} == {3: 8 * 9, 6: 8 * 36}
    np.testing.assert_allclose(means[3], store.early("train", 4)[:], rtol=1e-3, atol=2e-3)
    coarser = means[6].float().unflatten(1, (8, 3, 2, 3, 2)).mean((3, 5)).flatten(1)
    torch.testing.assert_close(coarser, means[3].float(), rtol=2e-3, atol=2e-3)


def test_the_table_has_what_the_row_has(files, tmp_path, monkeypatch):
    monkeypatch.setattr(early_parts, "RIDGE", RidgeConfig(penalties=(0.01,)))
    words = ["--workspace", str(files.folder), "--out", str(tmp_path), "--title", "drawn", "--scales", "2"]
    done = CliRunner().invoke(main, [*words, "--parts", "0", "--parts", "3"])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "early-parts-drawn.json").read_text())
    for count, early in (("0", "false"), ("3", "true")):
        settings = ["penalties=0.01", f"early={early}"]
        (row,) = baselines(files, rows=["ridge-per-scale"], settings=settings, device="cpu", seed=int(count)).rows
        assert record["accuracy"][count]["2"] == pytest.approx(row.held_out["x2"], abs=4)  # of some 28 faces
    lines = (tmp_path / "early-parts-drawn.md").read_text().splitlines()
    expected = record["accuracy"]["3"]["2"]
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| none", "| 3 x 3"]
    assert lines[-1] == f"| 3 x 3 | {expected:.1f} | {expected:.1f} |"


def test_other_faces_are_refused(files):
    files.remember(Data("drawn:140"))
    done = CliRunner().invoke(main, ["--workspace", str(files.folder), "--out", "x", "--title", "y"])
    assert done.exit_code == 1
    assert "are not those of the store" in done.stderr
