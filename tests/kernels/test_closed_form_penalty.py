"""The closed form of the penalty's gradient against autograd's double backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from fsrcache.errors import FsrcacheError
from fsrcache.kernels import closed_form_penalty
from fsrcache.kernels.closed_form_penalty import closed_form_critic, closed_form_penalty_reference
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


class Halved(nn.Sequential):
    def forward(self, x):
        return super().forward(x) / 2


class Backwards(nn.Sequential):
    def __iter__(self):
        return reversed(list(super().__iter__()))


def replaced(module):
    module.forward = lambda x: x


def alias(module):
    del module.weight
    module.weight = nn.Parameter(torch.zeros(8, 8)) * 2


CHANGES = {
    "forward hook": lambda module: module.register_forward_hook(lambda *_: None),
    "forward hook with keywords": lambda module: module.register_forward_hook(lambda *_: None, with_kwargs=True),
    "forward pre-hook": lambda module: module.register_forward_pre_hook(lambda *_: None),
    "full backward hook": lambda module: module.register_full_backward_hook(lambda *_: None),
    "full backward pre-hook": lambda module: module.register_full_backward_pre_hook(lambda *_: None),
    "forward of its own": replaced,
}
OF_LAYERS = {
    "hook of a weight": lambda layer: layer.weight.register_hook(lambda gradient: 2 * gradient),
    "weight that is no parameter": alias,
    "spectral norm": nn.utils.parametrizations.spectral_norm,
    "old spectral norm": nn.utils.spectral_norm,
    "pruning": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
}


def nested():
    return nn.Sequential(nn.Identity(), nn.Sequential(nn.Sequential(nn.Linear(8, 8)), nn.ReLU()), nn.Flatten(),
                         nn.Linear(64, 1))  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("path", ["", "1", "1.0", "1.0.0", "1.1", "2"])
def test_a_change_on_any_level_is_named(change, path):
    critic = nested()
    assert closed_form_penalty(critic, pictures(2, 1, 8, 8).float())[0] > 0
    CHANGES[change](critic.get_submodule(path))
    with pytest.raises(FsrcacheError, match=f"layer {path or 'itself'}: "):
        closed_form_penalty(critic, torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("change", OF_LAYERS)
def test_a_changed_layer_is_named(change):
    critic = nested()
    OF_LAYERS[change](critic[1][0][0])
    with pytest.raises(FsrcacheError, match=r"layer 1\.0\.0: "):
        closed_form_penalty(critic, torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("container", [Halved, Backwards])
@pytest.mark.parametrize("outer", [True, False])
def test_a_container_that_does_something_else_is_named(container, outer):
    layers = nn.Flatten(), nn.Linear(64, 1)
    critic = container(*layers) if outer else nn.Sequential(container(*layers), nn.Identity())
    with pytest.raises(FsrcacheError, match=f"layer {'itself' if outer else '0'}: {container.__name__}"):
        closed_form_penalty(critic, torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize(
    "register",
    [
        nn.modules.module.register_module_forward_hook,
        nn.modules.module.register_module_forward_pre_hook,
        nn.modules.module.register_module_full_backward_hook,
        nn.modules.module.register_module_full_backward_pre_hook,
    ],
)
def test_hooks_of_all_modules_are_refused(register):
    handle = register(lambda *_: None)
    try:
        with pytest.raises(FsrcacheError, match="hooks for all modules"):
            closed_form_penalty(nested(), torch.zeros(1, 1, 8, 8))
    finally:
        handle.remove()
    closed_form_penalty(nested(), torch.zeros(1, 1, 8, 8))


def test_a_frozen_parameter_has_no_gradient():
    torch.manual_seed(0)
    critic = CRITICS["mlp"]().double()
    critic[1].weight.requires_grad_(False)
    critic[1].bias.requires_grad_(False)
    samples, x = pictures(3, 1, 8, 8), pictures(4, 1, 8, 8) / 2
    _, _, grads = closed_form_critic(critic, samples, torch.ones(3).double(), x)
    assert [bool(gradient.any()) for gradient in grads] == [False, False, True]
    assert_equal(closed_form_penalty(critic, x)[1], closed_form_penalty_reference(critic, x)[1])


def test_a_parameter_in_two_layers():
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.LeakyReLU(0.1), nn.Linear(64, 64), nn.Linear(64, 1))
    critic[3].weight = critic[1].weight
    x = pictures(4, 1, 8, 8)
    value, grads = closed_form_penalty(critic.double(), x)
    expected, references = closed_form_penalty_reference(critic, x)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert_equal(grads, references)


def test_what_the_input_requires_and_where_it_is_from():
    critic, x = CRITICS["vgg"]().double(), pictures(3, 1, 8, 8)
    value, grads = closed_form_penalty(critic, x)
    with torch.inference_mode():
        inferred = x * 1
    for one in (x.clone().requires_grad_(), nn.Parameter(x), inferred, x.mT.contiguous().mT):
        again, others = closed_form_penalty(critic, one)
        assert again.item() == pytest.approx(value.item(), rel=1e-12)
        assert not again.requires_grad
        assert_equal(others, grads)
    _, _, mixed = closed_form_critic(critic, x, torch.ones(3).double(), x[:0])  # samples and no penalty
    own = torch.autograd.grad(critic(x).sum(), list(critic.parameters()))
    assert_equal(mixed, own)


@pytest.mark.parametrize(
    ("critic", "x", "said"),
    [
        (nested(), torch.zeros(2, 1, 8, 8).double(), "float64 on cpu"),
        (nested().bfloat16(), torch.zeros(2, 1, 8, 8), "torch.bfloat16 on cpu, torch.float32 on cpu"),
        (nested().bfloat16(), torch.zeros(2, 1, 8, 8).bfloat16(), "torch.bfloat16"),
        (nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 1).double(), nn.Flatten(0)), torch.zeros(2, 3), "torch.float64"),
        (nn.Sequential(nn.Linear(3, 1)), torch.zeros(3), r"x of shape \[3\]"),
        (nn.Sequential(nn.Linear(3, 1)), [1, 2], "samples of type list"),
        (nn.Sequential(nn.Linear(4, 1)), torch.zeros(2, 3), r"layer 0, Linear, does not take \[2, 3\]: mat1 and mat2"),
        (nn.Sequential(nn.LazyLinear(1)), torch.zeros(2, 3), "layer 0: LazyLinear"),
        (nn.Sequential(nn.Sequential(nn.Linear(3, 1), nn.Dropout())), torch.zeros(2, 3), "layer 0.1: Dropout"),
        (nn.Sequential(nn.ModuleList([nn.Linear(3, 1)])), torch.zeros(2, 3), "layer 0: ModuleList"),
        # a convolution of pictures without a batch, and axes that are made one: samples would be mixed
        (nn.Sequential(nn.Conv2d(2, 2, 8), nn.Flatten(0)), torch.zeros(2, 8, 8), r"layer 0, Conv2d.*\[2, 8, 8\]"),
        (nn.Sequential(nn.Flatten(0), nn.Linear(6, 2)), torch.zeros(2, 3), r"layer 0, Flatten.*\[2, 3\] into \[6\]"),
        (nn.Sequential(nn.Linear(3, 1), nn.Flatten(0), nn.Linear(2, 2)), torch.zeros(2, 3), "layer 2, Linear"),
    ],
)
def test_other_input_is_refused(critic, x, said):
    with pytest.raises(FsrcacheError, match=said):
        closed_form_penalty(critic, x)


def test_shapes_of_samples_are_checked():
    critic, x = nested(), torch.zeros(2, 1, 8, 8)
    others = (torch.zeros(3, 1, 8, 9), torch.zeros(3)), (x, torch.zeros(3)), (x, torch.zeros(2, 1))
    for samples, coefficients in others:
        with pytest.raises(FsrcacheError, match="coefficients"):
            closed_form_critic(critic, samples, coefficients, x)


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
