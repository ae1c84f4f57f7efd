"""The cases of ``fsrcache bench store``: reading whole, random rows, shuffled epochs, ``info``, and writing.

The stores are made in a temporary folder that is removed afterwards. ``gb_per_second`` is of the store's own bytes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor
from zarr.buffer.cpu import NDBuffer

from fsrcache.benchmarks.epochs import epoch_cases, installed
from fsrcache.benchmarks.harness import Case, Work
from fsrcache.benchmarks.synthetic_store import synthetic_store
from fsrcache.benchmarks.writing import writing_case
from fsrcache.store.layout import ArrayLayout, arrays, outputs
from fsrcache.store.reader import FeatureStore
from fsrcache.store.shard import crc32c

_LENGTH = 2080  # vech of D 64
_ROWS = 60_000  # 250 MB
_INFO = "import sys; from fsrcache.cli import main; main(['info', sys.argv[1], '--json'])"
_ZARRS = "zarrs.ZarrsCodecPipeline"


def store_cases(device: torch.device, *, quick: bool) -> Iterator[Case]:
    """Yield the cases; the CPU reads the store, and pictures are extracted on the device."""
    with TemporaryDirectory(prefix="fsrcache-bench-") as name:
        folder = Path(name)
        store = synthetic_store(folder / "features.zarr", rows=3_000 if quick else _ROWS, width=_LENGTH)
        yield from _whole(store)
        yield _random_rows(store)
        (folder / "peers").mkdir()
        cases = epoch_cases(store, folder / "peers", memory=(8 if quick else 64) << 20, zarr_batches=2 if quick else 16)
        with closing(cases) as epochs:  # type: ignore[type-var]
            yield from epochs
        yield _info(store)
        yield writing_case(folder / "writing", device, faces=24 if quick else 1_024)


def store_not_run() -> list[str]:
    """Return the peers that are not installed, in words."""
    peers = {"zarrs": "zarrs' pipeline", "webdataset": "webdataset", "streaming": "MosaicML streaming's MDS"}
    return [f"{words}: the package {name} cannot be imported" for name, words in peers.items() if not installed(name)]


def _whole(store: FeatureStore) -> Iterator[Case]:
    """Yield reading into new arrays, which the system has to make room for first, then into buffers that are kept."""
    array, unchecked = store.features("train"), FeatureStore(store.name, check=False).features("train")
    theirs = _zarr_arrays(store)
    name = f"{array.nbytes / 1e6:.0f} MB read whole, warm, fp16 [{array.shape[0]:,}, {array.shape[1]:,}]"
    checksum = float(crc32c(array[:]))

    def to_tensors(result: Any) -> Tensor:
        if isinstance(result, int):  # a plain read has checksums among the rows: its length alone is compared
            return torch.tensor([result, checksum], dtype=torch.float64)
        return torch.tensor([result.nbytes, crc32c(result)], dtype=torch.float64)

    checked = "checksums looked at"
    new: dict[str, Work] = {words: partial(_rows, one) for words, one in theirs.items()}
    yield Case(name=f"{name}, into a new array, {checked}", candidate="features[:]", work=partial(_rows, array),
               error=0.0, reference=new["zarr"], alternatives=new, bytes=array.nbytes,
               to_tensors=to_tensors)  # fmt: skip
    kept: dict[str, Work] = {words: partial(_into_by_zarr, one, _buffer(array)) for words, one in theirs.items()}
    layout = outputs(store.spec, "train", scale=1)["features"]
    paths = [Path(store.name) / key for key in layout.keys]
    for threads in (1, 2):
        words = f"preadv of as many bytes, {threads} thread{'s' * (threads > 1)}"
        kept[words] = _plain(layout, paths, _buffer(array), threads=threads)
    for state, read in ((checked, array), ("checksums not looked at", unchecked)):
        yield Case(name=f"{name}, into a buffer, {state}", candidate="read_into",
                   work=partial(_into, read, _buffer(array)), error=0.0, reference=new["zarr"], alternatives=kept,
                   bytes=array.nbytes, to_tensors=to_tensors)  # fmt: skip


def _random_rows(store: FeatureStore) -> Case:
    array = store.features("train")
    rows = np.random.default_rng(0).permutation(len(array))[:128]
    works = {f"{words}, oindex": partial(_rows, one.oindex, rows) for words, one in _zarr_arrays(store).items()}
    return Case(name="128 random rows by an integer array, warm", candidate="features[rows]", work=lambda: array[rows],
                reference=works["zarr, oindex"], error=0.0, alternatives=works, samples=len(rows),
                to_tensors=torch.from_numpy)  # fmt: skip


def _info(store: FeatureStore) -> Case:
    def to_tensors(completed: "subprocess.CompletedProcess[str]") -> Tensor:
        record = json.loads(completed.stdout)
        return torch.tensor([record["rows"]["train"], record["bytes"]])

    nbytes = sum(array.nbytes for array in arrays(store.spec))
    expected = json.dumps({"rows": dict(store.spec.rows), "bytes": nbytes})
    return Case(
        name="fsrcache info STORE, a whole process", candidate="fsrcache info",
        work=lambda: _process(_INFO, store.name), error=0.0, to_tensors=to_tensors,
        reference=lambda: subprocess.CompletedProcess([], 0, expected),
    )  # fmt: skip


def _process(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", *words], capture_output=True, text=True, check=True)


def _zarr_arrays(store: FeatureStore) -> dict[str, Any]:
    """Return the features as zarr's arrays, by its own codecs and by zarrs' where they are installed."""
    pipelines: dict[str, dict[str, str]] = {"zarr": {}}
    if installed("zarrs"):
        pipelines["zarr with zarrs' pipeline"] = {"codec_pipeline.path": _ZARRS}
    arrays_ = {}
    for words, settings in pipelines.items():
        with zarr.config.set(settings):
            arrays_[words] = zarr.open_array(Path(store.name) / "train/x1/features", mode="r")
    return arrays_


def _buffer(array: Any) -> NDArray[Any]:
    """Return a buffer for all rows, every page of it touched."""
    return np.ones(array.shape, array.dtype)


def _rows(array: Any, rows: Any = slice(None)) -> NDArray[Any]:
    values: NDArray[Any] = array[rows]
    return values


def _into(array: Any, out: NDArray[Any]) -> NDArray[Any]:
    array.read_into(out)
    return out


def _into_by_zarr(array: Any, out: NDArray[Any]) -> NDArray[Any]:
    array.get_basic_selection(slice(None), out=NDBuffer.from_numpy_array(out))
    return out


def _plain(array: ArrayLayout, paths: list[Path], out: NDArray[Any], *, threads: int) -> Work:
    """Return a function that reads every shard's first bytes, as many as its rows have; checksums are among them."""
    flat, step = out.reshape(-1).view(np.uint8), array.block * array.row_bytes

    def one(number: int) -> int:
        part: Any = flat[number * step : (number + 1) * step]
        descriptor = os.open(paths[number], os.O_RDONLY)
        try:
            return os.preadv(descriptor, [part], 0)
        finally:
            os.close(descriptor)

    def work() -> int:
        if threads == 1:
            return sum(map(one, range(len(paths))))
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(one, range(len(paths))))

    return work
