"""A second ``pretrain`` in a workspace: another length, --restart, and an extractor that no pre-training made there."""

import json
import shutil

import pytest

import fsrcache
from fsrcache.errors import FsrcacheError, RequestError
from studies.program import run

TINY = {"data": "drawn:140", "side": 24, "device": "cpu"}


@pytest.mark.slow
def test_more_epochs_are_refused_and_restart_begins_anew(pretrained):
    workspace = pretrained / "fsr"
    before = (workspace / "extractor.safetensors").read_bytes()
    with pytest.raises(FsrcacheError, match=r"settings: epochs is 1 there and 2 here\.") as caught:
        fsrcache.pretrain(workspace, **TINY, epochs=2)
    assert caught.value.remedy == (
        "The learning rate follows the length: another length is another run. Use the same settings to go on, or begin "
        "anew: `restart=True`, or another workspace."
    )
    assert (workspace / "extractor.safetensors").read_bytes() == before
    done = run("pretrain", "--data", "drawn:140", "--side", 24, "--epochs", 2, "--restart", "--json", cwd=pretrained)
    assert (done.returncode, done.answer["epochs"], done.answer["resumed_from"]) == (0, 2, 0)
    assert (workspace / "extractor.safetensors").read_bytes() != before
    assert len((workspace / "pretraining/history.jsonl").read_text().splitlines()) == 2
    assert json.loads((workspace / "pretraining/result.json").read_text())["epochs"] == 2


@pytest.mark.parametrize("left", ["nothing", "a history"])
def test_an_extractor_without_its_pretraining_is_not_overwritten_unasked(pretrained, left):
    workspace = pretrained / "fsr"
    before = (workspace / "extractor.safetensors").read_bytes()
    if left == "nothing":
        shutil.rmtree(workspace / "pretraining")
    else:
        for file in (workspace / "pretraining").glob("checkpoint*"):
            file.unlink()
    with pytest.raises(RequestError, match=r"was not pre-trained there: .*pretraining has no checkpoint") as caught:
        fsrcache.pretrain(workspace, **TINY, epochs=1)
    assert caught.value.remedy == (
        "Pre-train in a workspace of its own, `workspace=DIR`, or overwrite it: `restart=True`."
    )
    assert (workspace / "extractor.safetensors").read_bytes() == before
    assert fsrcache.pretrain(workspace, **TINY, epochs=1, seed=4, restart=True).resumed_from == 0
    assert (workspace / "extractor.safetensors").read_bytes() != before


def test_restart_overwrites_no_extractor_from_elsewhere(networks):
    fsrcache.extract(extractor="somebodys:vectors", data="drawn:70", scales=[2], device="cpu")
    with pytest.raises(RequestError, match="has the extractor somebodys:vectors, which was not pre-trained there"):
        fsrcache.pretrain(data="drawn:70", epochs=1, restart=True, device="cpu")
    assert not (networks / "fsr/extractor.safetensors").exists()
