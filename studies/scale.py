"""AffectNet at full size and ten million faces: bytes, objects, requests, memory, hours and cost.

Run as ``python -m studies.scale --out benchmarks/results/scale.json``; the tables of docs/cluster.md are its output.
Bytes, objects and requests are counted by the layout's and the loaders' own functions. Rates are measured here on this
machine's cores (files of faces to features), and read from benchmarks/results/gpu-h200.json for an H200. What a store's
metadata cost is measured on columns and documents of as many faces, without pictures and features.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.benchmarks.writing import draw_files
from fsrcache.extraction.extract import estimate_extraction
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.faces.expressions import EXPRESSIONS
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import EXTRACTORS
from fsrcache.store.layout import ArrayLayout, outputs
from fsrcache.store.spec import DIGESTS, StoreSpec, chunk_and_block
from fsrcache.store.stored import StoredArray
from fsrcache.training.data.loader import _READ as _CACHED_ROWS
from fsrcache.training.data.stream import _READ as _PASSED_ROWS
from fsrcache.training.data.stream import STREAM_BYTES
from studies.big_store import Assumed, counted
from studies.bookkeeping import bookkeeping
from studies.command import StudyCommand

SCALES = tuple(range(1, 9))
PRESETS = ("small", "paper")
DATA = {  # AffectNet: Mollahosseini et al. 2017, table 3, 291,651 pictures of eight expressions, 500 of each for val
    "AffectNet": {"train": 287_651, "val": 4_000},
    "ten million": {"train": 8_000_000, "val": 1_000_000, "test": 1_000_000},
}
_CLASSES = (*EXPRESSIONS, "contempt")
_SAMPLED = 300  # faces of a rate
_H200 = Path(__file__).parents[1] / "benchmarks/results/gpu-h200.json"
_ON_DEVICE, _ONE_THREAD = "fp32: pictures a second, on the device", "fp32: pictures a second, seen at x2, one thread"


@dataclass(frozen=True)
class Prices:
    """List prices of a cloud, in dollars: assumptions, to be replaced by one's own.

    Attributes
    ----------
    core_hour, gpu_hour
        A core for an hour, and an H200 with its host.
    gigabyte_month
        A gigabyte (10^9 bytes) of object storage for a month.
    write, read
        A request that writes or lists, and one that reads.
    """

    core_hour: float = 0.045
    gpu_hour: float = 4.0
    gigabyte_month: float = 0.023
    write: float = 5e-6
    read: float = 4e-7


@click.command(cls=StudyCommand)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File of the record.")
@click.option("--core-hour", default=Prices.core_hour, show_default=True, help="Dollars for a core and hour.")
@click.option("--gpu-hour", default=Prices.gpu_hour, show_default=True, help="Dollars for an H200 and hour.")
@click.option("--gigabyte-month", default=Prices.gigabyte_month, show_default=True, help="Dollars for storage.")
@click.option("--write", default=Prices.write, show_default=True, help="Dollars for a request that writes or lists.")
@click.option("--read", default=Prices.read, show_default=True, help="Dollars for a request that reads.")
@click.option("--quick", is_flag=True, help="Fewer faces in what is measured: to see that it works.")
def main(out: Path | None, quick: bool, **prices: float) -> None:
    """Count, measure, write and print."""
    chosen = Prices(**prices)
    record: dict[str, Any] = {
        "machine": machine(torch.device("cpu")), "commit": commit(), "scales": SCALES, "prices": asdict(chosen),
        "assumed": asdict(Assumed()),
        "rates": {name: {"core": core_rate(name, faces=70 if quick else _SAMPLED), **h200_rates(name)}
                  for name in PRESETS},
    }  # fmt: skip
    record["planned"] = [
        {"data": data, "extractor": name, **planned(spec_of(name, rows), record["rates"][name], chosen, Assumed())}
        for data, rows in DATA.items()
        for name in PRESETS
    ]
    sizes = [20_000] if quick else [sum(rows.values()) for rows in DATA.values()]
    record["bookkeeping"] = [bookkeeping(count) for count in sizes]
    if out is not None:
        out.write_text(json.dumps(record, indent=1) + "\n")
    click.echo(as_markdown(record))


def spec_of(preset: str, rows: dict[str, int]) -> StoreSpec:
    """Return what a store of a preset's features is about, one without early features."""
    config = EXTRACTORS[preset]
    length = config.spd_side * (config.spd_side + 1) // 2
    chunk, block = chunk_and_block(2 * length, rows)
    return StoreSpec(
        digests=dict.fromkeys(DIGESTS, "0" * 64), classes=_CLASSES, scales=SCALES,
        widths={"features": length, "embeddings": config.embedding, "probabilities": len(_CLASSES)},
        recipe={"side": config.side, "channels": 3, "spd_side": config.spd_side}, data="", rows=rows,
        chunk=chunk, block=block,
    )  # fmt: skip


