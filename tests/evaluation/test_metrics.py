"""Every measure against a value worked out by hand, a published one, or an independent library."""

import math

import numpy as np
import pytest
import torch

from fsrcache.errors import RequestError
from fsrcache.evaluation.metrics import (
    confusion_matrix,
    gap_closed,
    macro_f1,
    mcnemar,
    mean_class_accuracy,
    standard_error,
    total_accuracy,
    wilson_interval,
)
from fsrcache.evaluation.twins import twins

LABELS = np.array([0, 0, 0, 0, 1, 1, 2], np.uint8)
PREDICTED = np.array([0, 0, 0, 1, 1, 0, 3])


def test_worked_by_hand():
    # right: 3 of 4 surprises, 1 of 2 fears, 0 of 1 disgusts; class 3 is predicted but has no picture
    assert confusion_matrix(LABELS, PREDICTED).tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert total_accuracy(LABELS, PREDICTED) == pytest.approx(4 / 7, rel=1e-15)
    assert mean_class_accuracy(LABELS, PREDICTED) == pytest.approx((3 / 4 + 1 / 2 + 0) / 3, rel=1e-15)
    assert macro_f1(LABELS, PREDICTED) == pytest.approx((6 / 8 + 2 / 4 + 0 + 0) / 4, rel=1e-15)
    assert standard_error(0.64, 3600) == pytest.approx(0.008, rel=1e-12)
    assert gap_closed(75.196, bicubic=67.177, hr=87.0) == pytest.approx(8.019 / 19.823, rel=1e-12)
    assert gap_closed(0.5, bicubic=0.6, hr=0.9) == pytest.approx(-1 / 3, rel=1e-12)
    assert gap_closed(0.5, bicubic=0.6, hr=0.6) is None


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed):
    from sklearn import metrics

    generator = np.random.default_rng(seed)
    labels = generator.choice(7, 500, p=[0.4, 0.3, 0.1, 0.1, 0.06, 0.04, 0])  # one class without pictures
    predicted = np.where(generator.random(500) < 0.6, labels, generator.integers(0, 6, 500))
    assert total_accuracy(labels, predicted) == pytest.approx(metrics.accuracy_score(labels, predicted), rel=1e-14)
    theirs = metrics.balanced_accuracy_score(labels, predicted)
    assert mean_class_accuracy(labels, predicted) == pytest.approx(theirs, rel=1e-14)
    assert macro_f1(labels, predicted) == pytest.approx(metrics.f1_score(labels, predicted, average="macro"), rel=1e-14)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3: score without correction
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 1 - 0.1170, 1.0),
    ],
)
def test_wilson_interval_as_published(correct, n, low, high):
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5.1e-5)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_interval_of_scipy(confidence):
    from scipy import stats

    for correct, n in ((0, 5), (1, 5), (2330, 3589), (3589, 3589)):
        theirs = stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
        ours = wilson_interval(correct, n, confidence=confidence)
        assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def outcomes(both, won, lost, neither):
    correct = np.repeat([True, True, False, False], [both, won, lost, neither])
    return correct, np.repeat([True, False, True, False], [both, won, lost, neither])


def test_mcnemar_by_hand():
    # of 5 discordant pictures one is lost: 2 (1 + 5) / 2^5
    assert mcnemar(*outcomes(10, 4, 1, 7)) == 12 / 32
    assert mcnemar(*outcomes(10, 3, 3, 7)) == 1.0
    assert mcnemar(*outcomes(10, 0, 0, 7)) == 1.0


@pytest.mark.parametrize(("won", "lost"), [(1, 0), (0, 6), (12, 3), (40, 41), (310, 250), (1500, 200)])
def test_mcnemar_is_the_exact_binomial_test(won, lost):
    from scipy import stats

    ours = mcnemar(*outcomes(99, won, lost, 50))
    assert ours == pytest.approx(stats.binomtest(won, won + lost).pvalue, rel=1e-9)
    assert ours == mcnemar(*outcomes(5, lost, won, 7))


def test_mcnemar_of_very_many_pictures():
    assert mcnemar(*outcomes(0, 9000, 1000, 0)) == 0.0  # below the smallest double, not an overflow
    root = math.sqrt(20_000)  # 1.96 deviations apart: the normal limit, within its continuity correction
    won = round(10_000 + 1.96 * root / 2)
    assert mcnemar(*outcomes(0, won, 20_000 - won, 0)) == pytest.approx(0.05, abs=2e-3)


@pytest.mark.parametrize("measure", [confusion_matrix, total_accuracy, mean_class_accuracy, macro_f1])
@pytest.mark.parametrize(
    ("labels", "predictions", "words"),
    [
        ([0, 1], PREDICTED, r"labels is \[0, 1\]"),
        (LABELS, torch.zeros(7, dtype=int), r"predictions is a Tensor of shape \(7,\)"),
        (LABELS, PREDICTED[:6], "labels 7, predictions 6"),
        (LABELS, PREDICTED / 2, "predictions is an array .* float64"),
        (LABELS, PREDICTED - 1, "predictions has the class -1"),
        (LABELS + np.int64(2**40), PREDICTED, "labels has the class 1099511627776"),
        (LABELS[:0], PREDICTED[:0], "labels is empty"),
        (LABELS[None], PREDICTED, r"labels is an array of shape \(1, 7\)"),
        (None, PREDICTED, "labels is None"),
    ],
)
def test_classes_that_are_none_are_named(measure, labels, predictions, words):
    with pytest.raises(RequestError, match=words):
        measure(labels, predictions)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: standard_error(1.1, 10), "accuracy is 1.1"),
        (lambda: standard_error(math.nan, 10), "accuracy is nan"),
        (lambda: standard_error(0.5, 0), "n is 0"),
        (lambda: wilson_interval(3, 2), "correct is 3"),
        (lambda: wilson_interval(3, 0), "n is 0"),
        (lambda: wilson_interval("1", 2), "correct is '1'"),
        (lambda: wilson_interval(1, 2, confidence=95), "confidence is 95"),
        (lambda: gap_closed(math.nan, bicubic=0.1, hr=0.2), "accuracy is nan"),
        (lambda: gap_closed(0.1, bicubic="0.1", hr=0.2), "bicubic is '0.1'"),
        (lambda: mcnemar(np.ones(3, int), np.ones(3, bool)), "correct is an array .* int64"),
        (lambda: mcnemar(np.ones(3, bool), np.ones(4, bool)), r"other_correct is an array of shape \(4,\)"),
        (lambda: mcnemar([True], [True]), r"correct is \[True\]"),
        (lambda: twins(np.zeros((2, 16)), np.zeros((2, 16), np.uint8)), "test_hashes is .* float64"),
        (lambda: twins(np.zeros((2, 16), np.uint8), ["a"]), r"train_hashes is \['a'\]"),
    ],
)
def test_what_is_no_such_number_is_named(call, words):
    with pytest.raises(RequestError, match=words):
        call()


def test_numbers_of_numpy_are_numbers():
    correct = np.array([True, True, False])
    assert standard_error(np.float32(0.5), correct.sum()) == pytest.approx((0.25 / 2) ** 0.5)
    assert wilson_interval(correct.sum(), np.int64(3)) == wilson_interval(2, 3)


def test_twins():
    train = np.zeros((3, 16), np.uint8)
    train[1, 15], train[2, 0] = 7, 7
    test = np.concatenate([train[[2]], train[[1]] + 1, train[[0]]])
    test[2, 15] = 0
    assert twins(test, train).tolist() == [True, False, True]
    assert twins(test, train[:0]).tolist() == [False] * 3
    assert twins(test[:0], train).shape == (0,)
