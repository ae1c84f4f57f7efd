"""Re-fitted heads learn what can be learnt, on all scales at once, the same way every time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.heads import Fit, Logits, probabilities_of, refit_linear, refit_mlp
from fsrcache.extractors.extractor import make_extractor

FIT = Fit(epochs=6, batch=64, learning_rate=1e-2, weight_decay=1e-2, label_smoothing=0.0)


def clusters(*, n=300, dimensions=24, classes=3, seed=0):
    """Return well separated clusters, at each scale elsewhere, dimensions of very unequal size, one constant."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    sizes = np.logspace(-2, 2, dimensions)
    centres = np.random.default_rng(9).standard_normal((3, classes, dimensions)) * 2
    features = {}
    for place, scale in enumerate((1, 2, 8)):
        values = (centres[place, labels] + 0.5 * generator.standard_normal((n, dimensions))) * sizes + 3 * sizes
        values[:, 5] = 1.5
        features[scale] = values.astype(np.float16)
    return features, labels.astype(np.uint8)


def small_head():
    return nn.Sequential(nn.Linear(24, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 3))


def linear(features, labels, seed):
    return refit_linear(features, labels, classes=3, seed=seed, fit=FIT)


def mlp(features, labels, seed):
    return refit_mlp(features, labels, head=small_head, seed=seed, fit=FIT)


@pytest.mark.parametrize("refit", [linear, mlp])
def test_a_separable_problem_is_learnt_at_every_scale(refit):
    head = refit(*clusters(), 0)
    features, labels = clusters(seed=1)
    assert not head.training
    for scale, array in features.items():
        assert (probabilities_of(head, array).argmax(1) == labels).mean() > 0.97, scale


@pytest.mark.parametrize("refit", [linear, mlp])
def test_the_seed_alone_decides(refit):
    data = clusters(n=80)
    before = torch.random.get_rng_state()
    first = refit(*data, 3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(100)
    again, other = refit(*data, 3).state_dict(), refit(*data, 4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_linear_is_logistic_regression():
    from sklearn import linear_model

    generator = np.random.default_rng(0)
    values = generator.standard_normal((4000, 6))
    labels = (values @ generator.standard_normal((6, 3)) + generator.gumbel(size=(4000, 3))).argmax(1)
    values = (values - values.mean(0)) / values.std(0)
    theirs = linear_model.LogisticRegression(C=1e6).fit(values, labels).predict_proba(values)
    fit = Fit(epochs=40, batch=128, learning_rate=3e-2, weight_decay=0.0, label_smoothing=0.0)
    head = refit_linear({1: values.astype(np.float32)}, labels, classes=3, seed=0, fit=fit)
    with torch.inference_mode():
        ours = head(torch.from_numpy(values).float()).softmax(1).numpy()
    assert np.abs(ours - theirs).max() < 0.02


def test_fewer_pairs_than_a_minibatch():
    features, labels = clusters(n=5)
    head = linear(features, labels, 0)
    assert probabilities_of(head, features[1]).shape == (5, 3)
    assert probabilities_of(head, features[1][:0]).shape == (0, 3)


def test_probabilities_are_the_softmax_of_the_logits():
    features = np.random.default_rng(0).standard_normal((4099, 4)).astype(np.float16)  # more than are read at a time
    network = nn.Linear(4, 3)

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, values):
            return values, self.network(values)

    with torch.inference_mode():
        expected = network(torch.from_numpy(features).float()).softmax(1).numpy()
    found = probabilities_of(Logits(Head()), features)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


class Head(nn.Module):
    """A head whose weights are of one kind."""

    def __init__(self, kind):
        super().__init__()
        last = nn.Linear(16, 3)
        self.last = nn.utils.parametrizations.weight_norm(last) if kind == "weight_norm" else last
        if kind in ("parameter", "buffer"):
            del self.last
            self.weights = nn.Parameter(torch.randn(16, 3)) if kind == "parameter" else nn.Buffer(torch.randn(16, 3))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True) if kind == "attention" else None

    def forward(self, features):
        if self.attention is not None:
            features = self.attention(*3 * [features[:, None]])[0][:, 0]
        return features, self.last(features) if hasattr(self, "last") else features @ self.weights


