"""The engines of extraction beside each other: this process, two processes that take parts, and Ray's workers.

Run as ``python -m studies.engines --out benchmarks/results/engines.json``; interrupted, it goes on. Pictures of noise
are computed when they are read, and the extractor is as small as can be, so that 1.6 million pictures take minutes. A
real extractor takes longer for a picture and no longer for anything else: the shares measured here are upper bounds.
All engines get the same faces and the same cores, in turn; their stores are compared, byte for byte.
"""

import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

from fsrcache.benchmarks.harness import commit, machine
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.on_ray import RayCluster
from fsrcache.extraction.source import FaceSource, face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.faces.faces import usable_faces
from fsrcache.presets import ExtractorConfig
from fsrcache.progress import Progress
from studies.command import StudyCommand
from studies.memory import CLASSES, SIDE, noise_pictures

ENGINES = ("local", "parts", "ray")
_SCALES = tuple(range(1, 9))
_SHAPE = ExtractorConfig(side=SIDE, stages=((8,), (48,)), stride=2, spd_side=48, hidden=16, embedding=16)
_EXTRACTOR = "extractor.safetensors"


@click.command(cls=StudyCommand)
@click.option("--faces", type=click.IntRange(2_000), default=200_000, show_default=True, help="Number of faces.")
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Extractions by each engine.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File of the record.")
@click.option("--part", type=(int, int), hidden=True, help="Part to extract in this process.")
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), hidden=True, help="Folder of that part.")
def main(faces: int, repeats: int, out: Path | None, part: tuple[int, int] | None, folder: Path | None) -> None:
    """Measure, write and print."""
    if part and folder:
        torch.set_num_threads(1)
        click.echo(json.dumps(_extracted(_source(folder, faces), folder, part=part)))
        return
    record: dict[str, Any] = {
        "machine": machine(torch.device("cpu")), "commit": commit(), "faces": faces, "scales": _SCALES, "runs": []
    }  # fmt: skip
    if out is not None and out.exists():
        record = json.loads(out.read_text())
        if record["faces"] != faces:
            raise click.UsageError(f"{out} is of {record['faces']:,} faces; name another file.")
    with TemporaryDirectory(prefix="fsrcache-engines-") as name:
        folder = Path(name)
        torch.manual_seed(0)
        save_covpool(folder / _EXTRACTOR, CovPoolFER(_SHAPE, CLASSES).eval(), training={})
        source = _source(folder, faces)
        for number in range(len(record["runs"]), repeats * len(ENGINES)):
            record["runs"].append(measured(ENGINES[number % len(ENGINES)], source, folder))
            click.echo(json.dumps(record["runs"][-1]), err=True)
            record["engines"] = summary(record["runs"], pictures=faces * len(_SCALES))
            if out is not None:
                out.write_text(json.dumps(record, indent=1) + "\n")
    click.echo(as_markdown(record))


def measured(engine: str, source: FaceSource, folder: Path) -> dict[str, Any]:
    """Extract by an engine, in a new store that is removed.

    Returns
    -------
    dict
        ``engine``; ``seconds`` of the whole, that of beginning processes included; ``beginning``, the seconds of it
        until every process extracts; ``store``, a hexadecimal SHA-256 of all of the store's files.
    """
    began = time.perf_counter()
    if engine == "parts":
        parts = [_begin_part(part, source, folder) for part in (1, 2)]
        answers = [json.loads(process.communicate()[0]) for process in parts]
        seconds = time.perf_counter() - began
        beginning = seconds - max(one["seconds"] - one["beginning"] for one in answers)
    else:
        answer = _extracted(source, folder, cluster=RayCluster("local", "cpu") if engine == "ray" else None)
        seconds, beginning = time.perf_counter() - began, answer["beginning"]
    digest = _digest(folder / "store")
    shutil.rmtree(folder / "store")
    return {"engine": engine, "seconds": seconds, "beginning": beginning, "store": digest}


def summary(runs: list[dict[str, Any]], *, pictures: int) -> dict[str, dict[str, float]]:
    """Return by engine the medians of seconds and beginning, pictures a second after it, and the ratios to local.

    Raises
    ------
    SystemExit
        If the stores differ.
    """
    if len({run["store"] for run in runs}) > 1:
        raise SystemExit("The engines' stores differ: " + json.dumps({run["engine"]: run["store"] for run in runs}))
    engines: dict[str, dict[str, float]] = {}
    for engine in dict.fromkeys(run["engine"] for run in runs):
        own = [run for run in runs if run["engine"] == engine]
        seconds, beginning = (statistics.median(run[name] for run in own) for name in ("seconds", "beginning"))
        rate = statistics.median(pictures / (run["seconds"] - run["beginning"]) for run in own)
        engines[engine] = {"seconds": seconds, "beginning": beginning, "pictures_per_second": rate}
    local = engines["local"]
    for one in engines.values():
        one["seconds_times_local"] = one["seconds"] / local["seconds"]
        one["time_a_picture_times_local"] = local["pictures_per_second"] / one["pictures_per_second"]
    return engines


def as_markdown(record: dict[str, Any]) -> str:
    """Return the table of a record."""
    lines = [
        "| engine | beginning, s | whole, s | times local | pictures a second | time a picture, times local |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {one['beginning']:.1f} | {one['seconds']:.1f} | {one['seconds_times_local']:.3f} | "
        f"{one['pictures_per_second']:,.0f} | {one['time_a_picture_times_local']:.3f} |"
        for name, one in record["engines"].items()
    ]
    return "\n".join(lines)


def _source(folder: Path, faces: int) -> FaceSource:
    usable = usable_faces(noise_pictures(faces), side=SIDE)
    return face_source(usable, folder / _EXTRACTOR, device=torch.device("cpu"))


def _extracted(
    source: FaceSource, folder: Path, *, part: tuple[int, int] = (1, 1), cluster: RayCluster | None = None
) -> dict[str, float]:
    """Extract a part; return the seconds, and those of them until the first pictures were done."""
    began, first = time.perf_counter(), list[float]()

    def on_progress(progress: Progress) -> None:
        if not first and progress.phase == "extracting" and progress.done:
            first.append(time.perf_counter() - began)

    extract_features(
        source, store=folder / "store", scales=_SCALES, data="noise", part=part, cluster=cluster,
        on_progress=on_progress,
    )  # fmt: skip
    return {"seconds": time.perf_counter() - began, "beginning": first[0]}


def _begin_part(part: int, source: FaceSource, folder: Path) -> "subprocess.Popen[str]":
    words = ("--faces", str(len(source.faces.rows)), "--part", str(part), "2", "--folder", str(folder))
    return subprocess.Popen([sys.executable, "-m", "studies.engines", *words], stdout=subprocess.PIPE, text=True)


def _digest(store: Path) -> str:
    """Return a hexadecimal SHA-256 of the keys and bytes of all files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in store.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(store)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
