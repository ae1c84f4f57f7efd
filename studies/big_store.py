"""A store of ten million faces on object storage, counted from the layout's own functions and simulated over them."""

import heapq
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsrcache.store.layout import ROOT, arrays, columns, outputs
from fsrcache.store.metadata import documents
from fsrcache.store.root import Root
from fsrcache.store.spec import DIGESTS, StoreSpec, chunk_and_block

_FACES, _SCALES, _SIDE = 10_000_000, tuple(range(1, 9)), 128
_LENGTH = _SIDE * (_SIDE + 1) // 2
_CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_ID_BYTES = 24  # length of a picture's name
_SPLITS = {"train": _FACES * 8 // 10, "val": _FACES // 10, "test": _FACES // 10}


@dataclass(frozen=True)
class Assumed:
    """Assumptions about the storage and its users.

    Attributes
    ----------
    listed
        Keys of one list call.
    latency, spread
        Seconds to the first byte, the median of a log-normal distribution, and its sigma.
    request_rate, total_rate
        Bytes a second of one request, and of one machine's network.
    gets, puts
        Read and write requests a second under one prefix before the storage throttles.
    samples
        Rows a second that a trainer reads, each at two scales.
    memory
        Bytes of the trainer's buffers.
    requests
        Number of the reader's concurrent requests.
    extracted
        Pictures a second of one extracting process.
    """

    listed: int = 1_000
    latency: float = 0.03
    spread: float = 0.6
    request_rate: float = 80e6
    total_rate: float = 3.1e9  # 25 Gbit/s
    gets: int = 5_500
    puts: int = 3_500
    samples: int = 20_000
    memory: int = 8 << 30
    requests: int = 64
    extracted: float = 2_000.0


def big_spec(rows: dict[str, int] | None = None) -> StoreSpec:
    """Return the spec of the store, with ten million rows by default."""
    rows = rows or _SPLITS
    chunk, block = chunk_and_block(2 * _LENGTH, rows)
    return StoreSpec(
        digests=dict.fromkeys(DIGESTS, "0" * 64), classes=_CLASSES, scales=_SCALES,
        widths={"features": _LENGTH, "embeddings": 128, "probabilities": len(_CLASSES)},
        recipe={"side": 100, "spd_side": _SIDE}, data="ten million faces", rows=rows, chunk=chunk, block=block,
    )  # fmt: skip


def counted(spec: StoreSpec, assumed: Assumed) -> dict[str, Any]:
    """Return the numbers and sizes of a store's objects, and its list calls, blocks and units of work."""
    every = arrays(spec)
    shards = {name: [array for array in every if array.name.endswith(f"/{name}")] for name in spec.widths}
    metadata = {ROOT: Root(spec, {array.name: ["0" * 32] * len(array.keys) for array in every}).document()}
    metadata |= documents(spec)
    keys = sum(len(array.keys) for array in every)
    block = outputs(spec, "train", scale=1)
    blocks = sum(map(spec.blocks, spec.splits))
    return {
        "kinds": {
            name: {
                "objects": sum(len(array.keys) for array in of_kind),
                "object_bytes": of_kind[0].shard_bytes(0),
                "bytes": sum(array.nbytes for array in of_kind),
            }
            for name, of_kind in shards.items()
        },
        "columns": {
            "objects": sum(len(p.keys) for split in spec.splits for p in columns(spec, split).values()),
            "bytes": sum(p.nbytes for split in spec.splits for p in columns(spec, split).values())
            + sum(spec.rows.values()) * (_ID_BYTES + 4),
        },
        "metadata": {"objects": len(metadata), "bytes": sum(map(len, metadata.values()))},
        "root_bytes": len(metadata[ROOT]),
        "objects": keys + len(metadata),
        "bytes": sum(array.nbytes for array in every),
        "list_calls": -(-(keys + len(metadata)) // assumed.listed),
        "blocks": blocks,
        "units": blocks * len(spec.scales),
        "unit_bytes": sum(array.shard_bytes(0) for array in block.values()),
    }


def naive_objects(spec: StoreSpec) -> int:
    """Return the number of objects of the same store without shards: one for every inner chunk."""
    return sum(-(-array.shape[0] // spec.chunk) for array in arrays(spec) if array.chunk)


def trainer(spec: StoreSpec, assumed: Assumed) -> dict[str, Any]:
    """Simulate the block-random reader: pairs of features and probabilities, chunk by chunk, requests in parallel.

    Returns
    -------
    dict
        ``request_bytes`` by array; ``requests_per_second`` and ``bytes_per_second`` needed;
        ``prefix_requests_per_second``, those under the busiest prefix; ``samples_per_second`` reached, and
        ``samples_per_second_one_request``, with one request at a time; ``resident`` chunks of an array; ``first_pool``
        in seconds; ``pools`` of an epoch.
    """
    low, full = (outputs(spec, "train", scale=scale) for scale in (4, 1))
    read = [low["features"], full["features"], low["probabilities"]]
    chunk_bytes = [spec.chunk * array.row_bytes + 4 for array in read]
    resident = assumed.memory // (2 * sum(chunk_bytes))
    needed = assumed.samples / spec.chunk * len(read)
    seconds = _pool_seconds(np.array(chunk_bytes * resident), assumed)
    reached = resident * spec.chunk / seconds
    one_by_one = _pool_seconds(np.array(chunk_bytes * 64), replace(assumed, requests=1))
    return {
        "request_bytes": chunk_bytes,
        "samples_per_second_one_request": 64 * spec.chunk / one_by_one,
        "requests_per_second": needed,
        "prefix_requests_per_second": assumed.samples / spec.chunk,
        "bytes_per_second": assumed.samples / spec.chunk * sum(chunk_bytes),
        "resident": resident,
        "samples_per_second": reached,
        "first_pool": seconds,
        "pools": -(-spec.rows["train"] // (spec.chunk * resident)),
    }


def _pool_seconds(sizes: NDArray[np.int64], assumed: Assumed) -> float:
    """Return the seconds until the last request ends; a fixed number run in parallel and share the network."""
    random = np.random.default_rng(0)
    rate = min(assumed.request_rate, assumed.total_rate / assumed.requests)
    durations = assumed.latency * np.exp(assumed.spread * random.standard_normal(len(sizes))) + sizes / rate
    lanes = [0.0] * assumed.requests
    for seconds in durations:
        heapq.heapreplace(lanes, lanes[0] + float(seconds))
    return max(lanes)


def killed(spec: StoreSpec, assumed: Assumed, *, kills: int = 1_000) -> dict[str, float]:
    """Simulate kills at random moments of an extraction; return the work that is repeated.

    That is the unit (a block at a scale) in progress, and the one before it while its upload is in progress.
    """
    random = np.random.default_rng(0)
    blocks = [spec.rows_of(split, block) for split in spec.splits for block in range(spec.blocks(split))]
    rows = np.array([block.stop - block.start for block in blocks])
    ends = np.cumsum(np.repeat(rows, len(spec.scales)))
    moments = random.random(kills) * ends[-1]
    unit = np.searchsorted(ends, moments, side="right")
    begins = np.concatenate([[0], ends[:-1]])
    redone = moments - begins[unit]
    row_bytes = sum(array.row_bytes for array in outputs(spec, "train", scale=1).values())
    uploading = (assumed.latency + spec.block * row_bytes / assumed.request_rate) * assumed.extracted  # in rows
    redone += np.where((redone < uploading) & (unit > 0), begins[unit] - begins[unit - 1], 0)
    return {
        "redone_rows": float(redone.mean()),
        "redone_rows_worst": float(redone.max()),
        "redone_seconds": float(redone.mean()) / assumed.extracted,
        "redone_bytes": float(redone.mean()) * row_bytes,
        "redone_share": float(redone.mean() / ends[-1]),
    }
