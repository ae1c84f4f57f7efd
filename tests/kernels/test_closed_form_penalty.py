"""The closed form of the penalty's gradient against autograd's double backward."""

import pytest
import torch
from fsrcache.kernels import closed_form_penalty
from fsrcache.kernels.closed_form_penalty import closed_form_critic, closed_form_penalty_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fsrcache.errors import FsrcacheError
from fsrcache.models.critic import VGGCritic
from fsrcache.presets import CriticConfig


def pictures(count, *shape):
    return torch.randn(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def assert_equal(got, expected):
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.shape == theirs.shape
        assert (mine - theirs).norm() <= 1e-12 * theirs.norm()


CRITICS = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 1)),
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(inplace=True), nn.Linear(5, 1, bias=False)),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same"), nn.LeakyReLU(0.2),
        nn.Sequential(nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, dilation=(1, 2), groups=2), nn.Identity()),
        nn.ReLU(),
        nn.Conv2d(6, 1, 4, padding="valid"), nn.Flatten(0),
    ),
    "one axis": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(1, 3, 5, stride=3), nn.LeakyReLU(), nn.Flatten(),
                                      nn.Linear(60, 1)),
    "vgg": lambda: VGGCritic(CriticConfig(filters=2), 8),
}  # fmt: skip


@pytest.mark.parametrize("form", CRITICS)
@pytest.mark.parametrize("power", [2.0, 6.0, 3.5])
def test_it_is_the_double_backward(form, power):
    torch.manual_seed(0)
    critic = CRITICS[form]().double()
    x = pictures(5, 1, 8, 8)
    kept = x.clone()
    value, grads = closed_form_penalty(critic, x, weight=3.0, power=power)
    expected, references = closed_form_penalty_reference(critic, x, weight=3.0, power=power)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert_equal(grads, references)
    assert all(parameter.grad is None for parameter in critic.parameters())
    assert torch.equal(x, kept)


@settings(deadline=None, max_examples=25)
@given(
    channels=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 2),
    slope=st.floats(0, 1),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_of_any_critic(channels, kernel, stride, slope, bias, seed):
    torch.manual_seed(seed)
    layers, incoming, side = [], 1, 9
    for outgoing in channels:
        layers += [nn.Conv2d(incoming, outgoing, kernel, stride=stride, padding=1, bias=bias), nn.LeakyReLU(slope)]
        incoming, side = outgoing, (side + 2 - kernel) // stride + 1
        if side + 2 < kernel:
            break
    critic = nn.Sequential(*layers, nn.Flatten(), nn.Linear(incoming * side**2, 1)).double()
    x = pictures(3, 1, 9, 9)
    value, grads = closed_form_penalty(critic, x)
    expected, references = closed_form_penalty_reference(critic, x)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert_equal(grads, references)


def test_it_joins_the_critics_own_terms():
    torch.manual_seed(0)
    critic = VGGCritic(CriticConfig(filters=2), 16).double()
    samples, x = pictures(6, 1, 16, 16), pictures(4, 1, 16, 16) / 2
    coefficients = torch.tensor([0.5, 1, 2, -1, -1, 0]).double()
    scores, value, grads = closed_form_critic(critic, samples, coefficients, x)
    torch.testing.assert_close(scores, critic(samples).detach(), rtol=1e-12, atol=1e-12)
    own = torch.autograd.grad((coefficients * critic(samples)).sum(), list(critic.parameters()))
    expected, references = closed_form_penalty_reference(critic, x)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert_equal(grads, [one + other for one, other in zip(own, references, strict=True)])


@pytest.mark.parametrize("form", CRITICS)
def test_it_joins_them_for_any_layers_and_leaves_what_it_gets(form):
    torch.manual_seed(0)
    critic = CRITICS[form]().double()
    samples, x = pictures(6, 1, 8, 8), pictures(4, 1, 8, 8) / 2
    given_samples, given_x = samples.clone(), x.clone()
    coefficients = torch.tensor([0.5, 1, 2, -1, -1, 0]).double()
    _, _, grads = closed_form_critic(critic, samples, coefficients, x)
    own = torch.autograd.grad((coefficients * critic(samples).flatten()).sum(), list(critic.parameters()))
    _, references = closed_form_penalty_reference(critic, x)
    assert_equal(grads, [one + other for one, other in zip(own, references, strict=True)])
    assert torch.equal(samples, given_samples)
    assert torch.equal(x, given_x)


