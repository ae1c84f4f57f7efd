"""Whatever is done to a finished store is found, named, taken out, and written anew to the byte."""

import json
import shutil
import struct

import numpy as np
import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.store import columns, layout, shard
from fsrcache.store.layout import outputs
from fsrcache.store.metadata import group_document, sealed
from fsrcache.store.reader import FeatureStore
from fsrcache.store.shard import crc32c, digest_of, encode
from fsrcache.store.verify import Problem, repair, verify
from fsrcache.store.writer import FeatureWriter

FEATURES = "train/x2/features/c/0/0"


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(data)


def mended(store, example, files, undisturbed):
    """Repair and write again: the store is as it was."""
    repair(store)
    example.written(store)
    return files(store) == undisturbed and verify(store).ok


def test_a_sound_store_is_ok(store, files):
    before = files(store)
    verdict = verify(store)
    assert verdict.ok
    assert (verdict.problems, verdict.leftovers) == ((), ())
    assert repair(store).ok
    assert files(store) == before


@pytest.mark.slow
def test_a_thousand_flipped_bits_are_all_found(store, example, files):
    random = np.random.default_rng(5)
    undisturbed = files(store)
    names = sorted(undisturbed)
    kinds = {name.rpartition("/c/")[0].rpartition("/")[2] or name.rpartition("/")[2] for name in names}
    assert kinds == {"labels", "ids", "hashes", "features", "embeddings", "probabilities", "zarr.json"}
    for number in range(1000):
        name = names[number % len(names)]  # every object again and again
        path = store / name
        flip(path, int(random.integers(8 * len(undisturbed[name]))))
        verdict = verify(store)
        assert [problem.key for problem in verdict.problems] == [name]
        assert not verdict.ok
        if number % 25 == 0:
            assert mended(store, example, files, undisturbed)
        path.write_bytes(undisturbed[name])


@pytest.mark.parametrize("name", ["zarr.json", "train/zarr.json", "train/x1/zarr.json", "val/x2/features/zarr.json",
                                  "train/labels/c/0", "val/ids/c/0", FEATURES,
                                  "val/x1/probabilities/c/0/0"])  # fmt: skip
@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "empty"])
def test_whatever_is_lost_is_found_and_mended(store, example, files, name, damage):
    undisturbed, path = files(store), store / name
    if damage == "missing":
        path.unlink()
    else:
        data = undisturbed[name]
        path.write_bytes({"truncated": data[: len(data) // 2], "longer": data + b"\0", "empty": b""}[damage])
    (problem,) = verify(store).problems
    assert problem.key == name
    assert problem.kind in (("missing",) if damage == "missing" else ("short", "corrupt"))
    others = {key: data for key, data in undisturbed.items() if key not in (name, "zarr.json")}
    repair(store)
    assert others.items() <= files(store).items()
    example.written(store)
    assert files(store) == undisturbed


def test_exactly_the_bad_shards_are_removed(store, files):
    before = files(store)
    flip(store / FEATURES, 77)
    (store / "val/x1/embeddings/c/0/0").unlink()
    repair(store)
    after = files(store)
    assert set(before) - set(after) == {FEATURES, "val/x1/embeddings/c/0/0"}
    assert all(after[name] == before[name] for name in after if name != "zarr.json")
    with pytest.raises(FsrcacheError, match="is incomplete"):
        FeatureStore(store)


def test_damaged_metadata_alone_leave_the_store_complete(store, files):
    before = files(store)
    (store / "train/x1/features/zarr.json").write_text("{}")
    assert [problem.kind for problem in verify(store).problems] == ["corrupt"]
    repair(store)
    assert files(store) == before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FEATURES, "train/x2/features/c/1/0"),  # blocks
        (FEATURES, "train/x1/features/c/0/0"),  # scales
        ("train/x2/embeddings/c/0/0", "train/x2/embeddings/c/2/0"),  # a whole and a ragged one
    ],
)
def test_exchanged_shards_are_found(store, example, files, one, other):
    undisturbed = files(store)
    (store / one).write_bytes(undisturbed[other])
    (store / other).write_bytes(undisturbed[one])
    assert {(problem.key, problem.kind) for problem in verify(store).problems} == {
        (one, "exchanged"),
        (other, "exchanged"),
    }
    assert mended(store, example, files, undisturbed)


