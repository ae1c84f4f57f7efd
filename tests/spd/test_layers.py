"""The layers are spd_learn's in values and gradients, and CovPoolFER's ops to the bit."""

from copy import deepcopy

import numpy as np
import pytest
import spd_learn.modules
import torch
from pyriemann.geometry.tangentspace import upper
from spd_learn.functional import sample_covariance
from torch import nn

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.kernels import bimap_covariance_pool, log_eig
from fsrcache.spd import BiMap, CovariancePool, LogEig, Vech


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def covariances(*batch, side=6):
    factors = drawn(*batch, side, 2 * side, seed=1)
    return factors @ factors.mT / side


def bimap(outgoing=3, incoming=6):
    return BiMap(incoming, outgoing, generator=torch.Generator().manual_seed(2))


def assert_same(ours, theirs, *tensors):
    """Compare two functions of some tensors, and their gradients under the same symmetric upstream gradient."""
    results = []
    for function in (ours, theirs):
        leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        value = function(*leaves)
        upstream = drawn(*value.shape, seed=3)
        upstream = upstream + upstream.mT if upstream.ndim > 2 else upstream
        results.append((value, *torch.autograd.grad(value, leaves, upstream)))
    for mine, reference in zip(*results, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-9)


def test_pooling_is_spd_learns_sample_covariance_with_a_ridge():
    def theirs(maps):
        covariance = spd_learn.modules.CovLayer(sample_covariance)(maps)
        trace = covariance.diagonal(dim1=-2, dim2=-1).sum(-1)
        return covariance + 0.01 * trace[:, None, None] * torch.eye(6)

    assert_same(CovariancePool(ridge=0.01), theirs, drawn(4, 6, 9))


def test_bimap_is_spd_learns_of_the_transposed_weight():
    ours, theirs = bimap().double(), spd_learn.modules.BiMap(6, 3, parametrized=False)

    def their_map(S, weight):
        return torch.func.functional_call(theirs, {"weight": weight.mT[None]}, S)

    def our_map(S, weight):
        return torch.func.functional_call(ours, {"weight": weight}, S)

    assert_same(our_map, their_map, covariances(4), ours.weight)


def test_logarithm_and_vector_are_spd_learns_reeig_and_logeig():
    floor = 0.5
    S = covariances(4)
    assert (torch.linalg.eigvalsh(S) < floor).any()
    theirs = nn.Sequential(spd_learn.modules.ReEig(floor), spd_learn.modules.LogEig())
    assert_same(nn.Sequential(LogEig(floor), Vech()), theirs, S)


def test_vech_is_spd_learns_and_pyriemanns_element_for_element():
    S = covariances(2, 3)
    assert torch.equal(Vech()(S), spd_learn.modules.Vech()(S))
    np.testing.assert_array_equal(Vech()(S), upper(S.numpy()))


def test_pooling_behind_a_bimap_is_both_in_turn():
    mapping = bimap().double()
    mapping.retract()
    fused, apart = CovariancePool(0.01, mapping), nn.Sequential(CovariancePool(0.01), mapping)
    torch.testing.assert_close(fused(drawn(4, 6, 9)), apart(drawn(4, 6, 9)), rtol=0, atol=1e-12)
    assert_same(fused, apart, drawn(4, 6, 9))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_are_covpoolfers_ops_to_the_bit(autocast, dtype):
    maps = drawn(4, 6, 3, 5).to(dtype, memory_format=torch.channels_last)
    mapping = bimap()
    expected = log_eig(bimap_covariance_pool(maps.flatten(2), mapping.weight, 1e-4), 1e-4)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logarithm = LogEig(1e-4)(CovariancePool(1e-4, mapping)(maps))
        assert torch.equal(logarithm, expected)
        assert Vech()(logarithm).dtype == torch.float32


def test_autocast_changes_no_bimap():
    S = covariances(4).float()
    with torch.autocast("cpu", torch.bfloat16):
        mapped = bimap()(S)
    assert torch.equal(mapped, bimap()(S))
    assert mapped.dtype == torch.float32


@pytest.mark.parametrize("mapping", [None, bimap()])
def test_pooling_takes_maps_and_one_sample(mapping):
    pool, maps = CovariancePool(bimap=mapping), drawn(2, 6, 3, 5)
    batch = pool(maps)
    side = 6 if mapping is None else 3
    assert batch.shape == (2, side, side)
    assert torch.equal(batch, pool(maps.flatten(2)))
    torch.testing.assert_close(pool(maps[0].flatten(1)), batch[0])
    torch.testing.assert_close(batch, batch.mT, rtol=0, atol=1e-14)
    assert (torch.linalg.eigvalsh(batch) > 0).all()


