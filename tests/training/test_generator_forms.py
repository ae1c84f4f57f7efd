"""A form of generator from outside the package: one file, and one item in the tuple of forms."""

import importlib
from dataclasses import replace

import pytest
import torch

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.models.generators import forms
from fsrcache.presets import TRAINING
from fsrcache.settings import resolved, with_settings
from fsrcache.training.run.train import train_generator

CPU = torch.device("cpu")
FILE = """
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import nn

from fsrcache.models.generators.form import GeneratorForm
from fsrcache.records import Between, check_fields


@dataclass(frozen=True, kw_only=True)
class ShiftConfig:
    form: Literal["shift"] = "shift"
    factor: Annotated[float, Between(0, 10)] = 1.0

    def __post_init__(self):
        check_fields(self)


class Shift(nn.Module):
    def __init__(self, config, length):
        super().__init__()
        self.factor, self.shift = config.factor, nn.Parameter(torch.zeros(length))
        self.register_buffer("mean", torch.zeros(length))

    def forward(self, features):
        return features + self.factor * self.shift


FORM = GeneratorForm(
    config=ShiftConfig,
    make=lambda config, features, plain: Shift(config, features.length),
    layers=lambda config: 1,
    vectors=True,
    standardise=lambda generator, mean, deviation: generator.mean.copy_(mean),
)
"""


@pytest.fixture
def shift(tmp_path, monkeypatch):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/shift_generator.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    module = importlib.import_module("shift_generator")
    monkeypatch.setattr(forms, "FORMS", (*forms.FORMS, module.FORM))
    yield module
    importlib.sys.modules.pop("shift_generator")


def test_a_form_from_outside_is_trained_saved_and_loaded(store, extractor, tmp_path, shift):
    config = with_settings(TRAINING["best"], ["generator.form=shift", "generator.factor=2", "steps=12", "batch=8"])
    assert type(config.generator) is shift.ShiftConfig
    assert dict(resolved(config))["generator.factor"] == "2.0"
    result = train_generator(store, extractor, config, folder=tmp_path / "run", device=CPU)
    generator, training = forms.load_generator(tmp_path / "run/generator.safetensors")
    assert result.steps == 12
    assert training["config"]["generator"] == {"form": "shift", "factor": 2.0}
    assert type(generator) is shift.Shift
    assert generator.factor == 2
    assert generator.shift.abs().min() > 0
    assert generator.mean.abs().min() > 0  # the statistics that it asked for


def test_settings_of_a_form_that_is_not_in_the_tuple_are_refused(store, extractor, tmp_path, shift, monkeypatch):
    config = replace(TRAINING["best"], generator=shift.ShiftConfig(), steps=12, batch=8)
    train_generator(store, extractor, config, folder=tmp_path / "run", device=CPU)
    monkeypatch.setattr(forms, "FORMS", forms.FORMS[:-1])
    with pytest.raises(RequestError, match=r"no generator with the settings ShiftConfig.*\n.*rrdb, mlp"):
        forms.form_of(config.generator)
    with pytest.raises(RequestError, match=r"generator.form is 'shift'.\nIt should be 'rrdb' or 'mlp'"):
        with_settings(TRAINING["best"], ["generator.form=shift"])
    with pytest.raises(FsrcacheError, match=r"generator.safetensors: training.config.generator.form is 'shift'"):
        forms.load_generator(tmp_path / "run/generator.safetensors")


@pytest.mark.parametrize("generator", [None, "mlp", {"form": "mlp"}, TRAINING["paper"].critic, shift])
def test_a_generator_is_settings_of_a_form(generator):
    with pytest.raises(RequestError, match=r"TrainConfig.generator is .*\nIt should be a record of settings"):
        replace(TRAINING["best"], generator=generator)