def test_exchanged_shards_of_an_unfinished_store_are_found_too(tmp_path, example):
    with example.writer(tmp_path / "s") as writer:
        example.fill(writer)
    one, other = tmp_path / "s" / FEATURES, tmp_path / "s/train/x1/features/c/0/0"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    assert {problem.kind for problem in verify(tmp_path / "s").problems} == {"corrupt"}


def test_a_reader_refuses_a_shard_that_stands_elsewhere(store):
    reader, path = FeatureStore(store), store / FEATURES
    path.write_bytes((store / "train/x1/features/c/0/0").read_bytes())
    with pytest.raises(FsrcacheError, match="train/x2/features/c/0/0 is not what was written there"):
        reader.features("train", 2)[:3]


def test_a_split_is_no_store(store, files):
    before = files(store)
    with pytest.raises(FsrcacheError, match="is no feature store"):
        repair(store / "train")
    assert files(store) == before


@pytest.mark.parametrize("text", ['{"node_type":"group","attributes":[]}', "[" * 200_000, '{"node_type":"group"}', "5",
                                  '{"node_type":"group","attributes":{"fsrcache":[1]}}', "null"])  # fmt: skip
def test_a_root_of_any_kind_is_damage_in_words(store, example, files, text):
    undisturbed = files(store)
    (store / "zarr.json").write_text(text)
    with pytest.raises(FsrcacheError):
        FeatureStore(store)
    assert [(problem.key, problem.kind) for problem in verify(store).problems] == [("zarr.json", "corrupt")]
    assert mended(store, example, files, undisturbed)


def test_a_sound_shard_of_other_content_has_the_wrong_digest(store, example):
    place = outputs(example.spec, "train", scale=2)["features"]
    (store / FEATURES).write_bytes(encode(place, np.ones((8, 6), np.float16), block=0))
    assert verify(store).problems == (Problem("train/x2/features", FEATURES, "wrong_digest"),)


TEXTS = {  # of val's five names, each with a checksum that holds
    "cut in a length": lambda body: body[:-7],
    "cut in a name": lambda body: body[:-1],
    "longer": lambda body: body + b"\0",
    "a length beyond the end": lambda body: body[:4] + b"\xff" * 4 + body[8:],
    "fewer": lambda body: b"\x04" + body[1:],
    "no UTF-8": lambda body: body[:8] + b"\xff" + body[9:],
    "many": lambda body: b"\xff" * 4 + body[4:],
    "a count alone": lambda body: body[:4],
    "half a count": lambda body: body[:2],
    "a long name": lambda body: body[:4] + b"\0" * 16 + struct.pack("<I", 4097) + b"a" * 4097,
}


@pytest.mark.parametrize("edit", TEXTS.values(), ids=TEXTS)
def test_names_that_are_cut_or_no_text_are_damage(store, example, files, edit):
    undisturbed = files(store)
    body = edit(undisturbed["val/ids/c/0"][:-4])
    (store / "val/ids/c/0").write_bytes(body + struct.pack("<I", crc32c(body)))
    (problem,) = verify(store).problems
    assert problem.key == "val/ids/c/0"
    assert problem.kind in ("corrupt", "short")
    with pytest.raises(FsrcacheError, match="val/ids/c/0 is damaged"):
        FeatureStore(store).ids("val")
    assert mended(store, example, files, undisturbed)


def test_names_that_take_gigabytes_as_an_array_are_damage_and_never_written(store, tmp_path, example, monkeypatch):
    """Every name has room for the longest: a file of four megabytes may be one long name and a million empty ones."""
    for module in (columns, shard):
        monkeypatch.setattr(module, "MOST_ROOM", 400)  # letters, 80 for each of val's five
    for letters, damaged in ((80, False), (81, True)):
        names = ["a" * letters, "b", "c", "d", "e"]
        body = shard.encode(layout.columns(example.spec, "val")["ids"], names, block=0)
        (store / "val/ids/c/0").write_bytes(body)
        assert [problem.kind for problem in verify(store).problems] == ["corrupt" if damaged else "wrong_digest"]
    with pytest.raises(FsrcacheError, match="val/ids/c/0 is damaged"):
        FeatureStore(store).ids("val")
    values = example.columns()
    values["ids"]["val"] = names
    with pytest.raises(FsrcacheError, match=r"A name of val has 81 letters\.\nAt most 80 are kept"):
        FeatureWriter(tmp_path / "written", example.spec, **values)


