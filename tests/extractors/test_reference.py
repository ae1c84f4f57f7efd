"""Somebody's network by name: what it does to the pixels is known, or asked for."""

import sys

import pytest

from fsrcache.errors import RequestError
from fsrcache.extractors.reference import open_reference

NETWORKS = """
from functools import wraps

import torch
from torch import nn


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.classify = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, features):
        embedding = self.embed(features)
        return embedding, self.classify(embedding)


class Plain(nn.Module):
    classes, side, channels = ("a", "b"), 2, 1

    def __init__(self):
        super().__init__()
        self.head = Head()

    def embed(self, pictures):
        features = pictures.flatten(1) / 255
        return features, *self.head(features)


def alike(method):
    @wraps(method)
    def embed(self, pictures):
        return method(self, pictures)

    return embed


def bare(method):
    def embed(self, pictures):
        return method(self, pictures)

    return embed


class Alike(Plain):
    @torch.no_grad()
    @alike
    def embed(self, pictures):
        features = pictures.flatten(1) / 64
        return features, *self.head(features)


class Inherits(Plain):
    pass


class Bare(Plain):
    @bare
    def embed(self, pictures):
        features = pictures.flatten(1) / 64
        return features, *self.head(features)


def set_on_it():
    network = Plain()
    network.embed = lambda pictures: Plain.embed(network, 255 - pictures)
    return network


def executed():
    names = {"Plain": Plain}
    exec("class Network(Plain):\\n    def embed(self, pictures):\\n        return super().embed(255 - pictures)", names)
    return names["Network"]()


class Around(nn.Module):  # as torch.compile makes one
    def __init__(self, module):
        super().__init__()
        self.inner = module

    def __getattr__(self, name):
        return self._modules["inner"] if name == "inner" else getattr(self.inner, name)


def around():
    return Around(Plain())


class Described(Bare):
    preprocessing = "/ 64"
"""


@pytest.fixture(autouse=True)
def networks(tmp_path, monkeypatch):
    """A working folder with the module ``referred``, which is forgotten afterwards."""
    (tmp_path / "referred.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    del sys.modules["referred"]


@pytest.mark.parametrize("factory", ["Bare", "set_on_it", "executed", "around"])
def test_an_embed_without_a_source_of_its_own_is_asked_for_a_text(factory):
    with pytest.raises(
        RequestError, match=f"referred:{factory} does not say what it does to the pixels: .*\n.* preproc"
    ):
        open_reference(f"referred:{factory}")


def test_a_source_or_a_text_tells_what_is_done_to_the_pixels():
    told = {
        name: open_reference(f"referred:{name}").preprocessing for name in ("Plain", "Alike", "Inherits", "Described")
    }
    assert told["Described"] == "/ 64"
    assert told["Plain"] == told["Inherits"] != told["Alike"]
    assert all(text.startswith("embed, SHA-256 ") for name, text in told.items() if name != "Described")
