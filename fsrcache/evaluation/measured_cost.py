"""Counts and measures what the table's rows cost."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fsrcache.device import fp32_precision
from fsrcache.evaluation.cost import TIMED_FACES, Cost
from fsrcache.evaluation.ensembles import ensembles_of
from fsrcache.evaluation.networks import Networks
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.scoring import known_scales
from fsrcache.evaluation.tables import Table
from fsrcache.extractors.extractor import Extractor, weight_count
from fsrcache.kernels import bimap_covariance_pool, covariance_pool, log_eig
from fsrcache.models.generators.form import super_resolve
from fsrcache.progress import ProgressCallback, counted, no_progress
from fsrcache.store.reader import FeatureStore

_COUNTED_FACES = 2  # of a batch whose multiplications are counted
_BATCHES, _SECONDS = 5, 1.0  # timed batches at most, and time after which there are no more

_Measure = Callable[[Callable[[], Any], int, torch.device], float]  # of a run, its faces and device: a number a face


class _Amount(NamedTuple):
    """An amount that the networks of a mean share, and one that each of them adds."""

    shared: float
    own: float


@fp32_precision(tf32=False)
def row_costs(
    store: FeatureStore,
    extractor: Extractor,
    predictors: Sequence[Predictor],
    *,
    device: torch.device,
    timed: bool = True,
    on_progress: ProgressCallback = no_progress,
) -> tuple[Cost, ...]:
    """Return the cost of every row, mean of three and part of a row, in the order of the predictors.

    Trainings of one row differ in their weights alone: the networks of the first are counted and timed.

    Parameters
    ----------
    store, extractor
        The features, and the extractor that they come from.
    predictors
        The trainings of the rows.
    device
        Device of the networks.
    timed
        Whether to measure the time of a face.
    on_progress
        Called after every row.
    """
    costs = []
    for label, ensemble in counted(list(ensembles_of(predictors).items()), "measuring cost", "rows", on_progress):
        trainings = [one for one in predictors if one.row == ensemble.row]
        if ensemble.seeds:
            trainings = [one for one in trainings if one.seed in ensemble.seeds]
        networks, count = _networks(store, trainings[0]), max(1, len(ensemble.seeds))
        spent = _spent(trainings, 1 if ensemble.seeds else len(trainings))
        macs = _mean_amount(networks, extractor, count, _multiplications, faces=_COUNTED_FACES)
        seconds = _mean_amount(networks, extractor, count, _seconds, faces=TIMED_FACES) if timed else None
        countable = all(one.extractor is None or _countable(one.extractor) for one in networks)
        costs.append(
            Cost(
                row=ensemble.row,
                label=label,
                members=ensemble.members,
                parameters=_parameters(networks, extractor, count) if networks and countable else None,
                gmac=macs / 1e9 if macs is not None and countable else None,
                training_seconds=spent[0],
                training_cpu_seconds=spent[1],
                milliseconds=1e3 * seconds if seconds else None,
                device=device.type if seconds else "",
                threads=torch.get_num_threads() if seconds else 0,
            )
        )
    return tuple(costs)


def with_costs(table: Table, costs: Sequence[Cost]) -> Table:
    """Return a table with the costs of the rows that are in it."""
    labels = {score.label for score in table.rows}
    return replace(table, cost=tuple(one for one in costs if one.label in labels))


def _networks(store: FeatureStore, predictor: Predictor) -> list[Networks]:
    """Return the networks of every coarse scale, or else of all scales; an empty list where they are unknown."""
    scales = known_scales(store, predictor)
    coarse = [scale for scale in scales if scale > 1] or scales
    return [] if predictor.networks is None else [predictor.networks(scale) for scale in coarse]


def _spent(trainings: Sequence[Predictor], count: int) -> tuple[float, float] | tuple[None, None]:
    """Return the time of all trainings over a count; None where that of one is unknown."""
    known = [one.spent for one in trainings if one.spent is not None]
    if len(known) < len(trainings):
        return None, None
    return sum(seconds for seconds, _ in known) / count, sum(cpu for _, cpu in known) / count


def _countable(extractor: Extractor) -> bool:
    """Tell whether an extractor's weights are PyTorch's; those of an ONNX file are in no module."""
    return weight_count(extractor.module) > weight_count(extractor.head)


def _parameters(of_scales: Sequence[Networks], extractor: Extractor, count: int) -> int:
    """Return the number of weights of a count of such networks, the store's extractor once."""
    modules: dict[int, nn.Module] = {}
    shared = 0
    for one in of_scales:
        if one.extractor is extractor:
            shared = weight_count(extractor.module)
        elif one.extractor is not None:
            modules[id(one.extractor.module)] = one.extractor.module
        for module in (one.generator, one.super_resolver and one.super_resolver.network):
            if module is not None:
                modules[id(module)] = module
    return shared + count * sum(map(weight_count, modules.values()))