def somebodys(kind):
    """Return the extractor of a network with such a head."""

    class Network(nn.Module):
        classes, side, channels, preprocessing = ("a", "b", "c"), 8, 1, "none"

        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(64, 16), Head(kind)

        def embed(self, pictures):
            features = self.body(pictures.flatten(1).float())
            return features, *self.head(features)

    return make_extractor(Network(), name="n", digest="0", preprocessing="none", trainable=True)


@pytest.mark.parametrize("kind", ["parameter", "buffer", "weight_norm"])
def test_a_head_that_stays_as_it_was_trained_is_not_called_re_fitted(kind):
    why = "it has no parameters" if kind == "buffer" else ".* stays as it was trained"
    with pytest.raises(RequestError, match=f"The head of n cannot be re-fitted: {why}"):
        somebodys(kind).fresh_head()


def test_a_head_of_attention_is_made_anew():
    extractor = somebodys("attention")
    fresh = dict(extractor.fresh_head().named_parameters())
    weights = [name for name, weight in extractor.head.named_parameters() if weight.unique().numel() > 1]
    assert len(weights) == 4
    assert not any(torch.equal(extractor.head.get_parameter(name), fresh[name]) for name in weights)


def test_errors_say_what_and_what_to_do():
    features, labels = clusters(n=40)
    with pytest.raises(FsrcacheError, match="scale 1 have 40 rows, but there are 39"):
        linear(features, labels[:39], 0)
    with pytest.raises(FsrcacheError, match="no training features"):
        linear({}, labels, 0)
    features[2][3, 7] = np.inf
    with pytest.raises(FsrcacheError, match="finite in epoch 1 of 6"):
        mlp(features, labels, 0)


FEATURES, CLASSES = clusters(n=8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": FEATURES[1]}, "features is array"),
        ({"features": {1.5: FEATURES[1]}}, "features is 1.5"),
        ({"features": {1: FEATURES[1].tolist()}}, r"features\[1\] is \[\["),
        ({"features": {1: torch.from_numpy(FEATURES[1])}}, r"features\[1\] is a Tensor of shape \(8, 24\)"),
        ({"features": {1: FEATURES[1], 2: FEATURES[2][:, :9]}}, r"features\[2\] is an array of shape \(8, 9\)"),
        ({"features": {1: FEATURES[1].astype(int)}}, "int64"),
        ({"labels": CLASSES.tolist()}, r"labels is \["),
        ({"labels": CLASSES.astype(int) - 1}, "labels has the class -1"),
        ({"classes": 2}, "classes is 2"),
        ({"classes": ("a", "b", "c")}, r"classes is \('a', 'b', 'c'\)"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"fit": 3}, "fit is 3"),
        ({"device": "tpu:9"}, "no device 'tpu:9'"),
    ],
)
def test_what_is_no_such_argument_is_named(changes, words):
    given = {"features": FEATURES, "labels": CLASSES, "classes": 3, "seed": 0, "fit": FIT} | changes
    with pytest.raises(RequestError, match=words):
        refit_linear(given.pop("features"), given.pop("labels"), **given)


def test_a_head_and_a_fit_that_are_none_are_named():
    with pytest.raises(RequestError, match="head is 'mlp'"):
        refit_mlp(FEATURES, CLASSES, head="mlp", seed=0)
    with pytest.raises(RequestError, match=r"Fit\.epochs is 0"):
        replace(FIT, epochs=0)
    with pytest.raises(RequestError, match=r"Fit\.learning_rate is nan"):
        replace(FIT, learning_rate=float("nan"))
    with pytest.raises(RequestError, match=r"features is \["):
        probabilities_of(small_head(), [[1.0]])
