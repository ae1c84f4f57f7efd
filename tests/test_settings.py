"""Settings as texts: read by the annotations, refused by name, and written so that they are read back as they were."""

import re
from dataclasses import dataclass, fields, replace
from itertools import product
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import click
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fsrcache.cli.main import group, main
from fsrcache.cli.options import set_option
from fsrcache.errors import RequestError
from fsrcache.evaluation.heads import MLP
from fsrcache.extractors.onnx_options import OnnxOptions
from fsrcache.faces.degrade import Degradation
from fsrcache.presets import EXTRACTORS, PRETRAINING, TRAINING, CriticConfig, ExtractorConfig, MLPConfig, RRDBConfig
from fsrcache.records import FormsOf, check_fields
from fsrcache.settings import differences, preset_in_words, resolved, with_settings
from fsrcache.workspace import Data

PRESETS = [*EXTRACTORS.values(), *PRETRAINING.values(), *TRAINING.values()]
BEST, PAPER = TRAINING["best"], TRAINING["paper"]


@dataclass(frozen=True)
class Unions:
    """Annotations that no preset has yet."""

    limit: int | None = 3
    choice: Literal["auto", 2] | float = "auto"
    pair: tuple[int, ...] | None = None

    def __post_init__(self):
        check_fields(self)


def values(hint):
    """Return a strategy of the values that an annotation allows."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated and isinstance(parts[1], FormsOf):
        return st.one_of(*map(values, parts[1].classes()))
    if origin is Annotated:
        low, high, below = parts[1].low, parts[1].high, parts[1].below
        return st.integers(low, high) if parts[0] is int else st.floats(low, high, exclude_max=below)
    if origin in (Union, UnionType):
        return st.one_of(*map(values, parts))
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is tuple:
        items = st.lists(values(parts[0]), max_size=3).map(tuple)
        return items if Ellipsis in parts else st.tuples(*map(values, parts))
    if hasattr(hint, "__dataclass_fields__"):
        return st.fixed_dictionaries(strategies(hint)).map(lambda chosen: hint(**chosen))
    return {bool: st.booleans(), type(None): st.none()}[hint]


def strategies(kind):
    hints = get_type_hints(kind, include_extras=True)
    chosen = {field.name: values(hints[field.name]) for field in fields(kind)}
    if "milestones" in chosen:
        chosen["milestones"] = chosen["milestones"].map(lambda steps: tuple(sorted(steps)))
    return chosen


@st.composite
def changes(draw, config):
    """Return a record in which some fields differ at random."""
    names = draw(st.sets(st.sampled_from([field.name for field in fields(config)])))
    changed = {name: draw(strategies(type(config))[name]) for name in sorted(names)}
    try:
        return replace(config, **changed)
    except RequestError:  # stages that do not fit the side
        assume(False)


def property_test(max_examples):
    slow_to_draw = [HealthCheck.filter_too_much, HealthCheck.too_slow]
    return settings(max_examples=max_examples, deadline=None, suppress_health_check=slow_to_draw)


@property_test(100)
@given(st.sampled_from(PRESETS), st.data())
def test_what_is_written_is_read_back(base, data):
    config = data.draw(changes(base))
    assignments = [f"{name}={text}" for name, text in resolved(config)]
    assert with_settings(base, assignments) == config
    assert with_settings(base, assignments[::-1]) == config


@property_test(100)
@given(st.sampled_from(PRESETS), st.data())
def test_differences_lead_from_one_record_to_another(base, data):
    config, other = data.draw(changes(base)), data.draw(changes(base))
    assert with_settings(base, differences(config, base)) == config
    assert with_settings(other, differences(config, other)) == config


@property_test(30)
@given(changes(PRETRAINING["paper"]))
def test_every_difference_is_needed(config):
    base = PRETRAINING["paper"]
    assignments = differences(config, base)
    for assignment in assignments:
        assert with_settings(base, [other for other in assignments if other != assignment]) != config


@pytest.mark.parametrize(("config", "base"), list(product(TRAINING.values(), repeat=2)))
def test_differences_between_presets(config, base):
    assert with_settings(base, differences(config, base)) == config
    assert (differences(config, base) == []) == (config == base)


@property_test(100)
@given(st.sampled_from([name for name, _ in resolved(PAPER)] + ["generator", "critic", "x"]), st.text(max_size=12))
def test_any_text_is_read_or_refused(name, text):
    try:
        config = with_settings(PAPER, [f"{name}={text}"])
    except RequestError:
        return
    assert with_settings(PAPER, differences(config, PAPER)) == config


@pytest.mark.parametrize(
    ("assignments", "change"),
    [
        (["l2_weight=0.5"], {"l2_weight": 0.5}),
        (["l2_weight=5"], {"l2_weight": 5.0}),
        ([" l2_weight = 5e-1 "], {"l2_weight": 0.5}),
        (["steps=7", "batch=8"], {"steps": 7, "batch": 8}),
        (["milestones=1000,2000", "schedule=milestones"], {"milestones": (1000, 2000), "schedule": "milestones"}),
        (["milestones=1000, 2000", "schedule=milestones"], {"milestones": (1000, 2000), "schedule": "milestones"}),
        (["milestones=5", "schedule=milestones"], {"milestones": (5,), "schedule": "milestones"}),
        (["milestones="], {"milestones": ()}),
        (["betas=0.5,0.75"], {"betas": (0.5, 0.75)}),
        (["reduction=sum"], {"reduction": "sum"}),
        (["reweight=none"], {"reweight": "none"}),
        (["critic=none"], {"critic": None}),
        (["critic.filters=8"], {"critic": CriticConfig(filters=8)}),
        (["generator.width=256"], {"generator": replace(BEST.generator, width=256)}),
        (["generator.form=mlp", "generator.width=256"], {"generator": replace(BEST.generator, width=256)}),
        (["generator.form=rrdb"], {"generator": RRDBConfig()}),
        (["generator.form=rrdb", "generator.growth=4"], {"generator": RRDBConfig(growth=4)}),
        (["generator.growth=4", "generator.form=rrdb"], {"generator": RRDBConfig(growth=4)}),
    ],
)
def test_values_are_read_by_their_annotations(assignments, change):
    changed = with_settings(BEST, assignments)
    assert changed == replace(BEST, **change)
    assert [type(getattr(changed, name)) for name in change] == [type(value) for value in change.values()]


@pytest.mark.parametrize(("words", "value"), [("true True yes on 1", True), ("false no NO off 0", False)])
def test_words_of_a_boolean(words, value):
    base = replace(PRETRAINING["tiny"], flip=not value)
    for word in words.split():
        assert with_settings(base, [f"flip={word}"]).flip is value


def test_tuples_in_a_tuple():
    changed = with_settings(EXTRACTORS["small"], ["stages=64/96,96/128"])
    assert changed == replace(EXTRACTORS["small"], stages=((64,), (96, 96), (128,)))
    assert dict(resolved(changed))["stages"] == "64/96,96/128"
    assert with_settings(EXTRACTORS["small"], ["stages=64,32", "spd_side=8"]).stages == ((64, 32),)


def test_a_critic_in_place_keeps_its_other_settings():
    authors = TRAINING["authors"]
    assert with_settings(authors, ["critic.filters=16"]).critic == CriticConfig(filters=16, bias=False)


def test_settings_that_hold_only_together():
    assert with_settings(EXTRACTORS["small"], ["spd_side=200", "stages=64/256"]).spd_side == 200


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("limit", "none", None),
        ("limit", "4", 4),
        ("choice", "auto", "auto"),
        ("choice", "2", 2),
        ("choice", "2.5", 2.5),
        ("pair", "1,2", (1, 2)),
        ("pair", "None", None),
    ],
)
def test_unions(name, text, value):
    base = Unions(limit=9, choice=1.0, pair=(0,))
    changed = with_settings(base, [f"{name}={text}"])
    assert changed == replace(base, **{name: value})
    assert dict(resolved(changed))[name] == text.lower()


@pytest.mark.parametrize(
    ("base", "assignments", "message"),
    [
        (BEST, ["l2_weight"], "The setting 'l2_weight' is not NAME=VALUE.\nAn example is generator.form=mlp."),
        (BEST, [5], "The setting 5 is no text.\nAn example is generator.form=mlp."),
        (BEST, ["=1"], "The setting '=1' is not NAME=VALUE."),
        (BEST, [""], "The setting '' is not NAME=VALUE."),
        (BEST, ["l2_weigth=1"], "The setting 'l2_weigth' is unknown.\nDid you mean l2_weight or "),
        (BEST, ["widht=1"], "The setting 'widht' is unknown.\nDid you mean generator.width or "),
        (BEST, ["generator.blokcs=1"], "The setting 'generator.blokcs' is unknown.\nDid you mean generator.blocks or "),
        (BEST, ["l2_weight.x=1"], "The setting 'l2_weight.x' is unknown.\nDid you mean l2_weight or "),
        (BEST, ["critic.form=vgg"], "The setting 'critic.form' is unknown.\nDid you mean generator.form or "),
        (PRETRAINING["tiny"], ["zzz=1"], "The setting 'zzz' is unknown.\nThe settings are epochs, batch, "),
        (BEST, ["steps=1", "steps=2"], "steps is set twice, to '1' and '2'.\nSet it once."),
        (BEST, ["l2_weight=x"], "l2_weight is 'x'.\nIt should be a finite number."),
        (BEST, ["l2_weight="], "l2_weight is ''.\nIt should be a finite number."),
        (BEST, ["l2_weight=nan"], "l2_weight is nan.\nIt should be a finite number."),
        (BEST, ["l2_weight=1e999"], "l2_weight is inf.\nIt should be a finite number."),
        (BEST, ["l2_weight=-1"], "l2_weight is -1.0.\nIt should be a finite number from 0 to 1e+38."),
        (BEST, ["steps=1.5"], "steps is '1.5'.\nIt should be a whole number."),
        (BEST, ["steps=" + "9" * 5000], "steps is '999"),
        (BEST, ["generator.width=0"], "generator.width is 0.\nIt should be a whole number from 1 to 65,536."),
        (BEST, ["reweight_critic=2"], "reweight_critic is '2'.\nIt should be true or false."),
        (BEST, ["reduction=max"], "reduction is 'max'.\nIt should be 'sum' or 'mean'."),
        (BEST, ["milestones=1,,2"], "milestones[1] is ''.\nIt should be a whole number."),
        (BEST, ["milestones=2,1"], "TrainConfig.milestones is (2, 1).\nThey ascend."),
        (BEST, ["betas=0.9"], "betas has 1 values.\nIt should be 2 values."),
        (EXTRACTORS["tiny"], ["stages=64/x"], "stages[1][0] is 'x'.\nIt should be a whole number."),
        (EXTRACTORS["tiny"], ["stages="], "ExtractorConfig.stages is ().\nEvery stage has a convolution."),
        (EXTRACTORS["tiny"], ["spd_side=65"], "The log-covariance's side is 65 and the convolutions end in 64"),
        (BEST, ["generator.form=cnn"], "generator.form is 'cnn'.\nIt should be 'rrdb' or 'mlp' or 'fsr'."),
        (BEST, ["generator.growth=1"], "generator.growth is a setting of the form rrdb, and generator.form is mlp.\n"
         "Set generator.form=rrdb, or leave generator.growth out."),
        (BEST, ["generator.form=rrdb", "generator.width=1"], "generator.width is a setting of the form mlp, and "),
        (BEST, ["generator=none"], "generator is 'none', and it has settings of its own.\nSet generator.form, "),
        (BEST, ["critic=vgg"], "critic is 'vgg', and it has settings of its own.\n"
         "Set critic=none, or critic.filters, critic.bias, critic.layers."),
        (BEST, ["critic=none", "critic.bias=no"], "critic is none, and critic.bias is set.\nLeave out one of the two."),
        (BEST, ["adversarial_weight=3"], "TrainConfig.adversarial_weight is 3.0, and there is no critic"),
        (BEST, ["penalty_weight=3"], "TrainConfig.penalty_weight is 3.0, and there is no critic"),
        (BEST, ["l2_weight=0", "perceptual_weight=0", "distillation_weight=0"],
         "TrainConfig has only weights of 0 for the generator: perceptual_weight, l2_weight, "),
        (TRAINING["authors"], ["l2_weight=0"], "TrainConfig.l2_steps is 40,000 and l2_weight is 0: nothing is learnt"),
        (PAPER, ["adversarial_weight=0"], "TrainConfig.adversarial_weight is 0 and there is a critic: it would be "
         "trained and reach nothing.\nSet critic=none, or adversarial_weight above 0."),
        (PAPER, ["critic_steps=0"], "critic_steps is 0.\nIt should be a whole number from 1 to 1,000."),
        (BEST, ["optimiser=adam"], "TrainConfig.weight_decay is 0.01, and optimiser is 'adam', which decays nothing: "
         "it has no effect.\nSet weight_decay=0.0, or optimiser=adamw."),
        (BEST, ["batch=2"], "TrainConfig.batch is 2, and generator.members is 3, each with a share of it.\n"),
        (BEST, ["generator.dropout=1"], "generator.dropout is 1.0.\nIt should be a finite number from 0 to below 1."),
        (BEST, ["batch=0"], "batch is 0.\nIt should be a whole number from 1 to 65,536."),
        (PRETRAINING["tiny"], ["learning_rate=-1"], "learning_rate is -1.0.\nIt should be a finite number from 0 "),
        (Degradation(), ["jpeg=0"], "jpeg is 0.\nIt should be a whole number from 1 to 100 or nothing."),
        (MLP, ["epochs=0"], "epochs is 0.\nIt should be a whole number from 1 to 1,000,000."),
        (Unions(), ["limit=x"], "limit is 'x'.\nIt should be a whole number or nothing."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(base, assignments, message):
    with pytest.raises(RequestError, match=f"^{re.escape(message)}"):
        with_settings(base, assignments)


CRITIC = ("critic.filters=8",)


@pytest.mark.parametrize(
    ("assignment", "unread", "read"),
    [
        ("adversarial_weight=3", (), CRITIC),
        ("penalty_weight=3", (), CRITIC),
        ("penalty_power=2", (), CRITIC),
        ("penalty_norm=column", (), CRITIC),
        ("critic_steps=2", (), CRITIC),
        ("reweight_critic=true", (), CRITIC),
        ("penalty_power=2", (*CRITIC, "penalty_weight=0"), CRITIC),
        ("penalty_norm=column", (*CRITIC, "penalty_weight=0"), CRITIC),
        ("sigma=2", ("reweight=none",), ()),
        ("exponent=2", ("reweight=none",), ()),
        ("reweight_critic=true", (*CRITIC, "reweight=none"), CRITIC),
        ("milestones=10,20", (), ("schedule=milestones",)),
        ("label_smoothing=0.2", (), ("classification_weight=1",)),
        ("weight_decay=0.1", ("optimiser=adam",), ()),
    ],
)
def test_a_setting_without_effect_is_refused_unless_it_is_its_default(assignment, unread, read):
    name = assignment.partition("=")[0]
    with pytest.raises(RequestError, match=rf"^TrainConfig\.{name} is .*: it has no effect\.\nSet {name}=") as refused:
        with_settings(BEST, [assignment, *unread])
    assert dict(resolved(with_settings(BEST, [assignment, *read])))[name] != dict(resolved(BEST))[name]
    neutral = re.search(r"Set (\S+), or ", str(refused.value))[1]
    with_settings(BEST, [neutral, *unread])
    if name not in ("penalty_norm", "penalty_power", "sigma", "critic_steps"):  # those have no 0
        with_settings(BEST, [f"{name}={'' if name == 'milestones' else 0}", *unread])


def test_presets_take_a_few_steps_without_another_setting():
    for preset in TRAINING.values():
        assert with_settings(preset, ["steps=2"]).steps == 2


ONNX = OnnxOptions(
    classes=("a", "b"), side=48, channel_order="rgb", mean=(0.0,) * 3, deviation=(1.0,) * 3, range="255", layout="nchw"
)
RECORDS = [BEST, PAPER, BEST.generator, PAPER.generator, PAPER.critic, EXTRACTORS["tiny"], PRETRAINING["tiny"], MLP,
           Degradation(), ONNX, Data("drawn")]  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: type(one).__name__)
def test_every_record_checks_every_field_when_it_is_made(record):
    for field in fields(record):
        for wrong in (object(), float("nan"), -1, 10**40, b"1", [1], {}):
            with pytest.raises(RequestError, match=rf"\b{field.name}\b"):
                replace(record, **{field.name: wrong})


def test_only_what_differs_is_named():
    assert differences(replace(BEST, steps=7, generator=replace(BEST.generator, width=256)), BEST) == [
        "generator.width=256",
        "steps=7",
    ]
    assert differences(replace(BEST, critic=CriticConfig()), BEST) == [
        "critic.filters=64",
        "critic.bias=true",
        "critic.layers=none",
    ]
    assert preset_in_words(replace(BEST, steps=7), TRAINING) == "preset best with steps=7"
    assert preset_in_words(PAPER, TRAINING) == "preset paper"
    assert differences(replace(PAPER, critic=None), PAPER) == ["critic=none"]
    assert differences(replace(PAPER, generator=MLPConfig()), PAPER)[0] == "generator.form=mlp"


def test_every_setting_is_shown():
    shown = dict(resolved(BEST))
    assert list(shown)[:3] == ["generator.form", "generator.width", "generator.blocks"]
    assert (shown["critic"], shown["betas"], shown["full_resolution"]) == ("none", "0.9,0.999", "0.125")
    assert len(shown) == len(fields(BEST)) - 1 + len(fields(MLPConfig))
    assert [name for name, _ in resolved(EXTRACTORS["small"])] == [field.name for field in fields(ExtractorConfig)]


def test_the_option_and_its_exit_code(monkeypatch, capsys):
    @click.command
    @set_option
    def show(assignments):
        click.echo(with_settings(BEST, assignments).l2_weight)

    monkeypatch.setattr(group, "get_command", lambda ctx, name: show)  # noqa: ARG005  # click's signature
    for arguments, code, message in (
        (["--set", "l2_weight=0.5", "--set", "batch=8"], 0, "0.5"),
        (["--set", "l2_wieght=0.5"], 2, "Did you mean l2_weight"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["show", *arguments])
        output = capsys.readouterr()
        assert ended.value.code == code
        assert message in output.out + output.err
