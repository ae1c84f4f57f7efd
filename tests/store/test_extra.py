"""Splits that only trainings read: added to a complete store, whose content and readers stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
from zarr.storage import MemoryStore

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.split_names import view_number
from fsrcache.store.differences import content_differences
from fsrcache.store.joined import joined, joined_rows
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import StoreSpec
from fsrcache.store.verify import repair, verify
from fsrcache.store.writer import FeatureWriter, unwritten
from fsrcache.verbs.info import info

COUNTS = {"view-1": 23, "unlabelled": 9}


@pytest.fixture(scope="module")
def spec(example):
    extra = {split: {"rows": count, "digest": f"{count:x}"} for split, count in COUNTS.items()}
    return replace(example.spec, extra=extra)


def columns(example, spec):
    """Return the columns of the example's splits and of the extra ones."""
    values = example.columns(example.spec.rows)
    for split in spec.extra:
        views = split != "unlabelled"
        count = spec.count(split)
        values["labels"][split] = values["labels"]["train"] if views else np.full(count, -1, np.int16)
        values["ids"][split] = [f"{split}/{i}" for i in range(count)]
        values["hashes"][split] = values["hashes"]["train"] if views else np.ones((count, 16), np.uint8)
    return values


def writer(location, example, spec, **changes):
    return FeatureWriter(location, spec, **{**columns(example, spec), **changes})


def values_of(spec, split, scale):
    """Return what the rows of an extra split hold at a scale, by name."""
    random = np.random.default_rng([*split.encode(), scale])
    return {name: random.standard_normal((spec.count(split), width)) for name, width in spec.widths.items()}


def fill(example, into, most=None):
    for split, scale, block in into.missing()[:most]:
        rows = into.rows(split, block)
        whole = split in example.spec.rows
        values = (
            example.values(split, scale, rows, example.spec)
            if whole
            else {name: value[rows] for name, value in values_of(into.spec, split, scale).items()}
        )
        into.write(split, scale, block=block, **values)


def test_a_complete_store_gets_splits_and_nothing_else_changes(store, example, spec, files):
    before, opened = files(store), FeatureStore(store)
    with writer(store, example, spec) as into:
        assert {split for split, _, _ in into.missing()} == set(COUNTS)
        fill(example, into, most=5)
        assert verify(store).ok
        assert FeatureStore(store).spec == example.spec
        fill(example, into)
        assert into.finish()
    after = files(store)
    assert {name for name in before if before[name] != after[name]} == {"zarr.json"}
    added = FeatureStore(store)
    assert added.spec.content_digests == opened.spec.content_digests
    assert (added.splits, added.spec.every_split) == (("train", "val"), ("train", "val", "view-1", "unlabelled"))
    for split in COUNTS:
        expected = values_of(spec, split, 2)["probabilities"].astype(np.float32)
        assert np.array_equal(added.probabilities(split, 2)[:], expected)
    assert np.array_equal(added.hashes("view-1"), added.hashes("train"))
    assert added.labels("unlabelled").tolist() == [-1] * COUNTS["unlabelled"]
    assert added.to_pandas("unlabelled")["label"].isna().all()
    assert verify(store).ok
    assert info(store=store).bytes > 1.5 * sum(len(value) for name, value in before.items() if "/c/" in name)
    assert np.array_equal(opened.features("train", 2)[:], added.features("train", 2)[:])


def test_a_store_at_once_is_the_same(store, example, spec, files, tmp_path):
    for location in (store, tmp_path / "at once"):
        with writer(location, example, spec) as into:
            fill(example, into)
            assert into.finish()
    assert files(store) == files(tmp_path / "at once")


def test_splits_are_added_one_after_another_and_scales_after_them(store, example, spec):
    for added in (replace(spec, extra={"view-1": spec.extra["view-1"]}), spec, spec.with_scales((4,))):
        with writer(store, example, added) as into:
            fill(example, into)
            assert into.finish()
    assert FeatureStore(store).features("unlabelled", 4).shape == (9, 6)
    with pytest.raises(FsrcacheError, match=r"has the extra splits view-1, unlabelled, and unlabelled, view-1 are not"):
        example.writer(store, spec=replace(example.spec, scales=(1, 8)))


def test_parts_complete_it_together(store, example, spec):
    for part, complete in (((1, 2), False), ((2, 2), True)):
        with writer(store, example, spec, part=part) as into:
            fill(example, into)
            assert into.finish() is complete
    assert verify(store).ok


def test_a_writer_that_does_not_know_them_leaves_the_end_to_another(example, spec):
    place = MemoryStore()  # without locks
    before = example.writer(place)
    with writer(place, example, spec) as into:
        example.fill(before)
        fill(example, into)
        assert not before.finish()
        assert into.finish()
        assert before.finish()
    assert verify(place).ok


