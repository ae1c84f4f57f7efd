"""Shuffled epochs by batches of 128, by us and by others: their rows are checked before they are timed."""

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor

from fsrcache.benchmarks.harness import Case, Work
from fsrcache.benchmarks.synthetic_store import forget, write_mds, write_webdataset
from fsrcache.store.reader import FeatureStore
from fsrcache.store.shuffle import ShuffledRows

BATCH = 128
_ZARR = "zarr, oindex of each batch"
Batches = Iterable[tuple[NDArray[Any], ...]]
RowsRead = tuple[int, list[tuple[NDArray[Any], NDArray[Any]]]]  # number of rows wanted, and batches


def epoch_cases(store: FeatureStore, folder: Path, *, memory: int, zarr_batches: int) -> Iterator[Case]:
    """Yield an epoch of the store's features, warm and cold.

    Parameters
    ----------
    store
        Store of one split, ``train``, and one scale.
    folder
        Empty folder for the peers' files.
    memory
        Bytes of our buffers; the peers' shuffle buffers hold as many rows as are resident here.
    zarr_batches
        Number of batches that zarr reads, warm alone: its time is extrapolated to an epoch, and what its first batches
        read cold the later ones find in memory.
    """
    array = store.features("train")
    rows = ShuffledRows([array], batch=BATCH, seed=0, memory=memory)
    features = array[:]
    probes = features[:, 0].copy(), features[:, -1].copy()
    buffered = rows.resident * array.chunk
    every = len(array)
    some = min(every, zarr_batches * BATCH)
    works: dict[str, Work] = {}
    if installed("webdataset"):
        write_webdataset(folder / "webdataset", features)
        works[f"webdataset, buffer of {buffered:,}"] = partial(_read_rows, lambda: _webdataset(folder, buffered), every)
    if installed("streaming"):
        write_mds(folder / "mds", features)
        works["MosaicML streaming, MDS, py1e"] = partial(_read_rows, lambda: _mds(folder), every)
    del features

    def cold() -> None:
        forget(Path(store.name))
        forget(folder)

    by_zarr: Work = partial(_read_rows, lambda: _zarr(store, some), some)
    for state, before, alternatives in (("warm", None, {_ZARR: by_zarr, **works}), ("cold", cold, works)):
        yield Case(
            name=f"shuffled epoch, {state}: {every:,} rows of {array.shape[1]:,}, B {BATCH}",
            candidate=f"ShuffledRows, {rows.resident} chunks resident",
            work=partial(_read_rows, lambda: rows.epoch(0), every),
            reference=lambda: (0, []),
            error=0.0,
            alternatives=alternatives,
            bytes=array.nbytes,
            samples=every,
            parts={_ZARR: some / every},
            before=before,
            to_tensors=partial(wrong_rows, probes=probes),
        )  # fmt: skip


def installed(package: str) -> bool:
    """Return whether a peer can be imported."""
    if importlib.util.find_spec(package) is None:
        return False
    try:
        importlib.import_module(package)
    except Exception:  # a half-installed package raises anything
        return False
    return True


def wrong_rows(result: RowsRead, *, probes: tuple[NDArray[np.float16], NDArray[np.float16]]) -> Tensor:
    """Return the number of rows that are wrong, missing or repeated, by the first and last number of each."""
    wanted, batches = result
    if not batches:
        return torch.tensor([float(wanted)])
    numbers = np.concatenate([rows for rows, _ in batches])
    values = np.concatenate([ends for _, ends in batches])
    wrong = (values != np.stack(probes, 1)[numbers]).any(1).sum()
    return torch.tensor([float(wrong) + len(numbers) - len(np.unique(numbers)) + abs(wanted - len(numbers))])


def _read_rows(begin: Callable[[], Batches], wanted: int) -> RowsRead:
    """Read all batches; return the number of every row, with its first and last value."""
    return wanted, [(rows, features[:, [0, -1]]) for rows, features in begin()]


def _zarr(store: FeatureStore, count: int) -> Batches:
    array = zarr.open_array(Path(store.name) / "train/x1/features", mode="r")
    order = np.random.default_rng(0).permutation(array.shape[0])[:count]
    for start in range(0, count, BATCH):
        rows = order[start : start + BATCH]
        yield rows, array.oindex[rows]  # type: ignore[misc]


def _webdataset(folder: Path, buffered: int) -> Batches:
    from webdataset import WebDataset

    paths = sorted(map(str, (folder / "webdataset").glob("*.tar")))
    dataset = WebDataset(paths, shardshuffle=len(paths), seed=0, empty_check=False).shuffle(buffered, initial=buffered)
    yield from _batched((int(sample["__key__"]), np.frombuffer(sample["f2"], np.float16)) for sample in dataset)


def _mds(folder: Path) -> Batches:
    from streaming import StreamingDataset

    dataset = StreamingDataset(local=str(folder / "mds"), shuffle=True, shuffle_seed=0, batch_size=BATCH)
    yield from _batched((int(sample["row"]), sample["features"]) for sample in dataset)


def _batched(samples: Iterable[tuple[int, NDArray[np.float16]]]) -> Batches:
    rows: list[int] = []
    values: list[NDArray[np.float16]] = []
    for row, features in samples:
        rows.append(row)
        values.append(features)
        if len(rows) == BATCH:
            yield np.array(rows), np.stack(values)
            rows, values = [], []
    if rows:
        yield np.array(rows), np.stack(values)
