"""How well block-random epochs mix: distances of neighbours, and a probe's loss, against a full shuffle.

Run as ``python -m studies.mixing``; it prints one JSON document. Rows lie in chunks as features of D 64 do.
A store's rows are shuffled when they are written; ``sorted`` is a store in the order of its labels.
"""

import json
from collections.abc import Callable
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from fsrcache.store.layout import ArrayLayout
from fsrcache.store.shuffle import ShuffledRows
from fsrcache.store.stored import StoredArray
from studies.command import StudyCommand

_ROWS, _HELD_OUT, _WIDTH, _CLASSES, _CHUNK, _BATCH = 60_000, 10_000, 64, 7, 256, 128
_SHARES = (0.02, 0.1, 0.25)  # resident shares of the chunks
_EVALUATIONS = 12  # of the held-out loss, in an epoch
Order = Callable[[int, int], NDArray[np.int64]]  # (seed, epoch) -> row numbers


@click.command(cls=StudyCommand)
@click.option("--seeds", type=click.IntRange(2), default=8, show_default=True, help="Probes of every order.")
@click.option("--rows", type=click.IntRange(2_000), default=_ROWS, show_default=True, help="Rows of the store.")
def main(seeds: int, rows: int) -> None:
    """Measure and print."""
    settings = {"rows": rows, "chunk": _CHUNK, "batch": _BATCH, "seeds": seeds}
    click.echo(json.dumps({**settings, "neighbours": neighbours(rows), "probes": probes(rows, seeds=seeds)}, indent=1))


def orders(rows: int) -> dict[str, Order]:
    """Return the orders that are compared: a full shuffle first, the store's own last."""

    def full(seed: int, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([seed, epoch]).permutation(rows)

    def stored(seed: int, epoch: int) -> NDArray[np.int64]:  # noqa: ARG001  # the same for all
        return np.arange(rows)

    result: dict[str, Order] = {"full shuffle": full}
    for share in _SHARES:
        result[f"block-random, {share:.0%} resident"] = _block_random(rows, share)
    return {**result, "as stored": stored}


def neighbours(rows: int) -> dict[str, dict[str, float]]:
    """Return the distances in an epoch of rows that are neighbours in the store, as shares of the epoch.

    Returns
    -------
    dict
        By order: ``mean``, ``median`` and ``p05`` of the distance, and ``same_batch``, the share of neighbours in the
        same batch.
    """
    result = {}
    for name, order in orders(rows).items():
        position = np.empty(rows, np.int64)
        position[order(0, 0)] = np.arange(rows)
        apart = np.abs(np.diff(position)) / rows
        result[name] = {
            "mean": float(apart.mean()),
            "median": float(np.median(apart)),
            "p05": float(np.quantile(apart, 0.05)),
            "same_batch": float((np.diff(position // _BATCH) == 0).mean()),
        }
    return result


def probes(rows: int, *, seeds: int, epochs: int = 2) -> dict[str, dict[str, Any]]:
    """Return the held-out loss of a logistic regression by SGD, for a store as it is written and a sorted one.

    Returns
    -------
    dict
        By store and order: ``loss``, the mean over seeds at every evaluation; ``deviation`` of the last one over
        seeds; ``furthest``, the largest distance from a full shuffle's curve, in standard errors of the difference.
    """
    features, labels, truth = _drawn(rows + _HELD_OUT)
    held_out = features[rows:], labels[rows:]
    result: dict[str, dict[str, Any]] = {}
    for store in ("shuffled at writing", "sorted"):
        permutation = np.argsort(labels[:rows], kind="stable") if store == "sorted" else np.arange(rows)
        x, y, curves = features[permutation], labels[permutation], {}
        for name, order in orders(rows).items():
            curves[name] = np.array([
                _curve(x, y, held_out, [order(seed, epoch) for epoch in range(epochs)]) for seed in range(seeds)
            ])  # fmt: skip
        full = curves["full shuffle"]
        result[store] = {
            name: {
                "loss": [round(float(value), 4) for value in curve.mean(0)],
                "deviation": float(curve[:, -1].std(ddof=1)),
                "furthest": float(np.abs(_errors(curve, full)).max()) if name != "full shuffle" else 0.0,
            }
            for name, curve in curves.items()
        }
    return {**result, "bayes": {"loss": truth}}


def _errors(curve: NDArray[np.float64], full: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the difference of mean losses [evaluations] in standard errors, each at least the curve's mean one."""
    variance = (curve.var(0, ddof=1) + full.var(0, ddof=1)) / len(full)
    scale: NDArray[np.float64] = np.sqrt(np.maximum(variance, variance.mean()))
    difference: NDArray[np.float64] = (curve.mean(0) - full.mean(0)) / scale
    return difference


def _block_random(rows: int, share: float) -> Order:
    array = StoredArray(ArrayLayout("made/features", (rows, 1), "float16", _CHUNK, _CHUNK), _nothing)
    resident = max(1, round(share * -(-rows // _CHUNK)))

    def order(seed: int, epoch: int) -> NDArray[np.int64]:
        memory = 2 * resident * _CHUNK * array.dtype.itemsize
        reader = ShuffledRows([array], batch=rows, seed=seed, memory=memory)
        ((numbers, _),) = reader.epoch(epoch)
        return numbers

    return order


def _nothing(out: NDArray[Any], *, start: int) -> None:
    out[:] = start


def _drawn(count: int) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
    """Return features [n, P] around a centre a class, labels [n], and the Bayes loss."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((_CLASSES, _WIDTH)) * 0.35
    labels = random.integers(0, _CLASSES, count)
    features = centres[labels] + random.standard_normal((count, _WIDTH))
    logits = features @ centres.T - (centres**2).sum(1) / 2
    return features.astype(np.float32), labels, _loss(logits, labels)


def _curve(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    held_out: tuple[NDArray[np.float32], NDArray[np.int64]],
    epochs: list[NDArray[np.int64]],
) -> list[float]:
    """Train from zero weights; return the held-out loss at every evaluation."""
    weights, losses = np.zeros((_WIDTH, _CLASSES), np.float32), []
    every = max(1, len(labels) // _BATCH // _EVALUATIONS)
    for order in epochs:
        for step, start in enumerate(range(0, len(order) - _BATCH + 1, _BATCH), 1):
            rows = order[start : start + _BATCH]
            share = _softmax(features[rows] @ weights)
            share[np.arange(_BATCH), labels[rows]] -= 1
            weights -= 0.05 / _BATCH * features[rows].T @ share
            if step % every == 0:
                losses.append(_loss(held_out[0] @ weights, held_out[1]))
    return losses


def _softmax(logits: NDArray[Any]) -> NDArray[Any]:
    powers: NDArray[Any] = np.exp(logits - logits.max(1, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(1, keepdims=True)
    return shares


def _loss(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    return float(-np.log(_softmax(logits)[np.arange(len(labels)), labels]).mean())


if __name__ == "__main__":
    main()