def test_layers_that_share_their_weights():
    torch.manual_seed(0)
    twice = nn.Linear(5, 5)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), twice, nn.ReLU(), twice, nn.Linear(5, 1)).double()
    samples, x, coefficients = pictures(3, 1, 8, 8), pictures(4, 1, 8, 8) / 2, torch.ones(3).double()
    _, _, grads = closed_form_critic(critic, samples, coefficients, x)
    own = torch.autograd.grad(critic(samples).sum(), list(critic.parameters()))
    _, references = closed_form_penalty_reference(critic, x)
    assert_equal(grads, [one + other for one, other in zip(own, references, strict=True)])


def test_what_cancels_is_nothing():
    """Of biases whose gradient is 0 no rounding is left, of which Adam would make whole steps."""
    torch.manual_seed(0)
    critic = VGGCritic(CriticConfig(filters=4), 16)
    hr = torch.randn(8, 1, 16, 16)
    coefficients = torch.rand(8).repeat(2) * torch.tensor([1.0, -1.0]).repeat_interleave(8)
    _, _, grads = closed_form_critic(critic, hr.repeat(2, 1, 1, 1), coefficients, hr)
    biases = [gradient for gradient, known in zip(grads, critic.parameters(), strict=True) if known.ndim == 1]
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in biases)


def test_no_samples():
    critic = CRITICS["vgg"]()
    value, grads = closed_form_penalty(critic, torch.zeros(0, 1, 8, 8))
    assert value.item() == 0
    assert all(gradient.abs().sum() == 0 for gradient in grads)


@pytest.mark.slow
def test_it_compiles():
    critic = CRITICS["vgg"]().double()
    x = pictures(3, 1, 8, 8)
    value, grads = torch.compile(lambda x: closed_form_penalty(critic, x), backend="aot_eager", fullgraph=True)(x)
    expected, references = closed_form_penalty(critic, x)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert_equal(grads, references)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.BatchNorm2d(1), "1.0: BatchNorm2d"),
        (nn.GELU(), "1.0: GELU"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "1.0: Conv2d"),
        (nn.Conv2d(1, 1, 2, padding="same"), "1.0: Conv2d"),
        (Doubled(8, 8), "1.0: Doubled"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), "1.0: ParametrizedLinear"),
    ],
)
def test_another_layer_is_named(layer, named):
    critic = nn.Sequential(nn.Identity(), nn.Sequential(layer), nn.Flatten(), nn.Linear(64, 1))
    with pytest.raises(FsrcacheError, match=f"layer {named}"):
        closed_form_penalty(critic, torch.zeros(1, 1, 8, 8))


def test_a_hook_is_refused():
    critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    critic[1].register_forward_hook(lambda *_: None)
    with pytest.raises(FsrcacheError, match="layer 1: Linear"):
        closed_form_penalty(critic, torch.zeros(1, 1, 8, 8))


def test_two_numbers_a_sample_are_refused():
    with pytest.raises(FsrcacheError, match=r"\[3, 2\] for 3 samples"):
        closed_form_penalty(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), torch.zeros(3, 1, 8, 8))


def test_the_norm_of_columns():
    """The authors' norm: of every last-axis column by itself, the mean being over columns too."""
    torch.manual_seed(0)
    critic, x = CRITICS["vgg"]().double(), pictures(5, 1, 8, 8)
    closed = closed_form_critic(critic, x[:0], x.new_empty(0), x, weight=2.0, power=4.0, columns=True)
    entering = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(critic(entering).sum(), entering, create_graph=True)
    penalty = 2.0 * (g.square().sum(dim=(1, 2)) ** 2).mean()
    assert closed.penalty.item() == pytest.approx(penalty.item(), rel=1e-12)
    expected = torch.autograd.grad(penalty, list(critic.parameters()), allow_unused=True, materialize_grads=True)
    assert_equal(closed.grads, list(expected))
