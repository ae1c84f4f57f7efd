"""Views and faces without labels from the verbs' side: named once, kept, counted, and added to when scales are."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import fsrcache
from fsrcache.cli.main import group
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.faces.degrade import Degradation
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


@pytest.mark.usefixtures("networks")
def test_faces_without_labels_are_remembered_once_the_store_is_open(monkeypatch):
    def held(*_, **__):
        raise FsrcacheError("The store is being written by another process.")

    fsrcache.extract(data="drawn:70", extractor=EXTRACTOR, scales=[2])
    with monkeypatch.context() as patch:
        patch.setattr("fsrcache.extraction.extract.FeatureWriter", held)
        with pytest.raises(FsrcacheError, match="is being written"):
            fsrcache.extract(scales=[2], unlabelled="drawn:77")
    assert Workspace("fsr").unlabelled() is None
    fsrcache.extract(scales=[2], unlabelled="drawn:77")
    assert Workspace("fsr").unlabelled() == Data("drawn:77")


def test_other_faces_without_labels_are_refused(extracted):
    with pytest.raises(FsrcacheError, match="its faces of unlabelled are others, 7 there and 14 here"):
        fsrcache.extract(scales=[2], unlabelled="drawn:84")
    assert Workspace("fsr").unlabelled() == Data("drawn:77")  # not what was refused
    (extracted / "fsr/unlabelled.json").unlink()
    with pytest.raises(FsrcacheError, match="and unlabelled are not among what is to be written") as refused:
        fsrcache.extract(scales=[3])
    assert "views=1, unlabelled=" in refused.value.remedy
    with pytest.raises(FsrcacheError, match="are not among what is to be written") as refused:
        fsrcache.extract(views=2)
    assert "views=2, unlabelled=" in refused.value.remedy


@pytest.mark.usefixtures("networks")
def test_what_cannot_be_is_refused_before_anything_is_read():
    for options, text in (({"views": -1}, "views is -1"), ({"unlabelled": 3}, "faces without labels are 3")):
        with pytest.raises(RequestError, match=text):
            fsrcache.extract(data="drawn:70", extractor=EXTRACTOR, scales=[2], **options)
    with pytest.raises(RequestError, match="nothing at"):
        fsrcache.extract(data="drawn:70", extractor=EXTRACTOR, scales=[2], unlabelled="nowhere")
    for scales in (4, "2..8", ["2"], [0], [20_000]):
        for command in (fsrcache.extract, estimate_extract):
            with pytest.raises(RequestError, match=r"^scales(\[0\])? is "):
                command(data="drawn:70", extractor=EXTRACTOR, scales=scales)


def test_of_a_store_elsewhere_no_faces_without_labels_are_remembered(extracted):
    elsewhere = {"store": extracted / "elsewhere", "scales": [2]}
    fsrcache.extract(views=1, unlabelled="drawn:84", **elsewhere)
    with pytest.raises(FsrcacheError, match="unlabelled are not among what is to be written") as refused:
        fsrcache.extract(**elsewhere)
    assert "unlabelled=" in refused.value.remedy
    assert Workspace("fsr").unlabelled() == Data("drawn:77")


@pytest.mark.usefixtures("networks")
def test_other_coarse_faces_are_refused_with_what_to_repeat():
    fsrcache.extract(data="drawn:70", extractor=EXTRACTOR, scales=[2], degradation=Degradation(jpeg=50))
    with pytest.raises(RequestError, match="its degradation jpeg is 50 there and none here") as refused:
        fsrcache.extract(views=1)
    assert refused.value.remedy.startswith("Repeat the options that it was made with (form, border, JPEG), or write")


@pytest.mark.usefixtures("networks")
def test_a_limit_is_of_them_too():
    few = replace(Data("drawn:70"), limit=7)
    result = fsrcache.extract(data=few, extractor=EXTRACTOR, scales=[2], views=2, unlabelled="drawn:140")
    assert result.rows["view-2"] == 7
    assert 0 < result.rows["unlabelled"] <= 7


@pytest.mark.usefixtures("extracted")
def test_views_alone_add_no_scale():
    assert estimate_extract(views=2).missing == 2
    assert fsrcache.extract(views=2).scales == (1, 2)


@pytest.mark.usefixtures("networks")
def test_without_a_store_the_scales_are_2_to_8():
    assert estimate_extract(data="drawn:70", extractor=EXTRACTOR).scales == (1, *range(2, 9))


def test_unusable_faces_without_labels_are_left_out_where_those_of_the_data_are(extracted):
    picture = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    (extracted / "odd").mkdir()
    Image.fromarray(picture).save(extracted / "odd/a.png")
    (extracted / "odd/junk.png").write_text("junk")
    into = ["--workspace", "other", "--extractor", EXTRACTOR, "--scales", "2", "--unlabelled", "odd", "--json"]
    assert CliRunner().invoke(group, ["extract", *into, "--data", "drawn:70"]).exit_code == 1
    for data in (["--data", "drawn:70"], []):  # named, and remembered
        Workspace("other").remember(Data("drawn:70"))
        done = CliRunner().invoke(group, ["extract", *into, *data, "--on-error", "skip"])
        assert json.loads(done.stdout)["rows"]["unlabelled"] == 1


def test_moved_faces_without_labels_are_called_so(extracted):
    gone = extracted / "gone"
    Workspace("fsr").remember_unlabelled(Data(str(gone)))
    with pytest.raises(RequestError, match=r"faces without labels of its store at .*gone, and nothing is") as error:
        fsrcache.extract(views=2)
    assert error.value.remedy == "If they were moved, name their new path once: `unlabelled=PATH`."
    fsrcache.extract(unlabelled="drawn:77")
    assert Workspace("fsr").unlabelled() == Data("drawn:77")


@pytest.mark.usefixtures("networks")
def test_a_number_of_views_that_is_none_is_a_wrong_request():
    done = CliRunner().invoke(group, ["extract", "--views", "1.5"])
    assert done.exit_code == 2
    assert "'1.5' is not a valid whole number" in done.stderr


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
    for extra, text in (
        ("view-2", "no extra split 'view-2'; it has view-1, unlabelled"), ("view-2", "fsrcache extract --views 2"),
        ("view-1,none", "'view-1,none' is no list of splits"), ("", "'' is no list of splits"),
    ):  # fmt: skip
        wrong = run(*words, "--name", "wrong", "--extra", extra, **environment)
        assert wrong.returncode == 2
        assert text in wrong.stderr
    table = run("evaluate", "--name", "all", "--name", "none", "--name", "view", "--json", **environment).answer
    assert {"FSR-FER", "FSR-FER (none)", "FSR-FER (view)"} <= {row["row"] for row in table["rows"]}
