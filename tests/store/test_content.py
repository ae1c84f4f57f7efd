"""What stores of the same content agree on, by digests of its fields."""

from dataclasses import replace

import pytest


def test_added_scales_and_a_description_change_no_content(example):
    content = example.spec.content_digests
    other = replace(example.spec.with_scales((7,)), data="other words")
    assert other.digest != example.spec.digest
    assert other.content_digests == content
    assert all(isinstance(value, str) for value in content.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [("digests.labels", "0f"), ("recipe", {"side": 99}), ("dtype", "float32"), ("classes", None), ("block", None)],
)
def test_every_other_field_is_named(example, field, value):
    spec = example.spec
    if field == "digests.labels":
        other = replace(spec, digests={**spec.digests, "labels": value})
    elif field == "classes":
        other = replace(spec, classes=tuple(reversed(spec.classes)))
    elif field == "block":
        other = replace(spec, block=spec.block * 2)
    else:
        other = replace(spec, **{field: value})
    content, changed = spec.content_digests, other.content_digests
    assert [name for name in content if content[name] != changed[name]] == [field.removeprefix("digests.")]
