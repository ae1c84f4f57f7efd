"""How well block-random epochs mix: how far neighbours end apart, and what a probe learns, against a full shuffle.

Run as ``python -m studies.mixing``; it prints one JSON document. Rows lie in chunks as features of D 64 do.
A store's rows are shuffled when they are written; ``sorted`` is what a store would be that were not.
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

_ROWS, _HELD_OUT, _WIDTH, _CLASSES, _CHUNK, _BATCH = 60_000, 10_000, 64, 7, 256, 128
_SHARES = (0.02, 0.1, 0.25)  # of the chunks that are resident
_LOOKS = 12  # at the held-out loss, in an epoch
Order = Callable[[int, int], NDArray[np.int64]]  # of (seed, epoch)


@click.command
@click.option("--seeds", type=click.IntRange(2), default=8, show_default=True, help="Probes of every kind.")
@click.option("--rows", type=click.IntRange(2_000), default=_ROWS, show_default=True)
def main(seeds: int, rows: int) -> None:
    """Measure and print."""
    shown = {"rows": rows, "chunk": _CHUNK, "batch": _BATCH, "seeds": seeds}
    click.echo(json.dumps({**shown, "neighbours": neighbours(rows), "probes": probes(rows, seeds=seeds)}, indent=1))


def orders(rows: int) -> dict[str, Order]:
    """Return the orders that are compared: a full shuffle first, the store's own last."""

    def full(seed: int, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([seed, epoch]).permutation(rows)

    def stored(seed: int, epoch: int) -> NDArray[np.int64]:  # noqa: ARG001  # the same for all
        return np.arange(rows)

    found: dict[str, Order] = {"full shuffle": full}
    for share in _SHARES:
        found[f"block-random, {share:.0%} resident"] = _block_random(rows, share)
    return {**found, "as stored": stored}


def neighbours(rows: int) -> dict[str, dict[str, float]]:
    """Return how far rows that are neighbours in the store are apart in an epoch, in shares of it.

    Returns
    -------
    dict
        By order: ``mean``, ``median`` and ``p05`` of the distance, and ``same_batch``, the share of neighbours that
        meet in a batch.
    """
    found = {}
    for name, order in orders(rows).items():
        place = np.empty(rows, np.int64)
        place[order(0, 0)] = np.arange(rows)
        apart = np.abs(np.diff(place)) / rows
        found[name] = {
            "mean": float(apart.mean()),
            "median": float(np.median(apart)),
            "p05": float(np.quantile(apart, 0.05)),
            "same_batch": float((np.diff(place // _BATCH) == 0).mean()),
        }
    return found


def probes(rows: int, *, seeds: int, epochs: int = 2) -> dict[str, dict[str, Any]]:
    """Return the held-out loss of a logistic regression by SGD, for a store as it is written and for a sorted one.

    Returns
    -------
    dict
        By store and order: ``loss``, a mean over seeds at every look; ``deviation`` of the last over seeds; and
        ``furthest``, how many standard errors of the difference the curve is from a full shuffle's where it is
        furthest from it.
    """
    features, labels, truth = _drawn(rows + _HELD_OUT)
    held_out = features[rows:], labels[rows:]
    found: dict[str, dict[str, Any]] = {}
    for store in ("shuffled at writing", "sorted"):
        given = np.argsort(labels[:rows], kind="stable") if store == "sorted" else np.arange(rows)
        x, y, curves = features[given], labels[given], {}
        for name, order in orders(rows).items():
            curves[name] = np.array([
                _curve(x, y, held_out, [order(seed, epoch) for epoch in range(epochs)]) for seed in range(seeds)
            ])  # fmt: skip
        full = curves["full shuffle"]
        found[store] = {
            name: {
                "loss": [round(float(value), 4) for value in curve.mean(0)],
                "deviation": float(curve[:, -1].std(ddof=1)),
                "furthest": float(np.abs(_errors(curve, full)).max()) if name != "full shuffle" else 0.0,
            }
            for name, curve in curves.items()
        }
    return {**found, "bayes": {"loss": truth}}


def _errors(curve: NDArray[np.float64], full: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the difference of mean losses [looks] in its standard errors, one for the whole curve: its mean."""
    of_both = (curve.var(0, ddof=1) + full.var(0, ddof=1)) / len(full)
    scale: NDArray[np.float64] = np.sqrt(np.maximum(of_both, of_both.mean()))
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
    """Return features [n, P] around a centre a class, labels [n], and the loss of who knows the centres."""
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
    """Train from nothing and return the held-out loss at every look."""
    weights, losses = np.zeros((_WIDTH, _CLASSES), np.float32), []
    every = max(1, len(labels) // _BATCH // _LOOKS)
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
