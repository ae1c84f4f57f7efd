"""The digest of a network's weights: every tensor that it computes with, and the same as ever without hidden ones."""

import hashlib

import pytest
import torch
from torch import nn

from fsrcache.errors import RequestError
from fsrcache.extractors.covpool import CovPoolFER
from fsrcache.extractors.extractor import state_digest
from fsrcache.presets import ExtractorConfig

SHAPE = ExtractorConfig(side=16, stages=((6,), (8,)), spd_side=6, hidden=8, embedding=4)


class Scaled(nn.Module):
    def __init__(self, scale, *, twice=False):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        nn.init.ones_(self.linear.weight), nn.init.zeros_(self.linear.bias)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        if twice:
            self.same = self.linear


def digest_of_state(module):
    """Return the digest of a state dict alone."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def test_a_buffer_that_no_state_dict_holds_counts():
    assert state_digest(Scaled(2.0)) == state_digest(Scaled(2.0))
    assert state_digest(Scaled(2.0)) != state_digest(Scaled(3.0))


def test_without_such_buffers_it_is_that_of_the_state_dict():
    shared = Scaled(2.0, twice=True)
    del shared.scale
    norm = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    for module in (CovPoolFER(SHAPE, ("a", "b", "c")), shared, norm):
        assert state_digest(module) == digest_of_state(module)


class Extra(nn.Linear):
    def __init__(self, state):
        super().__init__(2, 2)
        self.state = state

    def get_extra_state(self):
        return self.state


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_a_tensor_without_bytes_is_named():
    sparse = nn.Module()
    sparse.register_buffer("adjacency", torch.eye(3).to_sparse())
    for module, name in ((nn.LazyLinear(2), "bias"), (sparse, "adjacency"), (nn.Linear(2, 2, device="meta"), "bias")):
        with pytest.raises(RequestError, match=f"^{name} in the state of the network has no bytes of its own: "):
            state_digest(module)


def test_a_state_that_is_no_tensor_is_named():
    assert state_digest(nn.Sequential(Extra(torch.ones(1)))) != state_digest(nn.Sequential(Extra(torch.zeros(1))))
    with pytest.raises(RequestError, match=r"^0\._extra_state in the state of the network is a dict and no tensor"):
        state_digest(nn.Sequential(Extra({"calls": 3})))