def test_values_that_are_not_finite_are_found(store, example):
    place = outputs(example.spec, "train", scale=2)["features"]
    data = bytes(encode(place, np.full((8, 6), np.nan, np.float16), block=0))
    (store / FEATURES).write_bytes(data)
    root = json.loads((store / "zarr.json").read_text())
    record = {name: value for name, value in root["attributes"]["fsrcache"].items() if name != "digest"}
    record["shards"]["train/x2/features"][0] = digest_of(place, data)
    (store / "zarr.json").write_bytes(group_document(sealed(record)))
    assert verify(store).problems == (Problem("train/x2/features", FEATURES, "not_finite"),)


@pytest.mark.parametrize("edit", [lambda r: r.update(data="other"), lambda r: r["scales"].append(4),
                                  lambda r: r["digests"].update(weights="ff"), lambda r: r.update(complete=False),
                                  lambda r: r.update(version=4),
                                  lambda r: r["shards"]["train/labels"].clear()])  # fmt: skip
def test_edited_attributes_are_found_and_mended(store, example, files, edit):
    undisturbed = files(store)
    root = json.loads(undisturbed["zarr.json"])
    edit(root["attributes"]["fsrcache"])
    (store / "zarr.json").write_text(json.dumps(root))
    assert verify(store).problems == (Problem("", "zarr.json", "corrupt"),)
    with pytest.raises(FsrcacheError):
        FeatureStore(store)
    assert mended(store, example, files, undisturbed)


def test_a_root_that_is_only_written_otherwise_is_rewritten(store, files):
    before = files(store)
    root = json.loads(before["zarr.json"])
    (store / "zarr.json").write_text(json.dumps(root))
    assert FeatureStore(store).spec  # the record is sound
    assert verify(store).problems == (Problem("", "zarr.json", "corrupt"),)


def test_nothing_is_known_without_any_metadata(store):
    for path in store.rglob("zarr.json"):
        path.unlink()
    with pytest.raises(FsrcacheError, match="its metadata are lost") as error:
        repair(store)
    assert "extract into another" in error.value.remedy
    with pytest.raises(FsrcacheError, match="no feature store at"):
        verify(store / "nowhere")


def test_a_store_of_another_version_is_said_to_be_one(store, files):
    root = (store / "zarr.json").read_bytes()
    for path in (store / "zarr.json", *store.glob("*/zarr.json")):
        record = json.loads(path.read_bytes())["attributes"]["fsrcache"]
        del record["digest"]
        path.write_bytes(group_document(sealed({**record, "version": 4})))
    before = files(store)
    for work in (FeatureStore, verify, repair):
        with pytest.raises(FsrcacheError, match="format is version 4; this fsrcache knows version 5"):
            work(store)
    assert files(store) == before
    (store / "zarr.json").write_bytes(root)  # its own record alone counts
    assert {problem.key for problem in verify(store).problems} == {"train/zarr.json", "val/zarr.json"}


def test_an_incomplete_store_is_verified_as_far_as_it_goes(tmp_path, example):
    with example.writer(tmp_path / "s") as writer:
        example.fill(writer, most=2)
    verdict = verify(tmp_path / "s")
    assert not verdict.complete
    assert {problem.kind for problem in verdict.problems} == {"missing"}
    assert len(verdict.problems) == 6 * 3
    flip(tmp_path / "s" / "train/x1/features/c/0/0", 3)
    assert {problem.kind for problem in verify(tmp_path / "s").problems} == {"missing", "corrupt"}


def test_half_written_files_are_named_and_go_away(store, example, files):
    undisturbed = files(store)
    for name in ("train/x2/features/c/0/0.ab12.partial", "zarr.json.partial"):
        (store / name).write_bytes(b"half")
    verdict = verify(store)
    assert verdict.ok
    assert verdict.leftovers == ("train/x2/features/c/0/0.ab12.partial", "zarr.json.partial")
    example.written(store)
    assert files(store) == undisturbed


def test_a_copy_is_as_good(store, tmp_path):
    shutil.copytree(store, tmp_path / "copy")
    assert verify(tmp_path / "copy").ok
