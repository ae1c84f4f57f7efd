"""Views and faces without labels from the verbs' side: named once, kept, counted, and added to when scales are."""

from dataclasses import replace

import pytest

import fsrcache
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.verbs.extract import estimate_extract
from fsrcache.workspace import Data, Workspace
from studies.program import run

EXTRACTOR = "somebodys:vectors"
FEW = {"train": 49, "val": 7, "test": 14}


@pytest.fixture
def extracted(networks):
    """Return the folder of a workspace whose store has a view of each face and 7 faces without labels."""
    fsrcache.extract(data="drawn:70", extractor=EXTRACTOR, scales=[2])
    notes = []
    result = fsrcache.extract(
        scales=[2], views=1, unlabelled="drawn:77", on_progress=lambda progress: notes.append(progress.note)
    )
    assert result.rows == {**FEW, "view-1": 49, "unlabelled": 7}
    assert "Left out: 70 of 77 faces without labels (among the labelled ones)." in notes
    return networks


@pytest.mark.usefixtures("extracted")
def test_a_store_keeps_what_it_has_and_later_scales_are_of_all():
    again = fsrcache.extract(scales=[2])
    assert again.resumed_from == again.blocks == 2 * 5
    assert estimate_extract(scales=[2, 3], views=2).missing == 5 + 3
    result = fsrcache.extract(scales=[3])
    assert result.resumed_from == again.blocks
    assert fsrcache.FeatureStore("fsr/features.zarr").features("unlabelled", 3).shape == (7, 8)
    assert Workspace("fsr").unlabelled() == Data("drawn:77")
    assert Workspace("fsr").data() == Data("drawn:70")


def test_other_faces_without_labels_are_refused(extracted):
    with pytest.raises(FsrcacheError, match="its faces of unlabelled are others, 7 there and 14 here"):
        fsrcache.extract(scales=[2], unlabelled="drawn:84")
    assert Workspace("fsr").unlabelled() == Data("drawn:77")  # not what was refused
    (extracted / "fsr/unlabelled.json").unlink()
    with pytest.raises(FsrcacheError, match="and unlabelled are not among what is to be written") as refused:
        fsrcache.extract(scales=[3])
    assert "views=1, unlabelled=" in refused.value.remedy


@pytest.mark.usefixtures("networks")
def test_what_cannot_be_is_refused_before_anything_is_read():
    for options, text in (({"views": -1}, "views is -1"), ({"unlabelled": 3}, "faces without labels are 3")):
        with pytest.raises(RequestError, match=text):
            fsrcache.extract(data="drawn:70", extractor=EXTRACTOR, scales=[2], **options)
    with pytest.raises(RequestError, match="nothing at"):
        fsrcache.extract(data="drawn:70", extractor=EXTRACTOR, scales=[2], unlabelled="nowhere")


@pytest.mark.usefixtures("networks")
def test_a_limit_is_of_them_too():
    few = replace(Data("drawn:70"), limit=7)
    result = fsrcache.extract(data=few, extractor=EXTRACTOR, scales=[2], views=2, unlabelled="drawn:140")
    assert result.rows["view-2"] == 7
    assert 0 < result.rows["unlabelled"] <= 7


@pytest.mark.slow
def test_the_commands_count_them_and_train_draws_from_them(extracted):
    environment = {"cwd": extracted, "PYTHONPATH": str(extracted)}
    dry = run("extract", "--scales", "2,3", "--views", 2, "--dry-run", "--json", **environment).answer
    assert (dry["rows"]["view-2"], dry["missing"]) == (49, 6 + 2)
    assert run("info", "--json", **environment).answer["extra"]["view-1"]["rows"] == 49
    assert "view-1 49, unlabelled 7" in run("info", **environment).stdout
    assert run("verify", "--json", **environment).answer["ok"]
    words = ("train", "--preset", "best", "--steps", 2, "--set", "generator.width=8", "--set", "batch=6")
    for name, extra in (("all", ()), ("none", ("--extra", "none")), ("view", ("--extra", "view-1"))):
        assert run(*words, "--name", name, *extra, **environment).returncode == 0
    wrong = run(*words, "--name", "wrong", "--extra", "view-2", **environment)
    assert wrong.returncode == 1
    assert "no extra split 'view-2'; it has view-1, unlabelled" in wrong.stderr
    assert "fsrcache extract --views 1" in wrong.stderr
    table = run("evaluate", "--name", "all", "--name", "none", "--name", "view", "--json", **environment).answer
    assert {"FSR-FER", "FSR-FER (none)", "FSR-FER (view)"} <= {row["row"] for row in table["rows"]}
