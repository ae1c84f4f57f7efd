"""The one way from pictures to features: degrade, extract, classify."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from fsrcache.device import fp32_precision
from fsrcache.errors import RequestError
from fsrcache.extractors.extractor import Extractor
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import SCALE_FORM, Degradation, low_resolution_view
from fsrcache.records import Between, check_value

SIDE_BY_SIDE = 4  # batches at a time, each of which takes memory


class Features(NamedTuple):
    """Outputs of the frozen extractor.

    Attributes
    ----------
    features, embeddings, probabilities
        fp32 [B, P], [B, E] and [B, K].
    early
        fp32 [B, Q], the early features; Q is 0 where there are none.
    """

    features: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    early: NDArray[np.float32]


def view_of(pictures: Pictures, *, scale: int = 1, degradation: Degradation = SCALE_FORM) -> Pictures:
    """Return pictures uint8 ``[B, S, S, C]`` as seen at a scale, as the extractor takes them: ``[B, C, S, S]``."""
    return np.ascontiguousarray(low_resolution_view(pictures, scale, degradation).transpose(0, 3, 1, 2))


@torch.inference_mode()
def features_of_view(extractor: Extractor, view: Pictures) -> Features:
    """Return the features of what ``view_of`` gave; on several threads only within ``side_by_side``."""
    taps = extractor.embed(torch.from_numpy(view).to(extractor.device))
    probabilities = taps.logits.softmax(dim=1)
    early = probabilities[:, :0] if taps.early is None else taps.early
    outputs = (taps.features, taps.embedding, probabilities, early)
    return Features(*(tensor.float().cpu().numpy() for tensor in outputs))


@fp32_precision(tf32=False)
def features_of(
    extractor: Extractor, pictures: Pictures, *, scale: int = 1, degradation: Degradation = SCALE_FORM
) -> Features:
    """Return the features of pictures as seen at a scale.

    Parameters
    ----------
    extractor
        The frozen network, on any device.
    pictures
        uint8 ``[B, S, S, C]`` at full resolution.
    scale, degradation
        How coarse they are seen, and how they are made so.

    Raises
    ------
    RequestError
        If it is no extractor, the pictures are no such array or of another side than the extractor's, or there is no
        such scale or degradation.
    """
    if not isinstance(extractor, Extractor) or extractor.module.training:
        state = " in training mode" * isinstance(extractor, Extractor)
        raise RequestError(
            f"The extractor is {type(extractor).__name__}{state}.",
            "It should be what open_extractor returns, in evaluation mode.",
        )
    side = extractor.side
    fits = isinstance(pictures, np.ndarray) and pictures.dtype == np.uint8 and pictures.ndim == 4
    if not fits or pictures.shape[1:3] != (side, side) or pictures.shape[3] not in (1, 3):
        shown = f"{type(pictures).__name__} {getattr(pictures, 'shape', '')} {getattr(pictures, 'dtype', '')}".rstrip()
        raise RequestError(
            f"The pictures are {shown}.", f"It should be a NumPy array uint8 [B, {side}, {side}, 1 or 3]."
        )
    check_value(Annotated[int, Between(1, side)], scale, name="scale")
    check_value(Degradation, degradation, name="degradation")
    return features_of_view(extractor, view_of(pictures, scale=scale, degradation=degradation))


class Workers(NamedTuple):
    """How many batches are extracted at a time, and what each of their threads calls first."""

    threads: int
    begin: Callable[[], object]


@contextmanager
def side_by_side(extractor: Extractor) -> Iterator[Workers]:
    """Share torch's threads out among several batches, until the end of the context.

    Threads that work on one batch wait for each other after every operation, and then for whatever else a core does,
    such as decoding; a batch on a thread of its own waits for nobody. NumPy's products, of resizing, get one thread.
    Products and convolutions are fp32.
    """
    whole, device = torch.get_num_threads(), extractor.device
    threads = min(SIDE_BY_SIDE, whole if device.type == "cpu" else max(2, whole))
    if device.type != "cpu":
        torch.linalg.eigh(torch.eye(2, device=device))  # torch loads its solver at the first call: not by many threads
    try:
        with threadpool_limits(1, user_api="blas"), fp32_precision(tf32=False):
            yield Workers(threads, partial(torch.set_num_threads, max(1, whole // threads)))
    finally:
        torch.set_num_threads(whole)
