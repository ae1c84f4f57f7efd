"""The gradient penalty: a linear critic's by hand, any critic's against finite differences."""

import pytest
import torch

from fsrcache.models.critic import VGGCritic
from fsrcache.presets import CriticConfig
from fsrcache.training.step.penalty import gradient_penalty


def pair(count=2, side=8):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 1, side, side, dtype=torch.float64, generator=generator) for _ in range(2)]


@pytest.mark.parametrize(("norm", "expected"), [("full", 2 * (4 * 9.0) ** 3), ("column", 2 * (2 * 9.0) ** 3)])
def test_a_linear_critic(norm, expected):
    hr, sr = pair(side=2)
    slope = torch.full((4,), 3.0, dtype=torch.float64)
    got = gradient_penalty(
        lambda x: x.flatten(1) @ slope, hr=hr, sr=sr, mix=torch.rand(2), weight=2.0, power=6.0, norm=norm
    )
    assert got.item() == pytest.approx(expected, rel=1e-6)


def test_the_place_is_mixed_per_sample():
    hr, sr = pair(side=2)
    seen = []

    def critic(x):
        seen.append(x.detach().clone())
        return x.square().sum(dim=(1, 2, 3))

    mix = torch.tensor([0.0, 1.0], dtype=torch.float64)
    gradient_penalty(critic, hr=hr, sr=sr, mix=mix, weight=1.0, power=2.0)
    torch.testing.assert_close(seen[0], torch.stack([hr[0], sr[1]]))


def test_its_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    critic = VGGCritic(CriticConfig(filters=2), 8).double()
    for parameter in critic.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    hr, sr = pair()
    mix = torch.tensor([0.3, 0.8], dtype=torch.float64)

    def value():
        return gradient_penalty(critic, hr=hr, sr=sr, mix=mix, weight=2.0, power=4.0)

    weight = critic[0].weight
    (gradient,) = torch.autograd.grad(value(), weight)
    step = 1e-6
    for index in [(0, 0, 0, 0), (1, 0, 2, 1)]:
        weight.data[index] += step
        above = value().item()
        weight.data[index] -= 2 * step
        below = value().item()
        weight.data[index] += step
        assert gradient[index].item() == pytest.approx((above - below) / (2 * step), rel=1e-4)