def core_rate(preset: str, *, faces: int) -> float:
    """Return how many pictures a core extracts a second, from PNG files, as ``extract --dry-run`` measures it."""
    with TemporaryDirectory(prefix="fsrcache-scale-") as name:
        folder = Path(name)
        draw_files(folder / "faces", faces)
        usable = usable_faces(list_faces(folder / "faces"), side=EXTRACTORS[preset].side)
        torch.manual_seed(0)
        model = CovPoolFER(EXTRACTORS[preset], usable.classes).eval()
        save_covpool(folder / "extractor.safetensors", model, training={})
        source = face_source(usable, folder / "extractor.safetensors", device=torch.device("cpu"))
        estimate = estimate_extraction(source, store=folder / "features.zarr", scales=SCALES)
    return estimate.pictures_per_second / torch.get_num_threads()


def h200_rates(preset: str) -> dict[str, float]:
    """Return pictures a second of an H200: of the device alone, and fed by one thread that makes the coarse views."""
    for run in json.loads(_H200.read_text())["runs"]:
        for part in run["parts"]:
            found = part.get("checks", {}).get(f"extraction, {preset}", {}).get("found")
            if found:
                return {"h200": found[_ON_DEVICE], "h200_one_thread": found[_ONE_THREAD]}
    raise SystemExit(f"{_H200} has no rate of {preset}.")


def planned(spec: StoreSpec, rates: dict[str, float], prices: Prices, assumed: Assumed) -> dict[str, float]:
    """Return what a store takes.

    Returns
    -------
    dict
        ``objects``, ``bytes``, ``tasks`` (blocks of rows, the most workers that have work); of the extraction
        ``writes`` and ``reads`` (requests), ``worker_bytes`` (memory beside the program: pictures of a block and two
        blocks of outputs), ``core_hours``, ``h200_hours`` and ``h200_hours_one_thread``; of a training
        ``cache_bytes``, ``cached_reads`` and ``cached_seconds`` (requests until all is in memory, and their time from
        object storage, one after the other), ``stream_bytes`` (memory),
        ``stream_reads`` and ``stream_epoch_bytes`` of an epoch, ``moments_seconds`` (the first pass, one request at a
        time where a read is of one shard); ``dollars_on_cores``, ``dollars_on_h200``, ``dollars_a_month``.
    """
    store, pictures = counted(spec, assumed), sum(spec.rows.values()) * len(spec.scales)
    shards = sum(kind["objects"] for kind in store["kinds"].values())
    writes = store["objects"] + 1 + 2 * store["list_calls"]  # the root is written twice
    reads = shards + 2 * store["metadata"]["objects"]  # the tail of every shard, once
    hours = {name: pictures / rate / 3600 for name, rate in rates.items()}
    requests = writes * prices.write + reads * prices.read
    pixels, values = spec.recipe["side"] ** 2 * spec.recipe["channels"], sum(spec.widths.values())
    return {
        "objects": store["objects"],
        "bytes": store["bytes"],
        "tasks": store["blocks"],
        "writes": writes,
        "reads": reads,
        "worker_bytes": spec.block * (pixels + 2 * 4 * values),
        "core_hours": hours["core"],
        "h200_hours": hours["h200"],
        "h200_hours_one_thread": hours["h200_one_thread"],
        **_training(spec, assumed),
        "dollars_on_cores": hours["core"] * prices.core_hour + requests,
        "dollars_on_h200": hours["h200_one_thread"] * prices.gpu_hour + requests,
        "dollars_a_month": store["bytes"] / 1e9 * prices.gigabyte_month,
    }


