"""A folder with a module of somebody's networks in it, and 140 drawn faces."""

import sys

import pytest

NETWORKS = """
import time

import torch
from torch import nn
from torch.nn import functional
from fsrcache.extractors.covpool import CovPoolFER
from fsrcache.extractors.extractor import Taps
from fsrcache.presets import ExtractorConfig
from fsrcache.spd import CovariancePool, LogEig, Vech

CLASSES = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]


class Head(nn.Module):
    def __init__(self, length):
        super().__init__()
        self.embed, self.classify = nn.Linear(length, 6), nn.Linear(6, 7)

    def forward(self, features):
        embedding = self.embed(features).relu()
        return embedding, self.classify(embedding)


class Network(nn.Module):
    def __init__(self, body, length, channels=1, spd_side=None):
        super().__init__()
        self.classes, self.side, self.channels = CLASSES, 16, channels
        self.body, self.head = body, Head(length)
        if spd_side:
            self.spd_side = spd_side

    def embed(self, pictures):
        features = self.body(pictures.float() / 255)
        return features, *self.head(features)


def vectors():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5)
    return Network(nn.Sequential(*layers), 8).train()


class Early(Network):  # also tells what its first layer says
    def embed(self, pictures):
        early = self.body[:-2](pictures.float() / 255)
        return *super().embed(pictures), early.flatten(1)[:, ::40]


def early():
    torch.manual_seed(0)
    return Early(nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8)


def described():
    network = early()
    network.preprocessing = "/ 255"
    return network


def answering(network, change):
    # embed then returns what a function makes of its tensors
    whole = network.embed
    network.embed, network.preprocessing = lambda pictures: change(whole(pictures)), "/ 255"
    return network


def taps():
    return answering(drawn(), lambda tensors: Taps(*tensors))


def no_early_numbers():
    return answering(drawn(), lambda tensors: (*tensors, torch.zeros(len(tensors[0]), 0)))


def dropping_early():
    return answering(early(), lambda tensors: tensors[: 4 if len(tensors[0]) < 20 else 3])


def covpool():
    torch.manual_seed(2)
    shape = ExtractorConfig(side=16, stages=((6,), (8,)), spd_side=6, hidden=8, embedding=4)
    return CovPoolFER(shape, tuple(CLASSES))


def early_of_three_dimensions():
    return answering(early(), lambda tensors: (*tensors[:3], torch.zeros(len(tensors[0]), 2, 2)))


def five_tensors():
    return answering(early(), lambda tensors: (*tensors, torch.zeros(len(tensors[0]), 2)))


def matrices():
    torch.manual_seed(1)
    layers = nn.Conv2d(3, 5, 3, stride=2), CovariancePool(), LogEig(), Vech()
    return Network(nn.Sequential(*layers), 15, channels=3, spd_side=5)


def drawn():
    return Network(nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8)


def unseeded():
    network = drawn()
    nn.init.constant_(network.head.classify.bias, time.perf_counter_ns() % 1_000_003)
    return network


def shared_head():
    network = vectors()
    network.again = network.head.embed
    return network


class Grid(nn.Module):
    grid = None

    def forward(self, x):
        if self.grid is None:
            self.grid = torch.full((8,), 0.5)
        return x * self.grid


def keeps_a_grid():
    network = drawn()
    network.head.embed = nn.Sequential(Grid(), network.head.embed)
    return network


SHARED = drawn()


def drawn_at_import():
    return SHARED


class Fixed(Network):
    classes = property(lambda self: CLASSES, lambda self, value: None)


def fixed_classes():
    return Fixed(nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8)


def changed(**attributes):
    network = vectors()
    for name, value in attributes.items():
        setattr(network, name, value)
    return network


def other_classes():
    return changed(classes=("joy", *CLASSES[1:]))


def three_dimensions():
    return changed(embed=lambda pictures: [torch.zeros(len(pictures), 2, 2)] * 3)


def other_head():
    network, head = vectors(), Head(8)
    network.embed = lambda pictures: ((features := network.body(pictures.float() / 255)), *head(features))
    return network


def no_triangle():
    return changed(spd_side=5)


def no_number():
    return changed(spd_side="5")


def only_two():
    network = vectors()
    whole = type(network).embed

    def embed(pictures):
        return whole(network, pictures.reshape(2, *pictures.shape[1:]))

    network.embed, network.preprocessing = embed, "/ 255"
    return network


def dropping():
    network = vectors()
    whole = type(network).embed

    def embed(pictures):
        features = functional.dropout(whole(network, pictures)[0])
        return features, *network.head(features)

    network.embed = embed
    return network


def raising():
    raise OSError("no weights.pt here")


def leaving():
    raise SystemExit(3)


def text():
    return "text"


constant = 3
"""


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """A working folder with the module ``somebodys``, which is forgotten afterwards."""
    (tmp_path / "somebodys.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("somebodys")]:
        del sys.modules[name]