def test_a_lost_root_comes_back_with_them(store, example, spec):
    with writer(store, example, spec) as into:
        fill(example, into)
        assert into.finish()
    (store / "zarr.json").unlink()
    assert [problem.kind for problem in repair(store).problems] == ["missing"]
    with writer(store, example, spec) as into:
        assert not into.missing()
        assert into.finish()
    assert FeatureStore(store).spec == spec


def test_damage_in_a_split_that_is_being_added_is_found(store, example, spec):
    with writer(store, example, spec) as into:
        fill(example, into, most=1)
    (damaged,) = store.glob("view-1/x1/features/c/*/0")
    data = bytearray(damaged.read_bytes())
    data[3] ^= 1
    damaged.write_bytes(data)
    assert [(problem.array, problem.kind) for problem in repair(store).problems] == [("view-1/x1/features", "corrupt")]
    assert not damaged.exists()


@pytest.mark.parametrize(
    ("split", "remedy"), [("view-9", "views=9)"), ("unlabelled", "unlabelled=PATH)"), ("", "view-1, view-2 and so on")]
)
def test_an_extra_split_that_is_not_there_is_a_wrong_request(store, split, remedy):
    with pytest.raises(RequestError, match=f"no extra split '{split}'; it has none") as refused:
        FeatureStore(store).with_extra([split])
    assert remedy in refused.value.remedy


def test_others_of_the_same_split_are_refused(store, example, spec):
    with writer(store, example, spec) as into:
        fill(example, into)
        into.finish()
    other = replace(spec, extra={**spec.extra, "unlabelled": {"rows": 8, "digest": "ff"}})
    assert content_differences(spec, other) == ["its faces of unlabelled are others, 9 there and 8 here"]
    with pytest.raises(FsrcacheError, match="its faces of unlabelled are others"):
        writer(store, example, other)


def test_labels_of_faces_without_any_are_refused(example, spec, tmp_path):
    labels = {**columns(example, spec)["labels"], "unlabelled": np.zeros(9, np.int16)}
    with pytest.raises(FsrcacheError, match="labels of unlabelled are not all -1"):
        writer(tmp_path / "s", example, spec, labels=labels)


@pytest.mark.parametrize(
    "extra",
    [
        {"view-0": {"rows": 1, "digest": "a"}},
        {"views": {"rows": 1, "digest": "a"}},
        {"view-101": {"rows": 1, "digest": "a"}},
        {"view-1": {"rows": 0, "digest": "a"}},
        {"view-1": {"rows": 1, "digest": "x"}},
        {"view-1": {"rows": 1}},
        ["view-1"],
    ],
)
def test_what_no_extra_split_can_be_is_refused(example, extra):
    with pytest.raises(FsrcacheError, match="field extra is"):
        StoreSpec.from_dict({**example.spec.to_dict(), "extra": extra})


def test_records_without_them_are_those_of_before(example, spec):
    assert "extra" not in example.spec.to_dict()
    assert StoreSpec.from_dict(example.spec.to_dict()) == example.spec
    assert StoreSpec.from_dict(spec.to_dict()) == spec
    assert [view_number(name) for name in ("view-1", "view-100", "view-01", "train")] == [1, 100, None, None]


def test_a_store_with_some_of_them_alone(store, example, spec):
    with writer(store, example, spec) as into:
        fill(example, into)
        into.finish()
    opened = FeatureStore(store)
    assert [*opened.with_extra(["view-1"]).spec.extra] == ["view-1"]
    assert opened.with_extra(()).spec == example.spec
    with pytest.raises(FsrcacheError, match=r"no extra split 'view-2'; it has view-1, unlabelled"):
        opened.with_extra(["view-2"])


def test_arrays_are_joined_chunk_after_chunk(store, example, spec):
    with writer(store, example, spec) as into:
        fill(example, into)
        into.finish()
    opened = FeatureStore(store)
    parts = [opened.features(split, 2) for split in ("train", "unlabelled", "view-1")]  # 23, 9 and 23 rows, chunk 4
    whole = joined(parts)
    kept = joined_rows([np.ones(len(part), np.bool_) for part in parts], chunk=4, fill=False)
    assert whole.shape == (24 + 12 + 24, 6)
    assert np.array_equal(whole[:][kept], np.concatenate([part[:] for part in parts]))
    assert np.array_equal(whole[20:40][kept[20:40]], np.concatenate([parts[0][20:], parts[1][:], parts[2][:4]]))
    assert joined(parts[:1]) is parts[0]


