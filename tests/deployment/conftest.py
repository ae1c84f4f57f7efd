"""Small untrained networks whose answers differ from face to face, as a workspace's model and as what is exported."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from fsrcache.deployment.weights import ExportedModel
from fsrcache.drawn.face import draw_face
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.degrade import Degradation
from fsrcache.model import Model
from fsrcache.models.generators.form import super_resolve
from fsrcache.models.generators.forms import make_generator
from fsrcache.presets import TRAINING, ExtractorConfig, MLPConfig, RRDBConfig

EXTRACTOR = ExtractorConfig(side=48, stages=((8,), (16,)), spd_side=8, hidden=16, embedding=6)
GENERATORS = {
    "mlp": MLPConfig(width=16, blocks=1, rank=3, members=2),
    "mlp without early features": MLPConfig(width=16, blocks=1, rank=3, early=False),
    "linear": MLPConfig(width=16, blocks=1, rank=0),
    "rrdb": RRDBConfig(filters=4, growth=4, blocks=1, unshuffle=2),
}


@pytest.fixture(scope="session")
def networks():
    """Return a function that makes a model to export, of a form of generator, a number of channels and an extractor."""

    def make(form="mlp", *, channels=3, shape=EXTRACTOR):
        torch.manual_seed(3)
        extractor = extractor_of(CovPoolFER(shape, tuple("abcdefg")).eval(), digest="ab" * 32)
        config = GENERATORS[form]
        generator = make_generator(config, extractor.form).eval()
        for weight in generator.parameters():
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.1)
        _spread(extractor, generator)
        training = {
            "config": dataclasses.replace(TRAINING["tiny"], generator=config),
            "seed": 0, "store": {}, "scales": (1, 2, 4), "channels": channels,
            "degradation": Degradation(border="mirror"), "device": "cpu", "precision": "fp32", "threads": 1,
            "plain": False, "order": "", "steps": 0,
        }  # fmt: skip
        return ExportedModel(extractor, generator, training, "default")

    return make


@torch.no_grad()
def _spread(extractor, generator):
    """Give every logit the mean 0 and the deviation 1 on drawn faces: the answers are not all alike, nor certain."""
    faces = torch.from_numpy(np.stack([draw_face(5, index)[::2, ::2][:48, :48] for index in range(14)]))
    taps = extractor.embed(faces.permute(0, 3, 1, 2))
    generated = super_resolve(generator, taps.features, taps.early)
    logits, last = extractor.head(generated)[1], extractor.head.classify
    deviation, mean = torch.std_mean(logits, 0)
    last.weight.div_(deviation[:, None])
    last.bias.sub_(mean).div_(deviation)


@pytest.fixture(scope="session")
def model_of():
    """Return a function that makes ``fsrcache.Model`` of what is exported."""

    def make(exported):
        return Model(**exported._asdict(), workspace=Path("none"))

    return make


@pytest.fixture(scope="session")
def drawn():
    """Return a function that draws faces of a size: uint8 [N, h, w, 3]."""
    faces = np.stack([draw_face(4, index) for index in range(64)])
    return lambda size, count=64: imresize_batch(faces[:count], size=size)
