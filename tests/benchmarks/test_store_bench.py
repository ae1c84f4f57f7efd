"""The store's bench: peers read what we read, wrong rows are noticed, and the measures of mixing have power."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fsrcache.benchmarks.epochs import epoch_cases, installed, wrong_rows
from fsrcache.benchmarks.harness import Case, Roofs, run_case
from fsrcache.benchmarks.store import store_cases
from fsrcache.benchmarks.synthetic_store import forget, synthetic_store
from fsrcache.cli.bench import bench
from fsrcache.errors import FsrcacheError
from studies import memory
from studies.big_store import Assumed, big_spec, counted, killed, naive_objects, trainer
from studies.memory import measure, noise_pictures
from studies.mixing import neighbours, probes
from studies.object_storage import page

CPU = torch.device("cpu")
ROOFS = Roofs(1e9, 1e9)


def test_a_case_done_in_part_is_reckoned_up_and_prepared_outside_its_time():
    prepared = []
    case = Case(
        name="epoch", candidate="ours", work=lambda: sum(range(20_000)), reference=lambda: 199_990_000, error=0.0,
        alternatives={"theirs": lambda: sum(range(20_000))}, parts={"theirs": 0.1}, samples=500,
        before=lambda: prepared.append(1), to_tensors=lambda total: torch.tensor([float(total)]),
    )  # fmt: skip
    (row,) = run_case(case, ROOFS, CPU, seconds=0)
    assert 3 < row["ratio"] < 30
    assert row["samples_per_second"] == pytest.approx(500 / (row["ms"] / 1e3))
    assert len(prepared) == 2 * (1 + 5)


def test_wrong_rows_are_counted():
    probes_ = np.arange(5, dtype=np.float16), np.arange(5, dtype=np.float16) + 1
    rows = np.array([3, 1, 0])
    right = np.stack([rows, rows + 1], 1).astype(np.float16)
    assert wrong_rows((3, [(rows, right)]), probes=probes_).tolist() == [0]
    assert wrong_rows((5, [(rows, right)]), probes=probes_).tolist() == [2]
    assert wrong_rows((3, [(np.array([3, 1, 1]), right)]), probes=probes_).tolist() == [2]
    assert wrong_rows((3, [(rows, right + 1)]), probes=probes_).tolist() == [3]
    assert wrong_rows((3, []), probes=probes_).tolist() == [3]


def test_an_epoch_of_wrong_rows_is_not_timed(tmp_path):
    store = synthetic_store(tmp_path / "s", rows=300, width=1024)
    (tmp_path / "peers").mkdir()
    warm, cold = epoch_cases(store, tmp_path / "peers", memory=8 << 20, zarr_batches=1)
    seen = warm.work()
    bad = Case(**{**vars(warm), "work": lambda: (seen[0], seen[1][1:])})
    with pytest.raises(FsrcacheError, match="ShuffledRows"):
        run_case(bad, ROOFS, CPU, seconds=0)
    rows = run_case(warm, ROOFS, CPU, seconds=0)
    assert {row["alternative"].split(",")[0] for row in rows} >= {"zarr"}
    assert len(rows) == 1 + installed("webdataset") + installed("streaming")
    assert not any("zarr" in name for name in cold.alternatives)  # what it reads but once cannot be extrapolated


def test_what_is_not_installed_is_said():
    assert installed("numpy")
    assert not installed("no_such_package_of_ours")


def test_forgetting_harms_no_file(tmp_path):
    (tmp_path / "a").write_bytes(b"kept")
    forget(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"kept"


@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    done = CliRunner().invoke(bench, ["store", "--quick", "--json", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    cases = [row["case"] for row in record["cases"]]
    for words in ("new array, checksums looked at", "buffer, checksums looked at", "checksums not", "128 random rows",
                  "epoch, warm", "epoch, cold", "info", "extraction of 24 faces"):  # fmt: skip
        assert any(words in case for case in cases), words
    assert all(row["checked"] and row["ms"] > 0 for row in record["cases"])
    assert {row["alternative"] for row in record["cases"]} >= {"zarr", "preadv of as many bytes, 2 threads"}
    missing = [name for name in ("zarrs", "webdataset", "streaming") if not installed(name)]
    assert len(record["not_run"]) == len(missing)
    assert not list(tmp_path.glob("fsrcache-bench-*"))


def test_a_bench_given_up_removes_its_store(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cases = store_cases(CPU, quick=True)
    next(cases)
    assert list(tmp_path.glob("fsrcache-bench-*"))
    cases.close()
    assert not list(tmp_path.glob("fsrcache-bench-*"))


def test_neighbours_come_apart_as_far_as_pools_reach():
    found = neighbours(20_000)
    full, tenth, stored = found["full shuffle"], found["block-random, 10% resident"], found["as stored"]
    assert full["mean"] == pytest.approx(1 / 3, rel=0.05)
    assert tenth["mean"] == pytest.approx(0.1 / 3, rel=0.3)
    assert stored["mean"] == pytest.approx(1 / 20_000)
    assert full["same_batch"] < tenth["same_batch"] < 0.15 < stored["same_batch"]


def test_probes_tell_a_bad_order_from_a_good_one():
    found = probes(6_000, seeds=4, epochs=1)
    good, bad = found["shuffled at writing"], found["sorted"]
    assert good["block-random, 10% resident"]["furthest"] < 6 < bad["as stored"]["furthest"]

    def gap(curves, name):  # at its worst: when every class was seen, at the end of an epoch, it closes
        return np.abs(np.subtract(curves[name]["loss"], curves["full shuffle"]["loss"])).max()

    assert gap(bad, "as stored") > 0.1
    assert gap(good, "block-random, 10% resident") < 0.01
    assert all(np.diff(good["full shuffle"]["loss"]) < 0.02)


def test_ten_million_faces():
    spec, assumed = big_spec(), Assumed()
    assert (spec.chunk, spec.block) == (64, 4096)
    found = counted(spec, assumed)
    assert found["kinds"]["features"]["objects"] == 8 * (1954 + 245 + 245)
    assert (
        found["objects"]
        == sum(kind["objects"] for kind in found["kinds"].values())
        + found["columns"]["objects"]
        + found["metadata"]["objects"]
    )
    assert found["list_calls"] == -(-found["objects"] // 1000)
    assert naive_objects(spec) > 50 * found["objects"]
    asked = trainer(spec, assumed)
    assert asked["requests_per_second"] == 20_000 / 64 * 3
    assert asked["samples_per_second"] > 20 * asked["samples_per_second_one_request"]
    cost = killed(spec, assumed)
    assert spec.block / 2 < cost["redone_rows"] < cost["redone_rows_worst"] < 2 * spec.block


@pytest.mark.slow
def test_the_page_is_as_the_program_writes_it():
    text = (Path(__file__).parents[2] / "benchmarks/results/object_storage.md").read_text()
    assert text == page(big_spec(), Assumed())
    assert max(len(line) for line in text.splitlines()) <= 120


def test_pictures_of_noise_differ_and_are_extracted():
    listing = noise_pictures(40)
    assert len({listing.load(number).tobytes() for number in range(40)}) == 40
    record = measure(40)
    assert record["rows"] == 40
    assert record["peak_bytes"] >= record["peak_bytes_before_extracting"] > 10**7


@pytest.mark.slow
def test_a_large_parent_is_not_counted_as_an_extraction_s_memory():
    parent = np.ones(1 << 30, np.uint8)  # written, and so resident
    record = memory._process(40)
    assert record["peak_bytes"] < len(parent)