@pytest.fixture
def begun(location, example, spec):
    """A complete store to which faces without labels are being added, some blocks of which are there; and its spec."""
    spec = replace(spec, extra={"unlabelled": {"rows": 20, "digest": "a"}})
    example.written(location)
    with writer(location, example, spec) as into:
        fill(example, into, most=4)
    return spec


@pytest.fixture(params=["folder", "object storage"])
def location(request, tmp_path):
    return tmp_path / "s" if request.param == "folder" else MemoryStore()


def other_faces(spec, rows):
    """Return the spec of other faces without labels, and what their rows hold at a scale, by name."""
    spec = replace(spec, extra={"unlabelled": {"rows": rows, "digest": "b"}})
    return spec, {scale: {name: np.ones((rows, width)) for name, width in spec.widths.items()} for scale in (1, 2)}


def write_others(location, example, spec, values):
    """Write what is missing of other faces' features; return the splits that were removed before."""
    with writer(location, example, spec) as into:
        for split, scale, block in into.missing():
            rows = into.rows(split, block)
            into.write(split, scale, block=block, **{name: value[rows] for name, value in values[scale].items()})
        assert into.finish()
    return into.removed


@pytest.mark.parametrize("rows", [20, 23])
def test_other_faces_never_get_the_features_of_those_that_were_begun(location, example, begun, rows):
    spec, values = other_faces(begun, rows)
    assert write_others(location, example, spec, values) == ["unlabelled"]
    assert (FeatureStore(location).features("unlabelled", 2)[:] == 1).all()
    assert verify(location).ok
    assert write_others(location, example, spec, values) == []


def test_the_same_faces_go_on(location, example, begun):
    assert not {"unlabelled"} & {split for split, _, _ in unwritten(location, example.spec)[1]}
    assert len(unwritten(location, begun)[1]) == 2
    with writer(location, example, begun) as into:
        assert (into.removed, len(into.missing())) == ([], 2)


def test_other_faces_lack_every_block(location, begun):
    assert len(unwritten(location, other_faces(begun, 20)[0])[1]) == 6


def test_a_store_that_lost_a_file_meanwhile_keeps_them_apart_too(tmp_path, example, spec):
    begun = replace(spec, extra={"unlabelled": {"rows": 20, "digest": "a"}})
    example.written(tmp_path / "s")
    with writer(tmp_path / "s", example, begun) as into:
        fill(example, into, most=4)
    (tmp_path / "s/train/labels/c/0").unlink()
    repair(tmp_path / "s")
    spec, values = other_faces(begun, 20)
    assert write_others(tmp_path / "s", example, spec, values) == ["unlabelled"]
    assert (FeatureStore(tmp_path / "s").features("unlabelled", 2)[:] == 1).all()


def test_other_faces_wait_for_whoever_writes(tmp_path, example, spec):
    begun = replace(spec, extra={"unlabelled": {"rows": 20, "digest": "a"}})
    example.written(tmp_path / "s")
    with writer(tmp_path / "s", example, begun, part=(1, 2)) as one:
        fill(example, one, most=2)
        with pytest.raises(FsrcacheError, match=r"is being written by process .*, with other faces of unlabelled"):
            writer(tmp_path / "s", example, other_faces(begun, 20)[0], part=(2, 2))
        with writer(tmp_path / "s", example, begun, part=(2, 2)) as two:
            fill(example, two)
        fill(example, one)
        assert one.finish()


def test_faces_that_others_replaced_meanwhile_are_not_completed(example, spec):
    place = MemoryStore()  # without locks
    example.written(place)
    begun = replace(spec, extra={"unlabelled": {"rows": 20, "digest": "a"}})
    with writer(place, example, begun) as one, writer(place, example, other_faces(begun, 20)[0]) as two:
        fill(example, one)
        with pytest.raises(FsrcacheError, match="Meanwhile another process began to add other faces of unlabelled"):
            one.finish()
        fill(example, two)
        assert two.finish()
        with pytest.raises(RequestError, match="its faces of unlabelled are others, 20 there and 20 here"):
            one.finish()


def test_features_of_unknown_faces_are_taken_out(tmp_path, example, spec):
    begun = replace(spec, extra={"unlabelled": {"rows": 20, "digest": "a"}})
    example.written(tmp_path / "s")
    with writer(tmp_path / "s", example, begun) as into:
        fill(example, into, most=4)
    (tmp_path / "s/unlabelled/hashes/c/0/0").write_bytes(b"?")
    assert [problem.array for problem in repair(tmp_path / "s").problems] == ["unlabelled/hashes"]
    assert not [path for path in tmp_path.glob("s/unlabelled/**/*") if path.is_file()]
    assert verify(tmp_path / "s").ok
