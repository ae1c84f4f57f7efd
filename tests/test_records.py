"""Values from outside: each kind of wrong one is refused with its field, and never by Python's own error."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
import pytest

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.presets import EXTRACTORS, PRETRAINING, TRAINING, CriticConfig, ExtractorConfig, MLPConfig, TrainConfig
from fsrcache.records import Between, check_fields, check_value, parse_json, shortened, value_from


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"]
    share: Annotated[float, Between(0, 1, below=True)] = 0.5

    def __post_init__(self):
        check_fields(self)


class Outer(TypedDict):
    name: str
    inner: Inner | None
    pair: tuple[int, float]
    more: dict[str, Any]


GOOD = {"name": "ü", "inner": {"kind": "a", "share": 0}, "pair": [1, 2], "more": {"any": [None]}}


def test_a_record_becomes_what_its_annotations_say():
    found = value_from(Outer, GOOD, where="file")
    assert found == {"name": "ü", "inner": Inner("a", 0.0), "pair": (1, 2.0), "more": {"any": [None]}}
    assert isinstance(found["pair"][1], float)
    assert value_from(Outer, {**GOOD, "inner": None}, where="file")["inner"] is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": None}, "file: record.name is None; it should be text."),
        ({"name": "\ud800"}, r"file: record.name is '\\ud800'; it should be text of whole characters."),
        ({"inner": 3}, "file: record.inner is 3; it should be an object of fields or nothing."),
        ({"inner": {"kind": "c", "share": 0}}, "file: record.inner.kind is 'c'; it should be 'a' or 'b'."),
        ({"inner": {"kind": "a"}}, "file: record.inner.share is missing."),
        ({"inner": {"kind": "a", "share": 1}}, "file: record.inner.share is 1; it should be a finite number from 0 to"),
        ({"inner": {"kind": "a", "share": 10**400}}, "file: record.inner.share is 1000"),
        ({"inner": {"kind": "a", "share": True}}, "file: record.inner.share is True; it should be a finite number."),
        ({"inner": {"kind": "a", "share": "1"}}, "file: record.inner.share is '1'; it should be a finite number."),
        ({"pair": [1.0, 2]}, r"file: record.pair\[0\] is 1.0; it should be a whole number."),
        ({"pair": [True, 2]}, r"file: record.pair\[0\] is True; it should be a whole number."),
        ({"pair": [1]}, "file: record.pair has 1 values; it should be 2 values."),
        ({"pair": "12"}, "file: record.pair is '12'; it should be a list."),
        ({"more": []}, r"file: record.more is \[\]; it should be an object of fields."),
        ({"other": 1}, "file: record.other is unknown; the fields are name, inner, pair, more."),
    ],
)
def test_what_is_wrong_is_named(change, told):
    with pytest.raises(FsrcacheError, match=told):
        value_from(Outer, {**GOOD, **change}, where="file", name="record")


@pytest.mark.parametrize("value", [None, 3, "text", [], [GOOD], True])
def test_a_record_is_an_object(value):
    with pytest.raises(FsrcacheError, match=r"file: the record is .*; it should be an object of fields"):
        value_from(Outer, value, where="file")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b'{"a": NaN}', "NaN is no number that may stand there"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1e999}', "1e999 is no number"),
        (b'{"a": 1, "b": 2, "a": 1}', "'a' stands there twice"),
        (b"[" * 33 + b"]" * 33, "nested deeper than 32"),
        (b"[" * 100_000, "nested deeper than 32"),
        (b'{"a":' * 100_000, "nested deeper than 32"),
        (b"1" + b"0" * 5000, "cannot be read"),
        (b" " * (1 << 24) + b"1", "it has 16,777,217 bytes"),
    ],
)
def test_what_is_no_document_is_refused(text, told):
    with pytest.raises(FsrcacheError, match=f"file cannot be read: .*{told}|{told}"):
        parse_json(text, where="file")


def test_thirty_two_levels_are_allowed():
    assert parse_json("[" * 32 + "]" * 32, where="file") is not None


def test_values_are_shown_in_short():
    assert shortened("a" * 1000) == "'" + "a" * 56 + "..."
    assert shortened(10**5000) == "a int too large to be shown"


@pytest.mark.parametrize(
    ("preset", "change", "told"),
    [
        (TRAINING["best"], {"l2_weight": -3}, "TrainConfig.l2_weight is -3"),
        (TRAINING["best"], {"steps": 0}, "TrainConfig.steps is 0"),
        (TRAINING["best"], {"steps": 2**64}, "TrainConfig.steps is 18446744073709551616"),
        (TRAINING["best"], {"steps": 10**5000}, "TrainConfig.steps is a int too large"),
        (TRAINING["best"], {"batch": 0}, "TrainConfig.batch is 0"),
        (TRAINING["best"], {"batch": 8.0}, "TrainConfig.batch is 8.0"),
        (TRAINING["best"], {"sigma": float("nan")}, "TrainConfig.sigma is nan"),
        (TRAINING["best"], {"learning_rate": float("inf")}, "TrainConfig.learning_rate is inf"),
        (TRAINING["best"], {"betas": (0.9, 1.0)}, r"TrainConfig.betas\[1\] is 1.0"),
        (TRAINING["best"], {"betas": (0.9,)}, "TrainConfig.betas has 1 values"),
        (TRAINING["best"], {"milestones": [1, 2]}, r"TrainConfig.milestones is \[1, 2\]"),
        (TRAINING["best"], {"milestones": (2, 1)}, r"TrainConfig.milestones is \(2, 1\)"),
        (TRAINING["best"], {"reweight": "LR"}, "TrainConfig.reweight is 'LR'"),
        (TRAINING["best"], {"generator": {"form": "mlp"}}, "TrainConfig.generator is {'form': 'mlp'}"),
        (TRAINING["best"], {"generator_steps": 0}, "TrainConfig.generator_steps is 0"),
        (TRAINING["paper"].generator, {"blocks": 10**9}, "RRDBConfig.blocks is 1000000000"),
        (TRAINING["best"].generator, {"members": 0}, "MLPConfig.members is 0"),
        (TRAINING["best"].generator, {"rank": 10**6}, "MLPConfig.rank is 1000000"),
        (TRAINING["best"].generator, {"form": "rrdb"}, "MLPConfig.form is 'rrdb'"),
        (CriticConfig(), {"bias": 1}, "CriticConfig.bias is 1"),
        (PRETRAINING["tiny"], {"batch": 1}, "PretrainConfig.batch is 1"),
        (PRETRAINING["tiny"], {"epochs": 10**9}, "PretrainConfig.epochs is 1000000000"),
        (EXTRACTORS["tiny"], {"stages": ((8, "9"),)}, r"ExtractorConfig.stages\[0\]\[1\] is '9'"),
        (EXTRACTORS["tiny"], {"stages": ()}, r"ExtractorConfig.stages is \(\)"),
        (EXTRACTORS["tiny"], {"stages": ((8,), ())}, r"ExtractorConfig.stages is \(\(8,\), \(\)\)"),
        (EXTRACTORS["tiny"], {"floor": 0.0}, "ExtractorConfig.floor is 0.0"),
        (EXTRACTORS["tiny"], {"side": 10**5}, "ExtractorConfig.side is 100000"),
    ],
)
def test_settings_check_themselves(preset, change, told):
    with pytest.raises(RequestError, match=told):
        replace(preset, **change)


@pytest.mark.parametrize("preset", [*TRAINING.values(), *PRETRAINING.values(), *EXTRACTORS.values()])
def test_settings_go_through_json(preset):
    again = value_from(type(preset), json.loads(json.dumps(asdict(preset))), where="file")
    assert again == preset
    if isinstance(preset, TrainConfig):
        assert type(again.generator) is type(preset.generator)


def test_the_form_of_a_generator_decides_what_is_said():
    record = json.loads(json.dumps(asdict(MLPConfig())))
    with pytest.raises(FsrcacheError, match=r"file: width is -1; it should be a whole number from 1"):
        value_from(TrainConfig.__annotations__["generator"], {**record, "width": -1}, where="file")
    with pytest.raises(FsrcacheError, match=r"file: form is 'gan'; it should be 'rrdb' or 'mlp'"):
        value_from(TrainConfig.__annotations__["generator"], {**record, "form": "gan"}, where="file")


def test_what_a_record_knows_beyond_types_names_the_file_too():
    record = {**json.loads(json.dumps(asdict(EXTRACTORS["tiny"]))), "spd_side": 100}
    with pytest.raises(FsrcacheError, match=r"file: The log-covariance's side is 100") as told:
        value_from(ExtractorConfig, record, where="file")
    assert told.value.exit_code == 1


def test_arguments_are_checked_alike():
    check_value(tuple[str, ...], ("a", "b"), name="classes")
    with pytest.raises(RequestError, match=r"classes is \['a'\]"):
        check_value(tuple[str, ...], ["a"], name="classes")


@pytest.mark.parametrize(
    ("form", "value", "words"),
    [(int, np.int64(3), "a whole number, Python's int"), (float, np.float32(0.5), "a finite number, Python's float")],
)
def test_a_number_of_numpys_is_told_from_one_of_pythons(form, value, words):
    with pytest.raises(RequestError) as caught:
        check_value(form, value, name="number")
    assert caught.value.remedy == f"It should be {words}."
