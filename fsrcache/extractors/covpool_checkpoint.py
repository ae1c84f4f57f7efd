"""CovPoolFER's published TensorFlow checkpoints as extractors of ours, layer by layer.

Convolutions are known by their kernels of four dimensions, in the order of the numbers in their names; dense layers by
what goes into them; the map by ``orth_weight``. A pooling stands where the number of channels changes, as in Model-2.
The first dense layer reads all D x D numbers of a matrix, ours the triangle: the weights of both halves are added up.
Its eigenvalues are clipped at 1e4 too, ours are not (see ``fsrcache.kernels.log_eig``).

Source: Acharya et al., 2018, and the names in their public training code, whose embedding has no ReLU.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fsrcache.errors import FsrcacheError
from fsrcache.extractors.covpool import CovPoolFER
from fsrcache.extractors.tensor_bundle import BundleTensor, bundle_tensors, read_tensor, refuse_missing_bytes
from fsrcache.presets import EXTRACTORS

_Tensors = Mapping[str, BundleTensor]
_WEIGHTS = "/weights"


def checkpoint_covpool(prefix: str | PathLike[str], *, classes: tuple[str, ...]) -> CovPoolFER:
    """Read a checkpoint of CovPoolFER's Model-2, or one of its form in other sizes.

    Parameters
    ----------
    prefix
        Path of the checkpoint without ``.index``.
    classes
        The K class names, in the order of its logits: a checkpoint does not hold them.

    Returns
    -------
    CovPoolFER
        On the CPU, in evaluation mode.

    Raises
    ------
    FsrcacheError
        If a layer is missing, of another shape or there twice, with all names of the checkpoint; or the files are
        missing or damaged.
    """
    tensors = bundle_tensors(prefix)
    convolutions = _convolutions(tensors)
    orthogonal = _only(tensors, [name for name in tensors if name.endswith("orth_weight0")], "the orthonormal map")
    channels, side = _two(tensors, orthogonal)
    hidden_layer = _dense(tensors, side * side, "the first dense layer")
    embedding_layer = _dense(tensors, hidden := tensors[hidden_layer].shape[1], "the embedding")
    logits_layer = _dense(tensors, embedding := tensors[embedding_layer].shape[1], "the logits")
    widths = [tensors[name].shape[3] for name in convolutions]
    if widths[-1] != channels or tensors[logits_layer].shape[1] != len(classes):
        raise _unlike(tensors, f"it ends in {widths[-1]} channels and {tensors[logits_layer].shape[1]} classes")
    layers = (*convolutions, orthogonal, hidden_layer, embedding_layer, logits_layer)
    refuse_missing_bytes(prefix, {name: tensors[name] for name in layers})
    config = replace(
        EXTRACTORS["paper"], stages=tuple(tuple(stage) for _, stage in groupby(widths)), spd_side=side,
        hidden=hidden, embedding=embedding, linear_embedding=True,
    )  # fmt: skip
    model = CovPoolFER(config, classes).eval()

    def read(name: str) -> NDArray[np.float32]:
        if name not in tensors:
            raise _unlike(tensors, f"there is no {name}")
        return read_tensor(prefix, name, tensors[name])

    @torch.no_grad()
    def fill(target: torch.Tensor | None, name: str, values: NDArray[np.float32]) -> None:
        assert target is not None
        if target.shape != values.shape:
            raise _unlike(tensors, f"{name} is {list(tensors[name].shape)}, for weights of {list(target.shape)}")
        target.copy_(torch.from_numpy(np.ascontiguousarray(values)))

    def fill_norm(norm: nn.Module, weights: str) -> None:
        """Fill a norm from a layer's ``BatchNorm``, whose factors are 1."""
        assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
        of_name = {"beta": norm.bias, "moving_mean": norm.running_mean, "moving_variance": norm.running_var}
        for name, target in of_name.items():
            fill(target, one := _beside(weights, f"BatchNorm/{name}"), read(one))

    norms = [layer for layer in model.trunk if isinstance(layer, nn.BatchNorm2d)]
    kernels = [layer for layer in model.trunk if isinstance(layer, nn.Conv2d)]
    for name, kernel, norm in zip(convolutions, kernels, norms, strict=True):
        fill(kernel.weight, name, read(name).transpose(3, 2, 0, 1))
        fill_norm(norm, name)
    assert model.pool.bimap is not None
    fill(model.pool.bimap.weight, orthogonal, read(orthogonal).T)
    to_hidden, hidden_norm, _, to_embedding, embedding_norm, _ = model.head.embed
    assert isinstance(to_hidden, nn.Linear)
    assert isinstance(to_embedding, nn.Linear)
    fill(to_hidden.weight, hidden_layer, _of_triangle(read(hidden_layer), side).T)
    fill_norm(hidden_norm, hidden_layer)
    fill(to_embedding.weight, embedding_layer, read(embedding_layer).T)
    fill_norm(embedding_norm, embedding_layer)
    fill(model.head.classify.weight, logits_layer, read(logits_layer).T)
    biases = _beside(logits_layer, "biases")
    fill(model.head.classify.bias, biases, read(biases))
    return model


def _convolutions(tensors: _Tensors) -> list[str]:
    """Return the names of the kernels in their order, each of which takes what the one before gives."""
    names = [name for name, one in tensors.items() if name.endswith(_WEIGHTS) and len(one.shape) == 4]
    if not names or any(re.search(r"\d+/weights$", name) is None for name in names):
        raise _unlike(tensors, "there are no convolutions with numbers in their names")
    names.sort(key=lambda name: int(re.findall(r"\d+", name)[-1]))
    widths = [3, *(tensors[name].shape[3] for name in names)]
    for name, incoming in zip(names, widths, strict=False):
        if tensors[name].shape[:3] != (3, 3, incoming):
            raise _unlike(tensors, f"{name} is {list(tensors[name].shape)} and should begin with 3 x 3 x {incoming}")
    return names


def _dense(tensors: _Tensors, incoming: int, what: str) -> str:
    """Return the name of the dense layer that takes some numbers."""
    layers = [name for name, one in tensors.items() if name.endswith(_WEIGHTS) and len(one.shape) == 2]
    return _only(
        tensors, [name for name in layers if tensors[name].shape[0] == incoming], f"{what} of {incoming} numbers"
    )


def _only(tensors: _Tensors, names: Sequence[str], what: str) -> str:
    if len(names) != 1:
        raise _unlike(tensors, f"{what} is there {len(names)} times")
    return names[0]


def _two(tensors: _Tensors, name: str) -> tuple[int, int]:
    shape = tensors[name].shape
    if len(shape) != 2 or not 0 < shape[1] <= shape[0]:
        raise _unlike(tensors, f"{name} is {list(shape)}")
    return shape[0], shape[1]


def _unlike(tensors: _Tensors, why: str) -> FsrcacheError:
    held = ", ".join(f"{name} {list(one.shape)}" for name, one in sorted(tensors.items()))
    return FsrcacheError(f"This is no checkpoint of CovPoolFER's Model-2: {why}.", f"It holds {held}.")


def _beside(weights: str, name: str) -> str:
    return f"{weights.removesuffix(_WEIGHTS)}/{name}"


def _of_triangle(weights: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return weights [D D, H] of symmetric matrices as those of their vech [P, H]."""
    square = weights.reshape(side, side, -1)
    rows, columns = np.triu_indices(side)
    both = square[rows, columns] + square[columns, rows]
    return both / np.where(rows == columns, 2, math.sqrt(2)).astype(np.float32)[:, None]
