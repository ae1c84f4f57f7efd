"""The study of super-resolvers on pictures with their small versions: bicubic's figures are Set5's own."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from fsrcache.faces.bicubic import imresize
from fsrcache.models.super_resolution.forms import make_super_resolver, save_super_resolver
from fsrcache.models.super_resolution.presets import MetaSRConfig, RCANConfig
from studies.super_resolution import main, scored

CONFIGS = {
    "x2": (RCANConfig(groups=1, blocks=1, features=4), 2),
    "network": (MetaSRConfig(blocks=1, layers=1, growth=2, features=4, hidden=4), None),
}


@pytest.fixture(params=CONFIGS)
def row(request, tmp_path):
    """Return a folder with an untrained network for colours, and one for grey in ``grey``."""
    config, scale = CONFIGS[request.param]
    for folder, channels in ((tmp_path, 3), (tmp_path / "grey", 1)):
        record = {
            "config": {"network": vars(config), "steps": 1, "batch": 2, "patch": 3, "learning_rate": 0.1}, "seed": 3,
            "scales": [2.0], "degradation": {}, "data": "d", "pictures": False, "start": "", "precision": "fp32",
            "threads": 1,
        }  # fmt: skip
        network = make_super_resolver(config, channels=channels, scale=scale)
        save_super_resolver(folder / f"{request.param}.safetensors", network, training=record)
    return tmp_path


def test_the_table(row):
    random = np.random.default_rng(0)
    for kind in ("hr", "lr"):
        (row / kind).mkdir()
    for name, shape in (("a", (40, 60, 3)), ("b", (60, 40))):
        large = imresize(random.integers(0, 256, (9, 9, *shape[2:]), np.uint8), size=shape[:2])
        Image.fromarray(large).save(row / f"hr/{name}_x2.png")
        Image.fromarray(imresize(large, scale=0.5)).save(row / f"lr/{name}_x2.png")
    done = CliRunner().invoke(main, [str(row / "grey"), str(row)])
    assert done.exit_code == 0, done.output
    scale, count, ours, bicubic, *_ = done.stdout.splitlines()[2].strip("| ").split(" | ")
    assert (scale, count) == ("x2", "2")
    assert 0 < float(ours) < 20 < float(bicubic)
    assert len(done.stdout.splitlines()) == 3  # no pictures at other scales


def test_a_picture_that_is_not_square():
    class Nearest(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, small, scale, side):
            assert (scale, side) == (Fraction(2), 60)
            return small.repeat_interleave(2, 2).repeat_interleave(2, 3)

    large = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    ours, bicubic = scored(Nearest(), large[::2, ::2], large, 2)
    assert ours.psnr == pytest.approx(100)
    assert bicubic.psnr < 30
