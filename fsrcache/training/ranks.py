"""The processes of one training, a rank each, as torchrun starts them: what they share out and what they exchange.

N ranks compute what one process would, up to rounding. Each draws the whole batch, learns from every N-th sample of it,
and updates its own copy of the weights by gradients that are averaged over all ranks. The first rank alone writes.
"""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from secrets import token_hex
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store, _get_default_store
from torch.distributed.rendezvous import rendezvous

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.records import shortened

_PATIENCE = timedelta(minutes=2)  # for processes that torchrun starts at once
_POLL_SECONDS = 0.02
_NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
_TORCHRUN = "Start it by torchrun, which sets all of them, or unset RANK and WORLD_SIZE to train in one process."


@dataclass(frozen=True, eq=False)
class Ranks:
    """A process among those of a training; by default it is alone, and every exchange returns its argument.

    Attributes
    ----------
    rank, size
        Number of this process, from 0, and number of all.
    local_rank, local_size
        The same among the processes of this host.
    launched
        Whether torchrun started it, which may restart it, also as one of more or fewer ranks.
    restarted
        Whether torchrun did restart it after a failure: what was to begin anew has begun.
    store
        Store of the processes' launcher; None without others.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    launched: bool = False
    restarted: bool = False
    store: Store | None = None

    @property
    def first(self) -> bool:
        """Whether this rank is the one that writes and reports."""
        return self.rank == 0

    def own_device(self, device: torch.device) -> torch.device:
        """Return the device of this rank: of several on a host each has a GPU of its own.

        Raises
        ------
        RequestError
            If one GPU is named for several ranks, or there are fewer GPUs than ranks.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        if ":" in str(device):
            raise RequestError(
                f"{device} is one GPU, and {self.local_size} processes on this host ask for it.",
                "Leave out its number: every process gets a GPU of its own.",
            )
        if self.local_rank >= (count := torch.cuda.device_count()):
            raise RequestError(
                f"This host has {count} GPUs for {self.local_size} processes.",
                f"Use torchrun --nproc-per-node={count}.",
            )
        return torch.device("cuda", self.local_rank)

    def refuse_uneven(self, batch: int, *, parts: int = 1) -> None:
        """Raise unless every rank gets as many samples of a batch, and of each of its equal parts.

        Raises
        ------
        RequestError
            With the batch and the number of ranks.
        """
        if self.size > 1 and batch % (self.size * parts):
            shares = f"{self.size} processes" + (f" times {parts} members" if parts > 1 else "")
            raise RequestError(
                f"A batch of {batch:,} cannot be shared equally by {shares}.",
                f"Set a batch that is a multiple of {self.size * parts:,}, or start another number of processes.",
            )

    def share(self, values: Tensor) -> Tensor:
        """Return this rank's samples of a batch, every N-th: they are every N-th of each part of the batch as well."""
        return values if self.size == 1 else values[self.rank :: self.size].contiguous()

    def whole(self, values: Tensor) -> Tensor:
        """Return the samples of all ranks, rank after rank."""
        if self.size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.size)]
        with _exchange():
            dist.all_gather(parts, values)
        return torch.cat(parts)

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the means of tensors over the ranks, the same bits on each, by one exchange of all end to end."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _exchange():
            dist.all_reduce(flat)
        parts = torch.split(flat / self.size, [tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def mean_with_gradient(self, values: Tensor) -> Tensor:
        """Return the mean of values over the ranks, to be differentiated by each rank's own."""
        if self.size == 1:
            return values
        total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return total / self.size

    def gathered(self, *numbers: float) -> list[tuple[float, ...]]:
        """Return the numbers of every rank, by rank."""
        rows = self.whole(torch.tensor([numbers], dtype=torch.float64))
        return [tuple(row) for row in rows.tolist()]

    def wait(self) -> None:
        """Wait until all ranks have come here, for hours where the work of one takes as long."""
        if self.size == 1:
            return
        assert self.store is not None
        with _exchange():
            turn = self.store.add(f"waits of {self.rank}", 1)
            self.store.add(f"wait {turn}", 1)
            while self.store.add(f"wait {turn}", 0) < self.size:
                time.sleep(_POLL_SECONDS)

    def texts(self, text: str) -> list[str]:
        """Return the texts of every rank, by rank; it waits as ``wait`` does."""
        if self.size == 1:
            return [text]
        assert self.store is not None
        with _exchange():
            turn = self.store.add(f"texts of {self.rank}", 1)
            self.store.set(f"text {turn} of {self.rank}", text)
            self.wait()
            return [self.store.get(f"text {turn} of {rank}").decode() for rank in range(self.size)]

    def sums(self, *numbers: int) -> list[int]:
        """Return the sums of whole numbers over the ranks; it waits as ``wait`` does."""
        self.wait()
        return [int(sum(of_all)) for of_all in zip(*self.gathered(*numbers), strict=True)]

    def fails_first(self) -> bool:
        """Tell whether no other rank has asked this: the first to fail speaks for all."""
        if self.store is None:
            return True
        try:
            return int(self.store.add("failed", 1)) == 1
        except RuntimeError:  # the launcher has gone
            return True


class _Sum(torch.autograd.Function):
    """The sum of values over the ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004  # nothing is kept
        return _summed(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return _summed(gradient)


def _summed(values: Tensor) -> Tensor:
    total = values.detach().clone(memory_format=torch.contiguous_format)
    with _exchange():
        dist.all_reduce(total)
    return total


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other processes that torchrun started, until the end; without torchrun this process is alone.

    Exchanges are by gloo between CPUs and by NCCL between GPUs. Inside another ``joined`` nothing is joined anew.

    Raises
    ------
    RequestError
        If the environment describes no rank.
    FsrcacheError
        If the others cannot be reached.
    """
    ranks = _ranks_of(os.environ)
    if ranks.size == 1:
        yield ranks
        return
    if dist.is_initialized():
        yield _connected(ranks)
        return
    if torch.cuda.is_available() and ranks.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(ranks.local_rank)
    with _exchange():
        store, _, _ = next(rendezvous("env://", timeout=_PATIENCE))
        store = PrefixStore(f"turn {_turn(store, ranks)}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.size)
    try:
        yield _connected(ranks)
    finally:
        dist.destroy_process_group()


def _connected(ranks: Ranks) -> Ranks:
    """Return this process among those that have joined."""
    restarted = any(number for (number,) in ranks.gathered(ranks.restarted))  # torchrun counts on every host for itself
    return replace(ranks, restarted=restarted, store=_get_default_store())


def _turn(store: Store, ranks: Ranks) -> int:
    """Return the number of the time that processes join, the same for all of them, once all have come.

    The store outlives processes, which join again and again, and of which some may have died before they joined. The
    first counts the turn. The others are in it when it names the token that each of them has drawn.
    """
    token, until = token_hex(8), time.monotonic() + _PATIENCE.total_seconds()
    turn = store.add("turn", int(ranks.first))
    others = range(1, ranks.size)
    while time.monotonic() < until:
        if ranks.first and store.check([f"{turn} of {rank}" for rank in others]):
            store.set(f"{turn}", " ".join(store.get(f"{turn} of {rank}").decode() for rank in others))
            return turn
        if not ranks.first:
            turn = store.add("turn", 0)
            store.set(f"{turn} of {ranks.rank}", token)
            if store.check([f"{turn}"]) and token in store.get(f"{turn}").decode().split():
                return turn
        time.sleep(_POLL_SECONDS)
    raise RuntimeError(f"not all of {ranks.size} processes came within {_PATIENCE.total_seconds():.0f} s")


def _ranks_of(environment: Mapping[str, str]) -> Ranks:
    """Return what torchrun's variables say, without a store; that this process is alone where there are none."""
    if not environment.get("RANK") and not environment.get("WORLD_SIZE"):
        return ALONE
    texts = {name: environment.get(name, "") for name in _NUMBERS}
    wrong = [name for name, text in texts.items() if not re.fullmatch("[0-9]{1,6}", text)]
    wrong += [] if environment.get("MASTER_ADDR") else ["MASTER_ADDR"]
    if not wrong:
        rank, size, local_rank, local_size, _ = map(int, texts.values())
        if rank < size and local_rank < local_size <= size:
            restarted = environment.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
            return Ranks(rank, size, local_rank, local_size, launched=True, restarted=restarted)
        wrong = list(_NUMBERS[:4])
    values = ", ".join(f"{name} is {shortened(environment.get(name, ''))}" for name in wrong)
    raise RequestError(f"The environment is that of one of several processes, but {values}.", _TORCHRUN)


@contextmanager
def _exchange() -> Iterator[None]:
    """Turn torch's errors of an exchange into words."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FsrcacheError(
            f"Another process of this training has ended or cannot be reached: {shortened(reason)}.",
            "Its own message, if it left one, says why. Run the same command again to go on from the last checkpoint.",
        ) from None