def _mean_amount(
    of_scales: Sequence[Networks], extractor: Extractor, count: int, measure: _Measure, *, faces: int
) -> float | None:
    """Return an amount a face for a count of such networks, mean over the scales; None where they are unknown.

    Scales whose faces go in at one size are measured once.
    """
    measured: dict[tuple[int, ...], float] = {}
    shapes = [one.super_resolver.shape if one.super_resolver is not None else () for one in of_scales]
    for one, shape in zip(of_scales, shapes, strict=True):
        if shape not in measured:
            amount = _amount(one, extractor, measure, faces)
            measured[shape] = amount.shared + count * amount.own
    return fmean(measured[shape] for shape in shapes) if shapes else None


@torch.no_grad()
def _amount(networks: Networks, extractor: Extractor, measure: _Measure, faces: int) -> _Amount:
    """Measure the networks of a scale; behind a generator the extractor's own head is not counted."""
    super_resolver, own, generator = networks
    if own is None:
        return _Amount(0, 0)
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (faces, own.channels, own.side, own.side), dtype=np.uint8)
    batch = torch.from_numpy(pictures).to(own.device)
    embed = measure(lambda: own.embed(batch), faces, own.device)
    if super_resolver is not None:
        small = random.integers(0, 256, (faces, *super_resolver.shape), dtype=np.uint8)
        return _Amount(0, embed + measure(lambda: super_resolver.enlarge(small), faces, own.device))
    if own is not extractor:
        return _Amount(0, embed)
    if generator is None:
        return _Amount(embed, 0)
    taps = own.embed(batch)
    head = measure(lambda: own.head(taps.features), faces, own.device)
    own_part = measure(lambda: super_resolve(generator, taps.features, taps.early), faces, own.device)
    return _Amount(embed - head, head + own_part)


def _multiplications(run: Callable[[], Any], faces: int, _: torch.device) -> float:
    """Return the multiplications for a face."""
    with FlopCounterMode(display=False, custom_mapping=dict(_FORMULAS)) as counter:
        run()
    operations: int = counter.get_total_flops()
    return operations / 2 / faces


def _seconds(run: Callable[[], Any], faces: int, device: torch.device) -> float:
    """Return the seconds for a face, by the fastest of a few batches."""
    with torch.inference_mode():
        run()
        began, best = time.perf_counter(), math.inf
        for _ in range(_BATCHES):
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            now = time.perf_counter()
            best = min(best, now - start)
            if now - began > _SECONDS:
                break
    return best / faces


def _mapped_pooling(x: Sequence[int], w: Sequence[int], *_: Any, **__: Any) -> int:
    """Return twice the multiplications of maps ``[B, C, N]`` by ``[D, C]``, and of the result by itself."""
    positions = math.prod(x[2:])
    return 2 * x[0] * positions * w[0] * (w[1] + w[0])


def _pooling(x: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * x[0] * math.prod(x[2:]) * x[1] * x[1]


def _logarithm(S: Sequence[int], *_: Any, **__: Any) -> int:
    """Return twice the multiplications of the eigenvectors ``[B, D, D]`` by themselves."""
    return 2 * S[0] * S[1] ** 3


_OPS: Mapping[Any, Callable[..., int]] = {
    bimap_covariance_pool: _mapped_pooling,
    covariance_pool: _pooling,
    log_eig: _logarithm,
}
_FORMULAS: Mapping[Any, Callable[..., int]] = {
    getattr(torch.ops.fsrcache, op.__name__): formula for op, formula in _OPS.items()
}
