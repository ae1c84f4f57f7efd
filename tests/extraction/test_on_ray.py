"""Extraction on Ray: the bytes of the local engine, whoever dies in between; what is wrong is told as elsewhere."""

import os
import pickle
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from fsrcache.cli.main import main
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extraction import on_ray
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.on_ray import RayCluster
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import ExtractorConfig
from fsrcache.verbs.extract import extract as extract_verb
from studies.program import run

SHAPE = ExtractorConfig(side=24, stages=((8,), (12,)), spd_side=8, hidden=16, embedding=6)
SCALES = [2, 3, 4, 5]
WORKERS = 2


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extractor")
    faces = usable_faces(list_faces(Path("drawn:700")), side=24)
    save_covpool(folder / "extractor", CovPoolFER(SHAPE, faces.classes).eval(), training={})
    return face_source(faces, folder / "extractor", device=torch.device("cpu"))


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory, files):
    """The files that the local engine writes."""
    folder = tmp_path_factory.mktemp("local") / "s"
    extract_features(source, store=folder, scales=SCALES, data="drawn faces")
    return files(folder)


@pytest.fixture(scope="module")
def cluster():
    """Several workers on this machine, whatever its cores."""
    ray.init("local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield RayCluster()
    ray.shutdown()


def workers():
    """Return the processes of this program's workers that are extracting."""
    parents, busy = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_bytes().startswith(b"ray::_Worker.extract"):
                busy.append(int(folder.name))
        except OSError:  # it has ended
            continue

    def ancestors(process):
        while process := parents.get(process, 0):
            yield process

    return [process for process in busy if os.getpid() in ancestors(process)]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_a_worker_that_is_killed_changes_no_byte(source, cluster, expected, files, tmp_path):
    killed = []

    def on_progress(progress):
        if progress.phase == "extracting" and progress.done and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    result = extract_features(
        source, store=tmp_path / "s", scales=SCALES, data="drawn faces", cluster=cluster, on_progress=on_progress
    )
    assert killed
    assert result.complete
    assert files(tmp_path / "s") == expected
    assert not workers()


@pytest.mark.slow
def test_a_part_beside_the_local_engines_goes_on_where_it_was_interrupted(
    source, cluster, expected, files, tmp_path, stop_after
):
    arguments = {"store": tmp_path / "s", "scales": SCALES, "data": "drawn faces"}
    assert not extract_features(source, part=(2, 2), **arguments).complete
    with pytest.raises(KeyboardInterrupt):
        extract_features(source, part=(1, 2), cluster=cluster, on_progress=stop_after("extracting", 1000), **arguments)
    result = extract_features(source, part=(1, 2), cluster=cluster, **arguments)
    assert result.complete
    assert 0 < result.resumed_from < result.blocks
    assert files(tmp_path / "s") == expected


@pytest.mark.slow
def test_what_a_worker_meets_is_told_as_by_the_local_engine(source, cluster, tmp_path, draw):
    folder = draw(tmp_path / "faces")
    faces = usable_faces(list_faces(folder), side=24)
    lost = face_source(faces, source.extractor, device=torch.device("cpu"))
    next(folder.rglob("*.png")).unlink()
    with pytest.raises(FsrcacheError, match="could be read before and cannot now") as caught:
        extract_features(lost, store=tmp_path / "s", scales=[2], data="faces", cluster=cluster)
    assert caught.value.remedy == "Restore it and run again."
    with pytest.raises(RequestError, match="Ray's cluster has no GPU"):
        extract_features(source, store=tmp_path / "s2", scales=[2], data="faces", cluster=RayCluster(device="cuda"))


@pytest.mark.slow
def test_a_value_that_cannot_be_kept_names_the_same_picture(cluster, tmp_path):
    faces = usable_faces(list_faces(Path("drawn:1000")), side=24)
    model = CovPoolFER(SHAPE, faces.classes).eval()
    with torch.no_grad():
        for weight in model.head.parameters():
            weight.fill_(1e6)
    save_covpool(tmp_path / "extractor", model, training={})
    broken = face_source(faces, tmp_path / "extractor", device=torch.device("cpu"))
    messages = set()
    for name, engine in (("local", None), ("ray", cluster)):
        with pytest.raises(FsrcacheError, match="cannot keep") as caught:
            extract_features(broken, store=tmp_path / name, scales=[2], data="faces", part=(1, 3), cluster=engine)
        messages.add(str(caught.value).replace(str(tmp_path / name), ""))
    assert len(messages) == 1


@pytest.mark.slow
def test_workers_that_die_again_and_again_are_given_up(source, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "_RETRIES", 1)
    deadly = replace(source.faces, listing=replace(source.faces.listing, load=lambda _: os._exit(1)))
    with pytest.raises(FsrcacheError, match="A worker of Ray died and was not begun again"):
        extract_features(
            replace(source, faces=deadly), store=tmp_path / "s", scales=[2], data="drawn faces", cluster=cluster
        )
    deadline = time.monotonic() + 30  # Ray begins a process anew a moment before it is told to end it
    while workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers()


@pytest.fixture
def draw():
    """Return a function that writes pictures of every expression into a folder."""

    def draw(folder):
        assert main_exit("draw", str(folder), "--count", "70") == 0
        return folder

    return draw


def main_exit(*words):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code


@pytest.mark.slow
def test_the_command_begins_and_ends_a_cluster_by_itself(pretrained, files):
    def command(*options):
        done = run("extract", "--scales", "2", "--json", *options, cwd=pretrained)
        assert done.returncode == 0, done.stderr
        return done.answer  # and nothing else

    ours, theirs = command("--store", "local.zarr"), command("--store", "ray.zarr", "--engine", "ray")
    assert theirs.keys() == ours.keys()
    assert theirs["complete"]
    assert theirs["digest"] == ours["digest"]
    assert files(pretrained / "ray.zarr") == files(pretrained / "local.zarr")


def test_drawn_faces_travel(source):
    load = source.faces.listing.load
    assert np.array_equal(pickle.loads(pickle.dumps(load))(3), load(3))


def test_a_missing_ray_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RequestError, match=r"pip install 'fsrcache\[ray\]'"):
        extract_verb(tmp_path / "ws", engine="ray")
    assert not (tmp_path / "ws").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "dask"}, "engine is 'dask'"),
        ({"engine": "ray", "device": "cuda:1"}, "device is 'cuda:1'"),
        ({"ray_address": "here:6379"}, "address of Ray is 'here:6379', and the engine is local"),
    ],
)
def test_requests_that_are_refused(tmp_path, arguments, message):
    with pytest.raises(RequestError, match=message):
        extract_verb(tmp_path / "ws", **arguments)
    assert not (tmp_path / "ws").exists()


@pytest.mark.slow
def test_no_cluster_at_an_address(pretrained):
    done = run("extract", "--engine", "ray", "--ray-address", "127.0.0.1:1", cwd=pretrained)
    assert done.returncode == 1
    assert "There is no cluster of Ray at '127.0.0.1:1'" in done.stderr
    assert "Traceback" not in done.stderr
