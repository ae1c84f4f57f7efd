"""Random inputs of a seed, the same on every device, and the same numbers in other memory layouts."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from studies.gpu.checks import Limited, distance

SUMS = 5e-6  # relative tolerance of fp32 sums against float64
HALF = {torch.float32: SUMS, torch.float16: 1e-3, torch.bfloat16: 1e-2}  # of results rounded to a type
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def drawn(
    *shape: int, device: torch.device, dtype: torch.dtype = torch.float32, offset: float = 0.0, seed: int = 0
) -> Tensor:
    """Return normal numbers about an offset."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) + offset).to(device, dtype)


def symmetric(count: int, side: int, *, device: torch.device, seed: int = 0) -> Tensor:
    """Return symmetric matrices [count, side, side]."""
    matrices = drawn(count, side, side, device=device, seed=seed)
    return (matrices + matrices.mT) / 2


def ridged(count: int, side: int, *, device: torch.device, seed: int = 0) -> Tensor:
    """Return covariances [count, side, side] with a ridge of 1e-4 of the trace, as the extractor's are."""
    maps = drawn(count, side, 144, device=device, seed=seed).relu().double()
    centred = maps - maps.mean(-1, keepdim=True)
    covariances = centred @ centred.mT / 143
    trace = covariances.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (covariances + 1e-4 * trace[:, None, None] * torch.eye(side, device=device)).float()


def layouts(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield a tensor [A, B, C] in other memory layouts, with NaN in their gaps."""
    yield "transposed", x.mT.contiguous().mT
    yield "first axis last", x.movedim(0, -1).contiguous().movedim(-1, 0)
    gaps = torch.full_like(x, torch.nan)
    yield "every other number", torch.stack([x, gaps], -1)[..., 0]
    yield "every other sample", torch.stack([x, gaps], 1)[:, 0]
    yield "not at the beginning", torch.cat([gaps.flatten()[:1], x.flatten()])[1:].view(x.shape)
    yield "one sample for all", x[:1].expand_as(x)


def in_layouts(x: Tensor, work: Callable[[Tensor], list[tuple[Tensor, Tensor]]]) -> Iterator[tuple[str, Limited]]:
    """Yield the distances of the work's results on x [A, B, C] in every layout."""
    for name, laid in layouts(x):
        for number, (got, expected) in enumerate(work(laid)):
            yield f"{name}, result {number}", Limited(distance(got, expected), SUMS)
    if x.shape[2] == 36:
        maps = x.view(*x.shape[:2], 6, 6).contiguous(memory_format=torch.channels_last).flatten(2)
        for number, (got, expected) in enumerate(work(maps)):
            yield f"channels last, result {number}", Limited(distance(got, expected), SUMS)
