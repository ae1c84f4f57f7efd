"""Heads re-fitted on a row's own features of all scales: the frozen head's architecture, or a linear classifier."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

from fsrcache.device import pick_device
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.arguments import check_array, check_classes, check_number, shown
from fsrcache.progress import ProgressCallback, counted, no_progress
from fsrcache.records import Between, Seed, check_fields, check_value

Features = Mapping[int, NDArray[np.floating[Any]]]  # {scale: [n, P]}, row i the same face at every scale
_READ = 4096  # rows turned into fp32 at a time


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Settings of a fit: cross-entropy, AdamW, one-cycle learning rate; an epoch is every face at every scale.

    Raises
    ------
    RequestError
        If a field is of another type or out of its range.
    """

    epochs: Annotated[int, Between(1, 1_000_000)]
    batch: Annotated[int, Between(1, 1_000_000)]
    learning_rate: Annotated[float, Between(1e-12, 1e3)]
    weight_decay: Annotated[float, Between(0, 1e3)]
    label_smoothing: Annotated[float, Between(0, 1)]

    def __post_init__(self) -> None:
        check_fields(self)


MLP = Fit(epochs=3, batch=256, learning_rate=1e-3, weight_decay=1e-2, label_smoothing=0.1)
LINEAR = Fit(epochs=8, batch=512, learning_rate=3e-3, weight_decay=0.1, label_smoothing=0.0)


class Standardise(nn.Module):
    """Give every dimension mean 0 and standard deviation 1, [b, P] -> [b, P]; one that never varies becomes 0.

    Parameters
    ----------
    mean, deviation
        [P], of the training features.
    """

    mean: torch.Tensor
    factor: torch.Tensor

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("factor", torch.where(deviation > 0, 1 / deviation, 0.0))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Standardise [b, P]."""
        return (features - self.mean) * self.factor


def refit_mlp(
    features: Features,
    labels: NDArray[np.integer[Any]],
    *,
    head: Callable[[], nn.Module],
    seed: int,
    fit: Fit = MLP,
    device: str | torch.device = "cpu",
    on_progress: ProgressCallback = no_progress,
) -> nn.Module:
    """Train a fresh head on features of all scales, a minibatch drawn across faces and scales.

    Parameters
    ----------
    features
        {scale: fp16 or fp32 [n, P]}, features of the training pictures; scale 1 is full resolution.
    labels
        int [n], the classes.
    head
        Function that returns an untrained head: fp32 [b, P] -> logits [b, K].
    seed
        Random seed of initial weights, dropout and the order of the minibatches: the same seed gives the same weights
        on the same device with the same number of threads. The global random state stays as it was.
    fit
        Settings of the fit.
    device
        Device of the fit and of the head.
    on_progress
        Callback, every second.

    Returns
    -------
    nn.Module
        The head in evaluation mode.

    Raises
    ------
    FsrcacheError
        If there is nothing to fit, features and labels differ in number, or the loss stops being finite.
    RequestError
        If an argument is of another type or out of its range.
    """
    _check(features, labels)
    check_value(Seed, seed, name="seed")
    check_value(Fit, fit, name="fit")
    if not callable(head):
        raise RequestError(f"head is {shown(head)}.", "It should be a function that makes a module.")
    location = pick_device(str(device))
    with torch.random.fork_rng([location] if location.type == "cuda" else []):
        torch.manual_seed(seed)
        module = head().to(location).train()
        _fit(module, features, labels, seed=seed, fit=fit, on_progress=on_progress)
    return module.eval()


def refit_linear(
    features: Features,
    labels: NDArray[np.integer[Any]],
    *,
    classes: int,
    seed: int,
    fit: Fit = LINEAR,
    device: str | torch.device = "cpu",
    on_progress: ProgressCallback = no_progress,
) -> nn.Module:
    """Fit multinomial logistic regression on standardised features of all scales, starting from zero weights.

    Parameters, result and errors are those of :func:`refit_mlp`; ``classes`` is K, more than any label.
    """
    _check(features, labels)
    check_number(Annotated[int, Between(int(labels.max()) + 1, 4096)], classes, name="classes")
    mean, deviation = _moments(features)

    head = partial(linear_head, mean, deviation, classes=classes)
    return refit_mlp(features, labels, head=head, seed=seed, fit=fit, device=device, on_progress=on_progress)


def linear_head(mean: torch.Tensor, deviation: torch.Tensor, *, classes: int) -> nn.Module:
    """Return logistic regression on standardised features, its weights zero; mean and deviation are [P]."""
    linear = nn.Linear(len(mean), classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(Standardise(mean, deviation), linear)


class Logits(nn.Module):
    """A head (features -> (embedding, logits)) without its embedding."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits [b, K] of features [b, P]."""
        logits: torch.Tensor = self.head(features)[1]
        return logits


