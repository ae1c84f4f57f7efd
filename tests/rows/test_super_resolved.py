"""The rows of image super-resolvers: their networks, the features of what these enlarge, their place in the table."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from fsrcache.cli.main import group
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.features import features_of_view
from fsrcache.extraction.source import face_source
from fsrcache.faces.degrade import SCALE_FORM, coarse_pictures
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.super_resolution.forms import load_super_resolver
from fsrcache.rows import super_resolved as super_resolved_rows
from fsrcache.store.reader import FeatureStore
from fsrcache.training.super_resolution.enlarge import enlarge
from fsrcache.verbs.baselines import baselines
from fsrcache.verbs.evaluate import evaluate

ROWS = ("rcan", "meta-sr", "meta-sr-retrained")
QUICK = ("steps=3", "batch=2", "network.features=4", "network.blocks=1")


@pytest.fixture(scope="session")
def trained_once(prepared, tmp_path_factory):
    """Return a workspace with the three rows, trained in a few steps, and their results."""
    folder = tmp_path_factory.mktemp("super-resolved") / "fsr"
    shutil.copytree(prepared, folder)
    return folder, trained(folder)


@pytest.fixture
def super_resolved(trained_once, workspace):
    shutil.copytree(trained_once[0], workspace.folder, dirs_exist_ok=True)
    return workspace


def trained(workspace, rows=ROWS, **options):
    return baselines(workspace, **{"rows": rows, "settings": QUICK, "device": "cpu", **options}).rows


def faces():
    return usable_faces(list_faces(Path("drawn:140")), side=16)


def table_of(workspace):
    return evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")


def test_their_networks_are_trained_on_their_own_scales(trained_once):
    folder, results = trained_once
    assert [result.row for result in results] == list(ROWS)
    networks = {
        "rcan/seed-0/x2": [2.0], "rcan/seed-0/x4": [4.0], "meta-sr-retrained/seed-0/network": [2.0, 4.0],
        "meta-sr/seed-0/network": [tenths / 10 for tenths in range(11, 41)],
    }  # fmt: skip
    for name, scales in networks.items():
        assert list(load_super_resolver(folder / f"rows/{name}.safetensors")[1]["scales"]) == scales
    for result in results:
        assert result.extraction["complete"]
        assert not result.was_there
        measured = result.super_resolution
        assert set(measured) == {"x2"}  # at x4 too little is left of 16 pixels
        assert set(measured["x2"]) == {"psnr", "ssim", "bicubic_psnr", "bicubic_ssim"}
        assert 0 < measured["x2"]["psnr"] < measured["x2"]["bicubic_psnr"] < 50
    assert [(line["network"], line["step"]) for line in results[0].history] == [
        (network, step) for network in ("x2", "x4") for step in (1, 2, 3)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_later_rcan_starts_from_the_first(workspace, monkeypatch):
    begun, fit = [], super_resolved_rows.fit_super_resolver

    def fit_noted(network, *of, **options):
        begun.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return fit(network, *of, **options)

    monkeypatch.setattr(super_resolved_rows, "fit_super_resolver", fit_noted)
    trained(workspace, ["rcan"])
    first = load_super_resolver(workspace.row("rcan", 0) / "x2.safetensors")[0].state_dict()
    own = [name for name in begun[1] if name.startswith(("upsampler", "last"))]
    assert all(torch.equal(tensor, first[name]) for name, tensor in begun[1].items() if name not in own)
    assert not any(torch.equal(begun[1]["upsampler.2.weight"], one) for one in first.values())
    assert not torch.equal(begun[0]["first.weight"], first["first.weight"])


def test_their_features_are_those_of_what_the_networks_enlarge(super_resolved):
    source = face_source(faces(), super_resolved.extractor, device=torch.device("cpu"))
    pictures = source.faces.batch(source.order["test"])
    for row, network in (("rcan", "x4"), ("meta-sr", "network")):
        folder = super_resolved.row(row, 0)
        store = FeatureStore(folder / "features.zarr")
        enlarged = enlarge(
            load_super_resolver(folder / f"{network}.safetensors")[0], coarse_pictures(pictures, 4), 4, 16, SCALE_FORM
        )
        assert enlarged.dtype == np.uint8
        seen = features_of_view(source.extractor, np.ascontiguousarray(enlarged.transpose(0, 3, 1, 2)))
        np.testing.assert_allclose(store.features("test", 4)[:], seen.features, rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(
            store.features("test", 1)[:], FeatureStore(super_resolved.store).features("test", 1)[:]
        )


def test_the_table_has_them_with_every_head(super_resolved):
    table = evaluate(super_resolved, names=["a"], heads=["frozen", "refit-linear"], device="cpu")
    scored = {(one.row, one.head, one.scale) for one in table.rows}
    assert {(row, head, scale) for row in ROWS for head in ("frozen", "refit-linear") for scale in (1, 2, 4)} <= scored
    assert "rcan: preset small with" in table.context.settings
    assert table.context.rows["meta-sr"].endswith("trained on x1.1 to x4")


def test_rcan_has_no_score_at_other_scales(workspace):
    source = face_source(faces(), workspace.extractor, device=torch.device("cpu"))
    extract_features(source, store=workspace.store, scales=[2, 3, 5], data="drawn faces")
    assert set(trained(workspace, ["rcan"])[0].super_resolution) == {"x2"}
    assert {one.scale for one in table_of(workspace).rows if one.row == "rcan"} == {1, 2, 3, 4}


@pytest.mark.slow
def test_a_second_call_does_nothing_and_a_restart_all(super_resolved):
    assert all(result.was_there for result in trained(super_resolved))
    assert not trained(super_resolved, ["rcan"], restart=True)[0].was_there
    with pytest.raises(FsrcacheError, match="steps is 3 there and 4 here"):
        trained(super_resolved, ["rcan"], settings=("steps=4", *QUICK[1:]))


def test_an_interrupted_restart_goes_on_without_it(super_resolved, stop_after):
    longer = {"rows": ["rcan"], "settings": ("steps=4", *QUICK[1:])}
    before = table_of(super_resolved).rows
    with pytest.raises(KeyboardInterrupt):
        trained(super_resolved, **longer, restart=True, on_progress=stop_after("rcan, x4: training", 0))
    assert table_of(super_resolved).rows == before  # until all new networks are there
    result = trained(super_resolved, **longer)[0]
    assert [line["step"] for line in result.history if line["network"] == "x4"] == [1, 2, 3, 4]


def test_networks_of_which_one_alone_was_replaced_are_no_row(super_resolved, monkeypatch):
    longer = {"rows": ["rcan"], "settings": ("steps=4", *QUICK[1:])}

    def killed(_):
        raise KeyboardInterrupt  # after the first network took its place

    with monkeypatch.context() as patch:
        patch.setattr(super_resolved_rows, "keep_with_weights", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(super_resolved, **longer, restart=True)
    assert "rcan" not in {one.row for one in table_of(super_resolved).rows}
    assert [line["step"] for line in trained(super_resolved, **longer)[0].history][-1] == 4
    assert "rcan" in {one.row for one in table_of(super_resolved).rows}


def test_other_weights_beside_the_features_are_refused(super_resolved):
    folder = super_resolved.row("meta-sr", 0)
    other = super_resolved.row("meta-sr-retrained", 0) / "network.safetensors"
    shutil.copy(other, folder / "network.safetensors")
    with pytest.raises(FsrcacheError, match="is not of this CovPoolFER behind the networks beside it") as caught:
        table_of(super_resolved)
    assert "rows=['meta-sr'], seed=0, restart=True" in caught.value.remedy


def test_features_that_are_not_complete_are_left_out(super_resolved):
    (super_resolved.row("rcan", 0) / "features.zarr/zarr.json").unlink()
    assert {one.row for one in table_of(super_resolved).rows} >= {"meta-sr", "meta-sr-retrained"}
    assert "rcan" not in {one.row for one in table_of(super_resolved).rows}


@pytest.mark.slow
def test_a_folder_of_pictures_in_place_of_the_faces(super_resolved, tmp_path):
    with pytest.raises(RequestError, match="no such row is trained on other pictures"):
        trained(super_resolved, ["ridge"], settings=(), pictures=tmp_path)
    with pytest.raises(RequestError, match="There is no folder"):
        trained(super_resolved, pictures=tmp_path / "none")
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        Image.fromarray(random.integers(0, 256, (20, 40, 3), np.uint8)).save(tmp_path / f"pictures/{number}.png")
    words = ["--workspace", str(super_resolved.folder), "--pictures", str(tmp_path / "pictures"), "--device", "cpu"]
    words += [word for one in QUICK for word in ("--set", one)]
    with pytest.raises(FsrcacheError, match="data is another; pictures is False there and True here"):
        trained(super_resolved, ["meta-sr"], pictures=tmp_path / "pictures")
    done = CliRunner().invoke(group, ["baselines", "--rows", "meta-sr", *words, "--restart", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["super_resolution"]["x2"]["psnr"] > 0
    assert re.search(r"trained on other pictures \([0-9a-f]{12}\)", table_of(super_resolved).context.settings)


def test_the_command_prints_psnr(super_resolved):
    words = ["--workspace", str(super_resolved.folder), "--device", "cpu"]
    words += [word for one in QUICK for word in ("--set", one)]
    done = CliRunner().invoke(group, ["baselines", "--rows", "rcan", *words])
    assert done.exit_code == 0, done.output
    assert "PSNR of held-out faces x2 " in done.stdout
    assert " dB (bicubic " in done.stdout