@pytest.mark.parametrize("layer", [bimap(), LogEig(), Vech()])
def test_matrices_have_any_number_of_batch_dimensions(layer):
    S = covariances(2, 3)
    expected = torch.stack([layer(some) for some in S])
    torch.testing.assert_close(layer(S), expected)
    torch.testing.assert_close(layer(S[1, 2]), expected[1, 2])
    assert layer(S[:0]).shape == (0, *expected.shape[1:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_results_are_fp32_or_float64(dtype):
    layers = nn.Sequential(CovariancePool(), bimap(), LogEig(), Vech())
    layers = layers.double() if dtype == torch.float64 else layers
    assert layers(drawn(2, 6, 9).to(dtype)).dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_a_users_training_loop_keeps_rows_orthonormal():
    mapping, truth = bimap(), bimap().weight.detach().roll(1, 1)
    maps = drawn(64, 6, 20, dtype=torch.float32) * torch.arange(1, 7)[:, None]
    pool = CovariancePool(bimap=mapping)
    target = bimap_covariance_pool(maps, truth, 1e-4)
    optimiser = torch.optim.Adam(pool.parameters(), lr=0.05)
    losses = []
    for _ in range(100):
        loss = (LogEig()(pool(maps)) - log_eig(target, 1e-4)).square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        mapping.project_gradient()
        across = mapping.weight.grad @ mapping.weight.mT  # antisymmetric on the tangent space
        assert (across + across.mT).abs().max() < 1e-5
        optimiser.step()
        mapping.retract()
        losses.append(loss.item())
    assert (mapping.weight @ mapping.weight.mT - torch.eye(3)).abs().max() < 1e-6
    assert losses[-1] < 0.1 * losses[0]


def test_a_weight_without_a_gradient_is_left_alone():
    mapping = bimap()
    mapping.project_gradient()
    assert mapping.weight.grad is None


def test_a_double_bimap_is_orthonormal_in_float64():
    mapping = bimap().double()
    mapping.retract()
    assert (mapping.weight @ mapping.weight.mT - torch.eye(3)).abs().max() < 1e-14


def test_the_initial_weight_is_the_generators():
    assert torch.equal(bimap().weight, bimap().weight)
    weight = bimap().weight
    assert (weight @ weight.mT - torch.eye(3)).abs().max() < 1e-6
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        first, second = BiMap(6, 3).weight, BiMap(6, 3).weight
        torch.manual_seed(5)
        assert torch.equal(BiMap(6, 3).weight, first)
    assert not torch.equal(first, second)


def test_layers_are_made_on_the_default_device():
    with torch.device("meta"):
        network = nn.Sequential(CovariancePool(bimap=bimap()), LogEig(), Vech(), nn.Linear(6, 2))
    assert {weight.device.type for weight in network.parameters()} == {"meta"}
    assert network(torch.empty(2, 6, 5, device="meta")).shape == (2, 2)


def test_a_network_of_the_layers_is_compiled_whole():
    network = nn.Sequential(nn.Conv2d(3, 6, 3), CovariancePool(bimap=bimap()), LogEig(), Vech(), nn.Linear(6, 2))
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    x = drawn(2, 3, 6, 6, dtype=torch.float32)
    gradients = [torch.autograd.grad(one(x).square().sum(), [*network.parameters()]) for one in (network, compiled)]
    torch.testing.assert_close(*gradients)


def test_state_and_copies():
    pool, other = CovariancePool(bimap=bimap()), CovariancePool(bimap=BiMap(6, 3))
    assert list(pool.state_dict()) == ["bimap.weight"]
    assert not [name for layer in (CovariancePool(), LogEig(), Vech()) for name in layer.state_dict()]
    other.load_state_dict(pool.state_dict())
    maps = drawn(2, 6, 9)
    copied = deepcopy(pool)
    assert torch.equal(other(maps), pool(maps))
    assert torch.equal(copied(maps), pool(maps))
    assert copied.bimap.weight.data_ptr() != pool.bimap.weight.data_ptr()


def test_reprs_say_the_settings():
    layers = nn.Sequential(CovariancePool(0.01, bimap()), LogEig(1e-3), Vech())
    text = " ".join(repr(layers).split())
    assert "CovariancePool( ridge=0.01 (bimap): BiMap(in_features=6, out_features=3) )" in text
    assert "LogEig(floor=0.001)" in text
    assert "Vech()" in text


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: BiMap(3, 6), "from 3 to 6 features"),
        (lambda: BiMap(6, 0), "out_features is 0"),
        (lambda: BiMap(6.0, 3), "in_features is 6.0"),
        (lambda: CovariancePool(-1.0), "ridge is -1.0"),
        (lambda: CovariancePool(float("nan")), "ridge is nan"),
        (lambda: CovariancePool(bimap=torch.eye(2)), "bimap is tensor"),
        (lambda: LogEig(0.0), "floor is 0.0"),
        (lambda: LogEig("low"), "floor is 'low'"),
    ],
)
def test_settings_that_cannot_be_are_refused(call, words):
    with pytest.raises(RequestError, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CovariancePool()(torch.zeros(5)), r"CovariancePool got shape \[5\]"),
        (lambda: CovariancePool()(torch.zeros(1, 2, 3, 4, 5)), r"CovariancePool got shape \[1, 2, 3, 4, 5\]"),
        (lambda: CovariancePool()(torch.zeros(2, 6, 0)), r"shape \[2, 6, 0\]"),
        (lambda: CovariancePool()(torch.zeros(2, 6, 4, dtype=torch.int64)), "torch.int64"),
        (lambda: CovariancePool()(np.zeros((2, 6, 4))), "CovariancePool got array"),
        (lambda: CovariancePool(bimap=bimap())(torch.zeros(2, 5, 4)), r"\[3, 6\]"),
        (lambda: bimap()(torch.eye(5)), r"BiMap got matrices of shape \[5, 5\]"),
        (lambda: bimap()(torch.zeros(6)), r"BiMap got shape \[6\]"),
        (lambda: bimap()(torch.zeros(6, 6, device="meta")), "on meta"),
        (lambda: bimap()(torch.eye(6, dtype=torch.int64)), "torch.int64"),
        (lambda: LogEig()(torch.zeros(2, 3)), r"LogEig got shape \[2, 3\]"),
        (lambda: LogEig()(torch.zeros(2, 0, 0)), r"LogEig got shape \[2, 0, 0\]"),
        (lambda: LogEig()([[1.0]]), r"LogEig got \[\[1.0\]\]"),
        (lambda: LogEig(1e-300)(torch.eye(3)), "the floor 1e-300"),
        (lambda: Vech()(torch.zeros(2, 3)), r"\[2, 3\]"),
    ],
)
def test_inputs_that_cannot_be_are_refused(call, words):
    with pytest.raises(FsrcacheError, match=words):
        call()
