"""RCAN and Meta-SR: their published sizes, any picture's side, positions in whole numbers, and their files."""

from fractions import Fraction
from math import ceil

import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.models.super_resolution.forms import load_super_resolver, make_super_resolver, save_super_resolver
from fsrcache.models.super_resolution.meta_sr import positions
from fsrcache.models.super_resolution.presets import META_SR, RCAN, MetaSRConfig, RCANConfig

TINY_RCAN = RCANConfig(groups=2, blocks=1, features=4, reduction=2)
TINY_META_SR = MetaSRConfig(blocks=2, layers=2, growth=3, features=4, hidden=5)


def parameters(config, **options):
    with torch.device("meta"):
        network = make_super_resolver(config, channels=3, **options)
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(("scale", "count"), [(2, 15_444_643), (3, 15_629_283), (4, 15_592_355), (8, 15_740_067)])
def test_rcan_has_the_papers_parameters(scale, count):
    assert parameters(RCAN["published"].network, scale=scale) == count  # 24 less than with two 1x1 shifts of the mean


def test_meta_sr_has_the_papers_parameters():
    assert parameters(META_SR["published"].network) == 22_419_072


def make(config, scale=None, channels=1):
    network = make_super_resolver(config, channels=channels, scale=scale, seed=3)
    network.get_buffer("mean").fill_(100.0)
    return network


@pytest.mark.parametrize("side", [5, 13, 100])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("config", "scales"), [(TINY_RCAN, (2, 3, 4, 8)), (TINY_META_SR, (1.1, 2, 2.5, 3, 7, 8))])
def test_any_side_is_met(config, scales, channels, side):
    for scale in scales:
        exact = Fraction(round(10 * scale), 10)
        small = torch.rand(2, channels, *[ceil(side / exact)] * 2) * 255
        enlarged = make(config, scale if config is TINY_RCAN else None, channels)(small, exact, side)
        assert (enlarged.shape, enlarged.dtype) == ((2, channels, side, side), torch.float32)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_row_of_the_result_lies_where_its_scale_says(channels_last):
    """A Meta-SR whose filters take the middle pixel is nearest neighbour."""
    network = make(TINY_META_SR)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        network.first.weight[0, 0, 1, 1] = 1  # through the long skip
        network.filters[-1].bias[4] = 1  # of the first channel, the middle of nine
    small = torch.arange(4 * 4.0).reshape(1, 1, 4, 4) * 10
    assert torch.allclose(network(small, Fraction(2), 8), small.repeat_interleave(2, 2).repeat_interleave(2, 3))
    rows = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3, 3])  # floor(i / 2.5)
    assert torch.allclose(network(small, Fraction(5, 2), 10), small[:, :, rows][..., rows])


@pytest.mark.parametrize("tenths", range(11, 41))
def test_positions_are_exact(tenths):
    below, offsets = positions(200, Fraction(tenths, 10))
    for row in range(200):
        assert below[row] * tenths <= 10 * row < (below[row] + 1) * tenths
        assert offsets[row] == float(Fraction(10 * row, tenths) - below[row])


def test_another_scale_than_rcans_is_resized():
    network, small = make(TINY_RCAN, 3), torch.rand(1, 1, 5, 5) * 255
    assert torch.equal(network(small, Fraction(3), 14), network(small, Fraction(3), 15)[..., :14, :14])
    whole = network(torch.full((1, 1, 5, 5), 100.0), Fraction(14, 5), 14)
    assert whole.shape[-1] == 14
    assert not torch.equal(network(small, Fraction(14, 5), 14), network(small, Fraction(3), 14))


@pytest.mark.parametrize(("config", "scale"), [(TINY_RCAN, 4), (TINY_META_SR, None)])
def test_every_weight_has_a_gradient(config, scale):
    network = make(config, scale)
    network(torch.rand(2, 1, 6, 6) * 255, Fraction(4), 24).square().mean().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in network.parameters())


@pytest.mark.parametrize(("name", "scale"), [("rcan", 4), ("meta-sr", None)])
def test_a_file_gives_the_network_back(tmp_path, name, scale):
    config = {"rcan": TINY_RCAN, "meta-sr": TINY_META_SR}[name]
    network, path = make(config, scale), tmp_path / "network.safetensors"
    record = {
        "config": {"network": vars(config), "steps": 1, "batch": 2, "patch": 3, "learning_rate": 0.1}, "seed": 3,
        "scales": [4.0], "degradation": {}, "data": "d", "pictures": False, "start": "", "precision": "fp32",
        "threads": 1,
    }  # fmt: skip
    save_super_resolver(path, network, training=record)
    read, training = load_super_resolver(path)
    assert training["config"].network == config
    small = torch.rand(2, 1, 6, 6) * 255
    assert torch.equal(read(small, Fraction(4), 24), network(small, Fraction(4), 24))
    wider = {**record, "config": {**record["config"], "network": {**vars(config), "features": 9}}}
    save_super_resolver(path, network, training=wider)
    with pytest.raises(FsrcacheError, match="its tensors are not those of its record"):
        load_super_resolver(path)
    if scale is not None:
        network.scale = None
        save_super_resolver(path, network, training=record)
        with pytest.raises(FsrcacheError, match=r"network\.safetensors.*without a scale"):
            load_super_resolver(path)
