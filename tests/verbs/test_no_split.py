"""Faces without val and test: extraction and doctor say that nothing can be evaluated, and the table what to do."""

import numpy as np
import pytest
from PIL import Image

import fsrcache
from fsrcache.errors import FsrcacheError

EXTRACTOR = {"extractor": "somebodys:vectors", "scales": [2], "device": "cpu"}


@pytest.mark.usefixtures("networks")
def test_that_there_are_no_views_without_train_is_said(tmp_path):
    notes = []
    folder = tmp_path / "faces/test"
    for name in ("happy", "sad"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.full((16, 16), len(name), np.uint8)).save(folder / name / "a.png")
    result = fsrcache.extract(
        data=tmp_path / "faces", views=2, on_progress=lambda progress: notes.append(progress.note), **EXTRACTOR
    )
    assert result.rows == {"test": 2}
    assert "There is no train, and views are of its faces: none was written." in notes


@pytest.mark.usefixtures("networks")
def test_that_nothing_can_be_evaluated_is_said_before_the_table():
    notes = []
    fsrcache.extract("of-70", data="drawn:70", on_progress=lambda progress: notes.append(progress.note), **EXTRACTOR)
    assert not any("no test" in note for note in notes)
    fsrcache.extract(data="drawn:35", on_progress=lambda progress: notes.append(progress.note), **EXTRACTOR)
    assert "There is no val and no test: a generator can be trained, and nothing be evaluated." in notes
    (finding,) = [one for one in fsrcache.doctor().findings if one.subject == "store" and not one.ok]
    assert finding.text == "It has no val and no test: nothing can be evaluated."
    with pytest.raises(FsrcacheError, match="has neither test nor val to report") as error:
        fsrcache.evaluate(device="cpu")
    assert error.value.exit_code == 1
    assert error.value.remedy == finding.remedy
    assert "`fsrcache.extract(DIR, data=PATH)`: folders `test` or `val` beside `train`" in finding.remedy
