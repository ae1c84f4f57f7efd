"""Records that are valid JSON and not what a store says: refused in words, at once, whatever they hold."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.store.metadata import sealed
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import StoreSpec
from fsrcache.store.verify import verify
from fsrcache.store.writer import FeatureWriter
from studies.program import run

HUGE = 1 << 70
FIELDS = {
    "version": [None, "4", 4.0, True, -4, HUGE, [4], 3],
    "digests": [None, [], "aa", {}, {"pictures": 1}, {"pictures": "aa", "labels": "", "order": "cc", "weights": "dd"}],
    "classes": [None, "happiness", [], [1], ["a", "a"], ["a", None], ["\ud800"], ["a" * 1025], [["a"]],
                [str(i) for i in range(65_537)], {"a": 1}],
    "scales": [None, 1, "12", [], [0, 1], [-1, 1], [2], [2, 1], [1, 1], [1, 2.0], [True], [1, HUGE], [1, "2"],
               list(range(1, 1_000_000)), list(range(1, 1002)), [1, 65_537], [[1]]],
    "widths": [None, [6], {}, {"embeddings": 4}, {"features": 0}, {"features": -6}, {"features": 6.0},
               {"features": "6"}, {"features": HUGE},
               {"features": 6, "probabilities": 3}, {"features": 6, "colours": 3}],
    "dtype": [None, "float64", 16, ["float16"], {}],
    "recipe": [None, [], "degradation", 1, {"a": "\udfff"}],
    "data": [None, 1, ["a"], "\ud83d"],
    "rows": [None, 23, [], {}, {"train": 0}, {"train": -1}, {"train": 1.5}, {"train": HUGE}, {"train": True},
             {"train": "23"}, {"all": 3}, {"train": None}],
    "chunk": [None, 0, -4, 4.0, "4", HUGE, 3, [4]],
    "block": [None, 0, -8, 8.0, "8", HUGE, 7, [8]],
    "complete": [None, 1, "true", []],
    "shards": [None, [], {}, "aa", {"train/labels": ["00" * 16]}],
}  # fmt: skip
CASES = [(name, value) for name, values in FIELDS.items() for value in values]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, example):
    path = tmp_path_factory.mktemp("whole") / "s"
    example.written(path)
    return (path / "zarr.json").read_bytes()


def record_of(document):
    record = json.loads(document)["attributes"]["fsrcache"]
    return {name: value for name, value in record.items() if name != "digest"}


def planted(path, record):
    """Make a folder whose root holds a record, sealed, whatever it says, and nothing else."""
    path.mkdir()
    document = {"zarr_format": 3, "node_type": "group", "attributes": {"fsrcache": sealed(record)}}
    (path / "zarr.json").write_text(json.dumps(document))
    return path


def refused(path, *words):
    """Assert that nobody takes the store for one, within a second each, and that every error says those words."""
    for work in (FeatureStore, verify):
        start = time.process_time()
        with pytest.raises(FsrcacheError) as error:
            work(path)
        assert time.process_time() - start < 1
        assert len(str(error.value)) < 1000
        str(error.value).encode()
        if work is FeatureStore:
            assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("name", "value"), CASES, ids=lambda value: str(value)[:30].encode("ascii", "replace").decode()
)
def test_a_field_of_another_kind_is_refused_by_name(tmp_path, whole, name, value):
    refused(planted(tmp_path / "s", record_of(whole) | {name: value}), "zarr.json", name.removesuffix("s"))


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "version"])
def test_a_field_that_is_missing_is_named(tmp_path, whole, name):
    record = record_of(whole)
    del record[name]
    refused(planted(tmp_path / "s", record), name)


def test_a_file_of_another_number_of_digests_is_refused(tmp_path, whole):
    record = record_of(whole)
    for number, digests in enumerate([[], ["00" * 16] * 4, ["0" * 31] * 3, [None] * 3, "0" * 96, {"0": 1}]):
        shards = record["shards"] | {"train/x2/features": digests}
        refused(planted(tmp_path / f"s{number}", record | {"shards": shards}), "shards of train/x2/features")


def test_rows_that_make_too_many_files_are_refused(tmp_path, whole):
    most = {"rows": {"train": 1 << 36}, "complete": False}
    refused(planted(tmp_path / "s", record_of(whole) | most), "number of files", "larger block")


TEXTS = {  # and what is said of them
    "deep": ('{"node_type": "group", "attributes": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested deeper than 32"),
    "a little too deep": ('{"node_type": "group", "attributes": ' + "[" * 40 + "]" * 40 + "}", "nested deeper than 32"),
    "deep and open": ("[" * 100_000, "nested deeper than 32"),
    "deep objects": ('{"a":' * 100_000, "nested deeper than 32"),
    "twins": ('{"node_type": "group", "node_type": "group", "attributes": {}}', "'node_type' stands there twice"),
    "NaN": ('{"node_type": "group", "attributes": {"fsrcache": {"version": NaN}}}', "NaN is no number"),
    "infinite": ('{"node_type": "group", "attributes": {"fsrcache": {"version": 1e999}}}', "1e999 is no number"),
    "digits": ('{"node_type": "group", "attributes": {"fsrcache": {"version": ' + "9" * 100_000 + "}}}", "4300 digits"),
    "many lists": ('{"node_type": "group", "attributes": [' + "[]," * 5_000_000 + "[]]}", "more than 4,194,304 values"),
    "long": ('{"node_type": "group", "attributes": "' + "a" * (65 << 20) + '"}', "67,108,864 are the most"),
    "a list": ("[1, 2]", "it is [1, 2], no JSON object"),
    "a text": ('"fsrcache"', "it is 'fsrcache', no JSON object"),
    "no node": ('{"attributes": {}}', "no Zarr group"),
    "a node of another kind": ('{"node_type": ["group"], "attributes": {"fsrcache": {}}}', "no Zarr group"),
    "an array": ('{"node_type": "array", "attributes": {}}', "a Zarr array but not a feature store"),
    "an empty record": ('{"node_type": "group", "attributes": {"fsrcache": {}}}', "version None"),
    "nothing": ("", "Expecting value"),
    "half": ('{"node_type": "gro', "Unterminated string"),
}


@pytest.mark.parametrize(("text", "said"), TEXTS.values(), ids=TEXTS)
def test_metadata_of_any_kind_are_refused_at_once(tmp_path, text, said):
    (tmp_path / "s").mkdir()
    (tmp_path / "s/zarr.json").write_text(text)
    refused(tmp_path / "s", said)


@pytest.mark.parametrize("command", ["info", "verify"])
def test_commands_answer_such_records_with_a_document(tmp_path, whole, command):
    for number, changes in enumerate([{"rows": {"train": HUGE}}, {"scales": list(range(1, 1_000_000))},
                                      {"classes": ["\ud800"]}, {"shards": 1}]):  # fmt: skip
        path = planted(tmp_path / f"s{number}", record_of(whole) | changes)
        done = run(command, path, "--json")
        assert done.returncode == 1
        assert done.answer["exit_code"] == 1
        assert "Traceback" not in done.stderr


def test_a_record_as_it_should_be_is_taken(tmp_path, whole):
    planted(tmp_path / "s", record_of(whole))
    assert FeatureStore(tmp_path / "s").spec.rows == {"train": 23, "val": 5}
    assert run("info", tmp_path / "s", "--json").answer["complete"]


def test_a_spec_that_could_not_be_read_again_is_not_written(example):
    deep = []
    for _ in range(30):
        deep = [deep]
    loop = {}
    loop["loop"] = loop
    for changes in ({"recipe": {"deep": deep}}, {"recipe": loop}, {"data": "a" * (9 << 20)},
                    {"recipe": {"a": 10**5000}}, {"scales": (1, 10**5000)}, {"classes": ("caf\udce9",)}):  # fmt: skip
        with pytest.raises(FsrcacheError) as error:
            replace(example.spec, **changes)
        assert len(str(error.value)) < 1000
        str(error.value).encode()
    assert replace(example.spec, classes=["a", "b"]).classes == ("a", "b")


def test_names_that_are_no_text_are_kept_escaped_and_long_ones_refused(tmp_path):
    spec = StoreSpec.for_vectors(2, rows={"train": 2}, classes=("a",), content={"pictures": "caf\udce9"})
    columns = {"labels": {"train": np.zeros(2, int)}, "ids": {"train": ["caf\udce9.png", "ü.png"]}}
    for _ in range(2):  # written, and opened again
        with FeatureWriter(tmp_path / "s", spec, **columns) as writer:
            for split, scale, block in writer.missing():
                writer.write(split, scale, block=block, features=[[1, 2], [3, 4]])
            assert writer.finish()
    assert FeatureStore(tmp_path / "s").ids("train").tolist() == ["caf\\udce9.png", "ü.png"]
    assert verify(tmp_path / "s").ok
    for name, letters in (("a" * 4097, 4097), ("\udce9" * 683, 4098)):
        with pytest.raises(FsrcacheError, match=f"A name of train has {letters} letters"):
            FeatureWriter(tmp_path / "long", spec, **columns | {"ids": {"train": [name, "b"]}})