@torch.inference_mode()
def probabilities_of(head: nn.Module, features: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return the probabilities fp32 [n, K] that a head (fp32 [b, P] -> logits [b, K]) gives to features [n, P].

    Raises
    ------
    RequestError
        If the features are no such array.
    """
    check_array(features, "f", None, None, name="features", wanted="a NumPy array [n, P] of floating-point numbers")
    device = next(chain(head.parameters(), head.buffers())).device
    parts = [head(torch.from_numpy(part).to(device).float()).softmax(1).cpu() for part in _parts(features)]
    return torch.cat(parts).float().numpy()


def _fit(
    module: nn.Module,
    features: Features,
    labels: NDArray[np.integer[Any]],
    *,
    seed: int,
    fit: Fit,
    on_progress: ProgressCallback,
) -> None:
    device = next(module.parameters()).device
    truth = torch.from_numpy(labels.astype(np.int64)).to(device)
    pairs = len(labels) * len(features)
    batch = min(fit.batch, pairs)
    optimiser = torch.optim.AdamW(module.parameters(), fit.learning_rate, weight_decay=fit.weight_decay)
    steps = fit.epochs * (pairs // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, fit.learning_rate, total_steps=steps)
    generator = np.random.default_rng(seed)
    for epoch in range(1, fit.epochs + 1):
        total = torch.zeros((), device=device)
        batches, before = _minibatches(features, batch, generator), (epoch - 1) * (pairs // batch)
        for drawn, faces in counted(batches, "re-fitting the head", "steps", on_progress, before=before, total=steps):
            logits = module(torch.from_numpy(drawn).to(device).float())
            loss = cross_entropy(logits, truth[torch.from_numpy(faces).to(device)], label_smoothing=fit.label_smoothing)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            total += loss.detach()
        if not torch.isfinite(total):
            raise FsrcacheError(
                f"The loss of the re-fitted head stopped being finite in epoch {epoch} of {fit.epochs}.",
                f"Look for non-finite features, or lower the learning rate of {fit.learning_rate}.",
            )


def _minibatches(
    features: Features, batch: int, generator: np.random.Generator
) -> Iterator[tuple[NDArray[np.floating[Any]], NDArray[np.int64]]]:
    """Yield (features [b, P], rows [b]) over all pairs (face, scale) in random order; the last few may be left."""
    arrays = list(features.values())
    order = generator.permutation(len(arrays[0]) * len(arrays))
    for start in range(0, len(order) - batch + 1, batch):
        faces, scales = np.divmod(order[start : start + batch], len(arrays))
        drawn = np.empty((batch, arrays[0].shape[1]), arrays[0].dtype)
        for scale, array in enumerate(arrays):  # by its index
            chosen = scales == scale
            drawn[chosen] = array[faces[chosen]]
        yield drawn, faces


def _moments(features: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of each dimension over all scales, fp32 [P] each, in two fp64 passes."""
    count = sum(len(array) for array in features.values())
    parts = [part for array in features.values() for part in _parts(array)]
    mean = sum(part.sum(0, dtype=np.float64) for part in parts) / count
    variance = sum(np.square(part - mean).sum(0) for part in parts) / count
    return torch.from_numpy(np.float32(mean)), torch.from_numpy(np.float32(np.sqrt(variance)))


def _parts(array: NDArray[np.floating[Any]]) -> Iterator[NDArray[np.floating[Any]]]:
    return (array[start : start + _READ] for start in range(0, max(1, len(array)), _READ))


def _check(features: Features, labels: NDArray[np.integer[Any]]) -> None:
    check_value(Mapping[Annotated[int, Between(1, 1 << 16)], Any], features, name="features")
    check_array(labels, "iu", None, name="labels", wanted="a NumPy array [n] of whole numbers, the classes")
    if len(labels) == 0 or not features:
        raise FsrcacheError("There are no training features to re-fit a head on.", "Extract the training split first.")
    check_classes(labels=labels)
    width = None
    for scale, array in features.items():
        wanted = "a NumPy array [n, P] of floating-point numbers, P the same at every scale"
        check_array(array, "f", None, width, name=f"features[{scale}]", wanted=wanted)
        width = array.shape[1]
        if len(array) != len(labels):
            raise FsrcacheError(
                f"The training features at scale {scale} have {len(array)} rows, but there are {len(labels)} labels.",
                "Give the features of exactly the labelled pictures, in their order.",
            )
