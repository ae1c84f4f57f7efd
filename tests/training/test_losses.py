"""Every loss term against numbers worked out by hand."""

import math

import pytest
import torch

from fsrcache.training.step.losses import (
    adversarial_loss,
    classification_loss,
    critic_loss,
    distillation_loss,
    l2_loss,
    perceptual_loss,
    sample_weights,
)

W = torch.tensor([1.0, 0.5])


def test_sample_weights():
    p = torch.tensor([0.0, 0.5, 1.0])
    assert sample_weights(p, sigma=1.5, exponent=1.0).tolist() == [1.5, 1.0, 0.5]
    assert sample_weights(p, sigma=1.5, exponent=2.0).tolist() == [2.25, 1.0, 0.25]


def test_critic_and_adversarial():
    hr, sr = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 8.0])
    assert critic_loss(hr, sr, weights=W).item() == pytest.approx((1 + 1.5) / 2 - (2 + 4) / 2)
    assert adversarial_loss(sr, weights=W).item() == pytest.approx((2 + 4) / 2)


@pytest.mark.parametrize("loss", [l2_loss, perceptual_loss])
def test_squares(loss):
    sr, hr = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert loss(sr, hr, weights=W, reduction="sum").item() == pytest.approx((5 + 0.5 * 16) / 2)
    assert loss(sr, hr, weights=W, reduction="mean").item() == pytest.approx((2.5 + 0.5 * 8) / 2)


def test_classification():
    logits, labels = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]]), torch.tensor([0, 0])
    expected = (math.log(2) + 0.5 * math.log(4 / 3)) / 2
    assert classification_loss(logits, labels, weights=W, smoothing=0.0).item() == pytest.approx(expected)
    smoothed = 0.9 * math.log(4 / 3) + 0.1 * (math.log(4 / 3) + math.log(4)) / 2
    expected = (math.log(2) + 0.5 * smoothed) / 2
    assert classification_loss(logits, labels, weights=W, smoothing=0.1).item() == pytest.approx(expected)


def test_distillation():
    logits, hr_logits = torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.tensor([[math.log(3.0), 0.0], [5.0, 6.0]])
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert distillation_loss(logits, hr_logits, weights=W).item() == pytest.approx(divergence / 2)


def test_classification_of_mixed_samples():
    logits, shares = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]]), torch.tensor([[0.3, 0.7], [1.0, 0.0]])
    got = classification_loss(logits, shares, weights=W, smoothing=0.0).item()
    assert got == pytest.approx((math.log(2.0) + 0.5 * math.log(4 / 3)) / 2)
