"""``--limit``: remembered by the workspace, recorded in the store, and the same in all of a workspace."""

import json
from dataclasses import replace

import pytest

import fsrcache
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.verbs.pretrain import pretrain_settings
from fsrcache.workspace import Data, Workspace
from studies.program import run

FEW = Data("drawn:140", limit=14)
EXTRACTOR = {"extractor": "somebodys:vectors", "scales": [2]}
EACH = {"train": 14, "val": 14, "test": 14}


@pytest.mark.slow
def test_later_commands_keep_to_the_limit_and_another_is_refused(networks):
    notes = []
    first = fsrcache.extract(data=FEW, on_progress=lambda progress: notes.append(progress.note), **EXTRACTOR)
    counts = "14 of 98 of train, 14 of 14 of val, 14 of 28 of test"
    assert f"At most 14 faces of every split: {counts}, every class by its share." in notes
    assert first.rows == EACH
    assert json.loads((networks / "fsr/data.json").read_text())["limit"] == 14
    assert fsrcache.info().spec.data == "drawn faces (built in), at most 14 faces a split"
    for again in (None, "drawn:140", FEW):
        assert fsrcache.extract(data=again, scales=[2]).resumed_from == first.blocks
    assert Workspace("fsr").data() == FEW
    with pytest.raises(RequestError, match=r"fsr has a store of at most 14 faces a split; the limit is 21") as refused:
        fsrcache.extract(data=replace(FEW, limit=21), scales=[2])
    assert "workspace=DIR" in refused.value.remedy
    elsewhere = fsrcache.extract(data=replace(FEW, limit=7), scales=[2], store="elsewhere.zarr")
    assert elsewhere.rows == dict.fromkeys(EACH, 7)
    assert Workspace("fsr").data() == FEW
    trained = fsrcache.baselines(settings=["epochs=1", "batch=4"], device="cpu").rows[0]  # which reads the same faces
    assert trained.extraction["rows"] == EACH


@pytest.mark.usefixtures("networks")
def test_a_store_of_all_faces_takes_no_limit():
    fsrcache.extract(data="drawn:70", **EXTRACTOR)
    with pytest.raises(RequestError, match=r"fsr has a store of all faces; the limit is 14"):
        fsrcache.extract(data=Data("drawn:70", limit=14), scales=[2])


def test_where_nothing_was_made_a_limit_is_free(tmp_path):
    workspace = Workspace(tmp_path / "fsr")
    workspace.remember(FEW)
    shape = ("stages=4/6", "spd_side=4", "hidden=8", "embedding=4")
    for limit in (21, 98):  # the second after a pre-training, which begins anew
        few = replace(FEW, limit=limit)
        made = fsrcache.pretrain(
            workspace, data=few, preset="tiny", epochs=1, settings=shape, side=16, device="cpu", restart=limit == 98
        )
        assert workspace.data() == few
    assert "val" in made.accuracy
    fsrcache.pretrain(
        workspace, data="drawn:140", preset="tiny", epochs=1, settings=shape, side=16, device="cpu", restart=True
    )
    assert workspace.data().limit is None  # nor is it remembered where everything begins anew
    fsrcache.pretrain(workspace, data=few, preset="tiny", epochs=1, settings=shape, side=16, device="cpu", restart=True)
    with pytest.raises(RequestError, match="has a pre-training of at most 98 faces a split; the limit is 14"):
        fsrcache.pretrain(workspace, data=FEW)
    with pytest.raises(RequestError, match="has a pre-training of at most 98"):
        fsrcache.extract(workspace, data=FEW)
    assert pretrain_settings(workspace, data=FEW).preset == "tiny"  # it writes nothing


def test_too_few_faces_to_train_on_are_refused_with_the_remedy(tmp_path):
    with pytest.raises(FsrcacheError, match="held out") as refused:
        fsrcache.pretrain(tmp_path / "fsr", data=Data("drawn:70", limit=1))
    assert "a higher limit" in refused.value.remedy


def test_a_limit_alone_is_of_the_remembered_data_or_of_the_built_in(networks):
    arguments = ("extract", "--limit", 7, "--scales", 2, "--extractor", "somebodys:vectors", "--json")
    Workspace("fsr").remember(Data("drawn:70", on_error="skip"))
    assert run(*arguments, cwd=networks, PYTHONPATH=str(networks)).answer["rows"] == dict.fromkeys(EACH, 7)
    assert Workspace("fsr").data() == Data("drawn:70", on_error="skip", limit=7)
    assert run("extract", "--limit", 0, cwd=networks).returncode == 2
