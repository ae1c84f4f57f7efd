"""Extraction on Ray: an actor of every worker holds the extractor and writes blocks of the store by itself."""

import logging
import os
import re
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from os import PathLike
from typing import Any

import torch

from fsrcache.device import keep_freed_memory
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extraction.blocks import Extracted, extract_blocks
from fsrcache.extraction.source import FaceSource
from fsrcache.records import shortened
from fsrcache.store.blocks import Block, write_block
from fsrcache.store.inventory import Inventory
from fsrcache.store.objects import objects_at
from fsrcache.store.spec import StoreSpec

_PATIENCE = 10.0  # seconds, until the head of a cluster answers
_RETRIES = 20  # of an actor, and of its blocks: the preemptions that it survives


@dataclass(frozen=True)
class RayCluster:
    """A cluster of Ray, and what its workers compute on.

    Attributes
    ----------
    address
        Address of its head, ``auto`` for the one on this machine; None for ``RAY_ADDRESS`` in the environment, else
        for a cluster on this machine that lives as long as the work. A program that is connected stays so.
    device
        ``cpu``, ``cuda``, or ``auto``: the GPUs if the cluster has any.

    Raises
    ------
    RequestError
        If Ray is not installed, or the device is another.
    """

    address: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise RequestError(f"Ray cannot be loaded: {error}.", "Install it: pip install 'fsrcache[ray]'.") from None
        if self.device not in ("auto", "cpu", "cuda"):
            raise RequestError(
                f"The device is {shortened(self.device)}.", "On Ray it is auto, cpu or cuda: Ray chooses which GPU."
            )


def extract_on_ray(
    source: FaceSource, spec: StoreSpec, blocks: Sequence[Block], *, store: str | PathLike[str], cluster: RayCluster
) -> Generator[Extracted]:
    """Extract and write blocks of a store that a ``FeatureWriter`` of this process has begun and holds.

    All scales of a block are one task. Workers write to the store themselves; nothing but numbers comes back. A worker
    that dies is begun anew by Ray, where there is room, and so is its task: it writes the same bytes.

    Parameters
    ----------
    source
        Faces and extractor, on the CPU; every worker gets a copy, and decodes the pictures where they lie.
    spec, blocks
        As for ``extract_blocks``.
    store
        The store, a folder that all nodes have or a URL.
    cluster
        Where the workers are.

    Yields
    ------
    Extracted
        After every block at a scale.

    Raises
    ------
    RequestError
        If the cluster has no such device.
    FsrcacheError
        If there is no such cluster, a worker dies again and again, or a worker raised it.
    """
    import ray
    from ray.exceptions import RayActorError, RayTaskError

    tasks = [list(scales) for _, scales in groupby(blocks, key=itemgetter(0, 2))]
    with _connected(cluster.address):
        count, cpus, gpus = _workers(cluster.device)
        begin = ray.remote(num_cpus=cpus, num_gpus=gpus, max_restarts=_RETRIES, max_task_retries=_RETRIES)(_Worker)
        location = objects_at(store).folder or store  # absolute
        actors: list[Any] = [begin.remote(spec, location, cpus, gpus) for _ in range(min(count, len(tasks)))]
        try:
            yield from _in_turn(actors, [ray.put(source)], tasks)
        except RayTaskError as error:
            if isinstance(error.cause, FsrcacheError):
                raise error.cause from None
            raise
        except RayActorError as error:
            reason = str(error).strip().splitlines()[-1]
            raise FsrcacheError(
                f"A worker of Ray died and was not begun again: {shortened(reason)}.",
                "Every node needs fsrcache, and the package of the extractor if it has one. Then do the same again: it "
                "goes on.",
            ) from None
        finally:
            for actor in actors:
                ray.kill(actor)


def _in_turn(actors: Sequence[Any], shared: Sequence[Any], tasks: Sequence[list[Block]]) -> Iterator[Extracted]:
    """Give each actor a task, and the next one whenever it is done; one that has no more is ended."""
    import ray

    waiting = iter(tasks)
    running = {actor.extract.remote(shared, task): actor for actor, task in zip(actors, waiting, strict=False)}
    while running:
        (ready,), _ = ray.wait(list(running))
        try:
            yield ray.get(next(ready))
        except StopIteration:
            actor = running.pop(ready)
            if (task := next(waiting, None)) is not None:
                running[actor.extract.remote(shared, task)] = actor
            else:  # its room may be what a worker that lost its node waits for
                ray.kill(actor)


class _Worker:
    """What an actor holds: faces and extractor, and a store that it writes blocks of."""

    def __init__(self, spec: StoreSpec, store: str | PathLike[str], cpus: int, gpus: int) -> None:
        torch.set_num_threads(cpus)
        keep_freed_memory()
        self._spec, self._store, self._device = spec, store, "cuda" if gpus else "cpu"
        self._source: FaceSource | None = None

    def extract(self, shared: Sequence[Any], blocks: Sequence[Block]) -> Iterator[Extracted]:
        """Extract and write blocks; yield after each."""
        source = self._source = self._source or self._opened(shared)
        split, _, number = blocks[0]  # they are the scales of one block
        rows = self._spec.rows_of(split, number)
        ids = {split: dict(zip(range(rows.start, rows.stop), source.ids(split, rows), strict=True))}
        write = partial(write_block, Inventory(objects_at(self._store), keys=()), self._spec, ids=ids)
        for scale, batches in groupby(extract_blocks(source, self._spec, blocks, write=write), key=itemgetter(0)):
            yield scale, sum(count for _, count in batches)

    def _opened(self, shared: Sequence[Any]) -> FaceSource:
        """Return the source by a reference in a list, which Ray hands over as it is."""
        import ray

        source: FaceSource = ray.get(shared[0])
        source.extractor.to(self._device)
        return source


def _workers(device: str) -> tuple[int, int, int]:
    """Return how many workers a cluster has room for, and how many CPUs and GPUs each of them gets."""
    import ray

    room: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus, gpus = max(1, int(room.get("CPU", 1))), int(room.get("GPU", 0))
    if device == "cuda" and not gpus:
        raise RequestError("The device is cuda, and Ray's cluster has no GPU.", "Use auto or cpu.")
    if device == "cpu" or not gpus:
        return cpus, 1, 0
    return gpus, max(1, cpus // gpus), 1


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connect to a cluster until the end of the context, unless the program is connected already."""
    import ray

    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read by the cluster, which else reports itself
        options = {"num_cpus": torch.get_num_threads(), "include_dashboard": False}
    try:
        if match := re.fullmatch(r"\[?([^/]+?)\]?:([0-9]{1,5})", address):  # Ray itself asks for minutes
            socket.create_connection((match[1], int(match[2])), timeout=_PATIENCE).close()
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises many, and the plain one where a node does not start
        raise FsrcacheError(
            f"There is no cluster of Ray at {shortened(address)}: {' '.join(str(error).split())}",
            "Begin one by `ray start --head`, or name the address that it printed.",
        ) from None
    try:
        yield
    finally:
        ray.shutdown()
