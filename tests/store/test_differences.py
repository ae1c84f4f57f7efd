"""How two stores differ, in the words of somebody who has the faces."""

from dataclasses import replace

import pytest

from fsrcache.store.differences import content_differences, face_differences


def changed(spec, **digests):
    return {**spec.digests, **dict.fromkeys(digests, "0" * 64)}


def test_equal_content_differs_in_nothing(example):
    assert content_differences(example.spec, replace(example.spec, scales=(1, 3), data="elsewhere")) == []


def test_other_faces_are_counted_and_their_digests_not_repeated(example):
    other = replace(
        example.spec, rows={"train": 2800, "test": 400}, data="FER2013 (CSV)",
        digests=changed(example.spec, pictures=1, labels=1, order=1),
    )  # fmt: skip
    assert content_differences(example.spec, other) == [
        "its faces are train 23, val 5 of a test there and train 2,800, test 400 of FER2013 (CSV) here"
    ]


def test_other_classes_are_named(example):
    other = replace(
        example.spec, classes=("joy", "rage"), digests=changed(example.spec, pictures=1, labels=1)
    )  # fmt: skip
    assert face_differences(example.spec, other) == [
        "its faces are as many, train 23, val 5 of a test, and others",
        "its classes are happiness, anger there and joy, rage here",
    ]


@pytest.mark.parametrize(
    ("degradation", "clause"),
    [({"form": "size"}, "form is scale there and size here"), ({"jpeg": 40}, "jpeg is none there and 40 here")],
)  # fmt: skip
def test_another_degradation_is_named_by_what_differs(example, degradation, clause):
    recipe = {"degradation": example.spec.recipe["degradation"] | degradation}
    other = replace(example.spec, recipe=recipe, digests=changed(example.spec, preprocessing=1))
    assert content_differences(example.spec, other) == [f"its degradation {clause}"]
    assert face_differences(example.spec, other) == []


def test_another_extractor_is_named(example):
    there = replace(example.spec, recipe={"extractor": "a"})
    other = replace(
        there, recipe={"extractor": "b"}, widths={**there.widths, "features": 9}, chunk=2,
        digests=changed(there, weights=1, preprocessing=1),
    )  # fmt: skip
    assert content_differences(there, other) == [
        "its extractor is a there and b here",
        "its widths are probabilities 2, embeddings 4, features 6 there and "
        "probabilities 2, embeddings 4, features 9 here",
    ]
    same_name = replace(there, digests=changed(there, weights=1))
    assert content_differences(there, same_name) == ["its extractor, a, has other weights"]
