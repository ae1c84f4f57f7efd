"""FSR's networks: the published layers at the published size, other sides, gradients, and the closed-form penalty."""

from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from fsrcache.errors import RequestError
from fsrcache.kernels.closed_form_penalty import closed_form_penalty
from fsrcache.models.critic import FSRCritic, VGGCritic, make_critic
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.forms import form_of, load_generator, make_generator, save_generator
from fsrcache.models.generators.fsr import FSRConfig
from fsrcache.presets import TRAINING, CriticConfig
from fsrcache.records import value_from
from fsrcache.rows.fsr import SETTINGS
from fsrcache.spd import vech_length
from fsrcache.training.step.penalty import gradient_penalty

CRITIC = CriticConfig(filters=8, layers="fsr")


def layers(module, kind):
    return [one for one in module.modules() if isinstance(one, kind)]


def test_the_published_layers():
    with torch.device("meta"):
        generator, critic = make_generator(FSRConfig(), FeatureForm(vech_length(64), 64)), make_critic(CRITIC, 64)
    shapes = [(one.kernel_size[0], one.stride[0], one.out_channels) for one in layers(generator, nn.Conv2d)]
    assert shapes == [(8, 1, 4), (5, 2, 8), (5, 1, 16), (5, 2, 32), (5, 1, 64), (5, 2, 128)]
    assert [one.p for one in layers(generator, nn.Dropout)] == [0.7]
    (linear,) = layers(generator, nn.Linear)
    assert (linear.in_features, linear.out_features) == (128 * 8 * 8, vech_length(64))
    shapes = [(one.kernel_size[0], one.stride[0], one.out_channels) for one in layers(critic, nn.Conv2d)]
    assert shapes == [(5, 2, 8), (5, 2, 16), (3, 2, 32), (3, 1, 64)]
    (linear,) = layers(critic, nn.Linear)
    assert (linear.in_features, linear.out_features) == (64 * 8 * 8, 1)


@pytest.mark.parametrize("side", [1, 6, 9, 16])
def test_any_side_and_every_weight_learns(side):
    torch.manual_seed(0)
    generator, critic = make_generator(FSRConfig(), FeatureForm(vech_length(side), side)), make_critic(CRITIC, side)
    features = torch.randn(3, vech_length(side))
    generated = generator.eval()(features)
    assert (generated.shape, generated.dtype) == (features.shape, torch.float32)
    scores = critic(torch.randn(3, 1, side, side))
    assert scores.shape == (3,)
    for module, out in ((generator, generated), (critic, scores)):
        torch.autograd.backward(out.square().sum())
        assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in module.parameters())


def test_the_penalty_has_its_closed_form():
    torch.manual_seed(1)
    critic = make_critic(CRITIC, 9).double()
    fine, coarse = torch.randn(2, 4, 1, 9, 9, dtype=torch.float64)
    mix = torch.rand(4).double()
    penalty = gradient_penalty(critic, hr=fine, sr=coarse, mix=mix, weight=2.0, power=6.0)
    expected = torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True)
    closed, grads = closed_form_penalty(critic, fine + mix[:, None, None, None] * (coarse - fine))
    torch.testing.assert_close(closed, penalty.detach())
    for one, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other)


def test_the_critic_is_chosen_by_its_settings():
    assert isinstance(make_critic(CRITIC, 8), FSRCritic)
    assert isinstance(make_critic(CriticConfig(filters=8), 8), VGGCritic)
    with pytest.raises(RequestError, match="plain vectors"):
        make_critic(CRITIC, None)


def test_a_record_without_the_layers_is_of_the_first_critic():
    assert value_from(CriticConfig, {"filters": 64, "bias": True}, where="a file") == TRAINING["paper"].critic


def test_it_is_written_and_read_again(tmp_path):
    torch.manual_seed(2)
    config, form = FSRConfig(dropout=0.5), FeatureForm(vech_length(6), 6)
    assert form_of(config).name == "fsr"
    generator = make_generator(config, form).eval()
    training = {
        "config": asdict(replace(SETTINGS, generator=config)), "seed": 0, "store": {}, "scales": [1, 2],
        "channels": 1, "degradation": None,
        "device": "cpu", "precision": "fp32", "threads": 1, "plain": False, "order": "faces", "steps": 5,
    }  # fmt: skip
    save_generator(tmp_path / "g", generator, features=form, training=training)
    features = torch.randn(2, vech_length(6))
    torch.testing.assert_close(load_generator(tmp_path / "g")[0](features), generator(features))
