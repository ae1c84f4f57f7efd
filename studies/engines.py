"""Extraction on Ray against this process, and what AffectNet and ten million faces would take at the measured rate.

Run as ``python -m studies.engines --faces 2000 --out benchmarks/results/engines.json``. The faces are drawn into PNG
files, the extractor has the shape of ``small`` and untrained weights. Both engines get the same source and the same
cores; the stores are compared, byte for byte.
"""

import hashlib
import json
import shutil
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.benchmarks.writing import draw_files
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.on_ray import RayCluster
from fsrcache.extraction.source import FaceSource, face_source, store_spec
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import EXTRACTORS
from fsrcache.store.spec import StoreSpec, chunk_and_block
from studies.big_store import Assumed, counted

_SCALES = tuple(range(1, 9))
_DATA = {
    "AffectNet": {"train": 287_651, "val": 3_999},
    "ten million": {"train": 8_000_000, "val": 1_000_000, "test": 1_000_000},
}


@dataclass(frozen=True)
class Prices:
    """List prices of a cloud, in dollars: assumed, to be replaced by one's own.

    Attributes
    ----------
    core_hour
        A core for an hour.
    gigabyte_month
        A gigabyte (10^9 bytes) of object storage for a month.
    write, read
        A request that writes or lists, and one that reads.
    """

    core_hour: float = 0.045
    gigabyte_month: float = 0.023
    write: float = 5e-6
    read: float = 4e-7


@click.command
@click.option("--faces", type=click.IntRange(70), default=2000, show_default=True, help="Number of faces.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Extractions by each engine.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File of the record.")
def main(faces: int, repeats: int, out: Path | None) -> None:
    """Measure, count and print."""
    with TemporaryDirectory(prefix="fsrcache-engines-") as folder:
        source = _source(Path(folder), faces)
        measured = measure(Path(folder), source, repeats)
        spec = store_spec(source, scales=_SCALES, data="drawn faces")
    rate = faces * len(_SCALES) / measured["local"] / torch.get_num_threads()
    record = {
        "machine": machine(torch.device("cpu")),
        "commit": commit(),
        "faces": faces,
        "scales": _SCALES,
        "cores": torch.get_num_threads(),
        "seconds": measured,
        "ratio": measured["ray"] / measured["local"],
        "pictures_per_core_second": rate,
        "prices": asdict(Prices()),
        "planned": {name: planned(spec, rows, rate, Prices()) for name, rows in _DATA.items()},
    }
    text = json.dumps(record, indent=1)
    click.echo(text)
    if out is not None:
        out.write_text(text + "\n")


def measure(folder: Path, source: FaceSource, repeats: int) -> dict[str, float]:
    """Extract by each engine in turn; return the median seconds of either, the beginning of Ray's workers included."""
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    store, expected = folder / "features.zarr", None
    for _ in range(repeats):
        for name, times in seconds.items():
            cluster = RayCluster("local", "cpu") if name == "ray" else None
            result = extract_features(source, store=store, scales=_SCALES, data="drawn faces", cluster=cluster)
            times.append(result.seconds)
            digests = _digests(store)
            shutil.rmtree(store)
            if digests != (expected := expected or digests):
                raise SystemExit(f"The store of the engine {name} is another.")
    return {name: statistics.median(times) for name, times in seconds.items()}


def planned(measured: StoreSpec, rows: dict[str, int], rate: float, prices: Prices) -> dict[str, float]:
    """Return what a store of as many faces takes: objects and bytes, requests, time, memory and cost.

    Parameters
    ----------
    measured
        What the measured store is about: the widths and the side are its own.
    rows
        Faces of every split.
    rate
        Pictures that a core extracts a second.
    prices
        Prices.

    Returns
    -------
    dict
        ``objects``, ``bytes``; ``writes`` and ``reads``, requests of the extraction; ``core_hours``; ``worker_bytes``,
        the memory of a worker beside its program: the pictures of a block and two blocks of outputs; ``tasks``, the
        most workers that have work; ``dollars`` of the extraction, and ``dollars_a_month`` of the storage.
    """
    chunk, block = chunk_and_block(2 * measured.widths["features"], rows)
    fields = {**measured.to_dict(), "rows": rows, "scales": list(_SCALES), "chunk": chunk, "block": block}
    spec = StoreSpec.from_dict(fields)
    store = counted(spec, Assumed())
    shards = sum(kind["objects"] for kind in store["kinds"].values())
    writes = store["objects"] + 1 + 2 * store["list_calls"]  # the root is written twice
    reads = shards + 2 * store["metadata"]["objects"]  # the tail of every shard, once
    core_hours = sum(rows.values()) * len(_SCALES) / rate / 3600
    side, channels = spec.recipe["side"], spec.recipe["channels"]
    return {
        "objects": store["objects"],
        "bytes": store["bytes"],
        "writes": writes,
        "reads": reads,
        "core_hours": core_hours,
        "worker_bytes": block * (side * side * channels + 2 * 4 * sum(spec.widths.values())),
        "tasks": store["blocks"],
        "dollars": core_hours * prices.core_hour + writes * prices.write + reads * prices.read,
        "dollars_a_month": store["bytes"] / 1e9 * prices.gigabyte_month,
    }


def _source(folder: Path, faces: int) -> FaceSource:
    draw_files(folder / "faces", faces)
    usable = usable_faces(list_faces(folder / "faces"), side=EXTRACTORS["small"].side)
    torch.manual_seed(0)
    model = CovPoolFER(EXTRACTORS["small"], usable.classes).eval()
    save_covpool(folder / "extractor.safetensors", model, training={})
    return face_source(usable, folder / "extractor.safetensors", device=torch.device("cpu"))


def _digests(store: Path) -> dict[str, str]:
    """Return the SHA-256 of every file, by key."""
    digests = {}
    for path in store.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                digests[path.relative_to(store).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


if __name__ == "__main__":
    main()
