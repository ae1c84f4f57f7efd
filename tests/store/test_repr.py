"""What a store shows of itself in one line, whatever stands in its record."""

from dataclasses import replace

import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import StoreSpec


def test_a_store_shows_what_a_row_is(example, tmp_path):
    recipe = {"extractor": "CovPoolFER", "spd_side": 3, "side": 24}
    store = example.written(tmp_path / "s", spec=replace(example.spec, recipe=recipe))
    assert repr(store) == (
        f"FeatureStore('{tmp_path / 's'}': train 23, val 5; scales 1, 2; features float16 6, the triangle of 3 x 3, "
        "probabilities 2, embeddings 4; extractor CovPoolFER)"
    )


@pytest.mark.parametrize("recipe", [{}, {"extractor": {"a": ["\n"] * 999}, "spd_side": "x"}, {"spd_side": None}])
def test_any_record_is_shown_in_a_line(tmp_path, example, recipe):
    spec = StoreSpec.for_vectors(6, rows={"val": 5}, classes=("a", "b"), content={})
    shown = repr(example.written(tmp_path / "a\nb", spec=replace(spec, recipe=recipe)))
    assert shown.startswith("FeatureStore(")
    assert "features float16 6; extractor " in shown
    assert len(shown.splitlines()) == 1
    assert len(shown) < 300


def test_a_store_that_was_not_opened_is_shown_too(tmp_path):
    with pytest.raises(FsrcacheError):
        FeatureStore(tmp_path)
    store = FeatureStore.__new__(FeatureStore)
    assert repr(store) == "FeatureStore('')"