def _training(spec: StoreSpec, assumed: Assumed) -> dict[str, float]:
    kept = np.flatnonzero(np.random.default_rng(0).random(spec.rows["train"]) >= 0.1)  # a tenth is held out
    low = outputs(spec, "train", scale=1)
    features, embeddings = low["features"], low["embeddings"]
    scales, chunks = len(spec.scales), -(-spec.rows["train"] // spec.chunk)
    epoch = scales * features.nbytes + embeddings.nbytes
    cached_reads = scales * (_reads(features, kept) + _reads(low["probabilities"], kept)) + embeddings.files
    requests = scales * max(features.files, -(-spec.rows["train"] // _PASSED_ROWS))
    at_once = max(1, _PASSED_ROWS // spec.block)  # shards that a read of the first pass touches
    return {
        "cache_bytes": 2 * scales * len(kept) * spec.widths["features"],
        "cached_reads": cached_reads,
        "cached_seconds": cached_reads * assumed.latency + epoch / assumed.request_rate,
        "stream_bytes": STREAM_BYTES + 4 * scales * spec.rows["train"],
        "stream_reads": chunks * (scales + 1) + (scales + 1) * features.files,  # a chunk each, and a seal a shard
        "stream_epoch_bytes": epoch,
        "moments_seconds": (requests * assumed.latency + scales * features.nbytes / assumed.request_rate) / at_once,
    }


def _reads(array: ArrayLayout, rows: NDArray[np.int64]) -> int:
    """Return the requests by which a cache reads rows of an array: those of every run of chunks, and a seal a shard."""
    count = 0

    def source(out: NDArray[Any], *, start: int) -> None:
        nonlocal count
        count += (start + len(out) - 1) // array.block - start // array.block + 1

    stored = StoredArray(array, source)
    for begin in range(0, len(rows), _CACHED_ROWS):
        stored[rows[begin : begin + _CACHED_ROWS]]
    return count + array.files


def as_markdown(record: dict[str, Any]) -> str:
    """Return the tables of a record."""
    rates = ["| extractor | a core | H200, one thread feeds it | H200 alone |", "|---|---|---|---|"]
    rates += [
        f"| `{name}` | {rate['core']:,.0f} | {rate['h200_one_thread']:,.0f} | {rate['h200']:,.0f} |"
        for name, rate in record["rates"].items()
    ]
    plans = record["planned"]
    titles = [f"{plan['data']}, `{plan['extractor']}`" for plan in plans]
    rows = {
        "store, GB": [f"{plan['bytes'] / 1e9:,.0f}" for plan in plans],
        "objects": [f"{plan['objects']:,}" for plan in plans],
        "extraction: requests that write or list": [f"{plan['writes']:,}" for plan in plans],
        "extraction: requests that read": [f"{plan['reads']:,}" for plan in plans],
        "extraction: blocks, the most workers": [f"{plan['tasks']:,}" for plan in plans],
        "a worker's memory beside its program, GB": [f"{plan['worker_bytes'] / 1e9:.2f}" for plan in plans],
        "hours of a core": [f"{plan['core_hours']:,.0f}" for plan in plans],
        "hours of an H200, one thread / alone": [
            f"{plan['h200_hours_one_thread']:.2f} / {plan['h200_hours']:.2f}" for plan in plans
        ],
        "training, all in memory, GB": [f"{plan['cache_bytes'] / 1e9:,.0f}" for plan in plans],
        "requests until it is there": [f"{plan['cached_reads']:,}" for plan in plans],
        "minutes until it is, one request at a time": [f"{plan['cached_seconds'] / 60:,.0f}" for plan in plans],
        "training, streamed: memory, GB": [f"{plan['stream_bytes'] / 1e9:.1f}" for plan in plans],
        "requests of an epoch": [f"{plan['stream_reads']:,}" for plan in plans],
        "read in an epoch, GB": [f"{plan['stream_epoch_bytes'] / 1e9:,.0f}" for plan in plans],
        "its first pass from object storage, minutes": [f"{plan['moments_seconds'] / 60:,.0f}" for plan in plans],
        "extraction on cores, $": [f"{plan['dollars_on_cores']:,.2f}" for plan in plans],
        "extraction on an H200, $": [f"{plan['dollars_on_h200']:,.2f}" for plan in plans],
        "storage, $ a month": [f"{plan['dollars_a_month']:,.2f}" for plan in plans],
    }
    table = ["| | " + " | ".join(titles) + " |", "|---|" + "---|" * len(plans)]
    table += [f"| {name} | " + " | ".join(values) + " |" for name, values in rows.items()]
    books = [
        "| faces | order, s | columns, s | missing blocks, s | root, MB | read and checked, s | memory, GB |",
        "|---|---|---|---|---|---|---|",
    ]
    books += [
        f"| {one['faces']:,} | {one['ordering_seconds']:.1f} | {one['columns_seconds']:.1f} | "
        f"{one['missing_seconds']:.2f} | {one['root_bytes'] / 1e6:.2f} | {one['root_seconds']:.2f} | "
        f"{(one['peak_bytes'] - one['imported_bytes']) / 1e9:.2f} |"
        for one in record["bookkeeping"]
    ]
    return "\n".join([*rates, "", *table, "", *books])


if __name__ == "__main__":
    main()
