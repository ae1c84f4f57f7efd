"""The bench: nothing wrong is timed, what is timed adds up, and the command prints what others rely on."""

import json
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from click.testing import CliRunner

from fsrcache.benchmarks import harness, kernels, step
from fsrcache.benchmarks.harness import (
    Case,
    Roofs,
    captured,
    commit,
    durations,
    machine,
    measure_roofs,
    run_case,
)
from fsrcache.benchmarks.subject import subjects
from fsrcache.cli.bench import bench
from fsrcache.errors import FsrcacheError

CPU = torch.device("cpu")
ROOFS = Roofs(1e9, 1e9)


def case(work, **fields):
    return Case(name="sum", candidate="ours", work=work, reference=lambda: torch.ones(3, dtype=torch.float64),
                error=1e-6, **fields)  # fmt: skip


@pytest.mark.parametrize(
    "wrong", [torch.full((3,), 1.01), torch.ones(4), torch.full((3,), torch.nan)], ids=["value", "shape", "nan"]
)
def test_a_wrong_result_is_not_timed(wrong):
    with pytest.raises(FsrcacheError, match="sum: ours is"):
        run_case(case(lambda: wrong), ROOFS, CPU, seconds=0)
    with pytest.raises(FsrcacheError, match="sum: theirs is"):
        run_case(case(lambda: torch.ones(3), alternatives={"theirs": lambda: wrong}), ROOFS, CPU, seconds=0)


def test_rows():
    def slow():
        for _ in range(20):
            torch.randn(100, 100)
        return torch.ones(3)

    rows = run_case(
        case(lambda: torch.ones(3), alternatives={"slow": slow, "same": lambda: torch.ones(3)}, bytes=2e3, flops=1e3),
        ROOFS, CPU, seconds=0.02,
    )  # fmt: skip
    assert [row["alternative"] for row in rows] == ["slow", "same"]
    assert rows[0]["ratio"] == pytest.approx(rows[0]["alternative_ms"] / rows[0]["ms"])
    assert rows[0]["ratio"] > 2
    assert rows[0]["ms_p20"] <= rows[0]["ms"] <= rows[0]["ms_p80"]
    assert rows[0]["share_of_roof"] == pytest.approx(2e-6 / (rows[0]["ms"] / 1e3))  # 2,000 bytes at 1e9 a second
    assert all(row["checked"] for row in rows)
    assert {row[name] for row in rows for name in ("l2", "ms_warm", "ratio_warm")} == {None}  # of a GPU


def test_what_has_no_reference_is_timed_and_said_to_be_unchecked():
    (row,) = run_case(Case(name="alone", candidate="ours", work=lambda: torch.rand(3)), ROOFS, CPU, seconds=0)
    assert not row["checked"]
    assert row["ms"] > 0


def test_checks_are_in_fp32():
    assert torch.backends.cudnn.conv.fp32_precision == "tf32"  # torch's default
    said = []

    def work():
        said.append(torch.backends.cudnn.conv.fp32_precision)
        return torch.ones(3)

    run_case(case(work), ROOFS, CPU, seconds=0)
    assert set(said) == {"ieee"}


@pytest.mark.parametrize(
    ("products", "tf32_rate", "seconds"),
    [
        ("fp32", 9e9, 1.0),
        ("tf32", 9e9, 1 / 9),
        ("tf32x3", 9e9, 1 / 3),
        ("tf32x3", 2e9, 1.0),
        ("tf32x3", None, 1.0),
        ("fp16x3", 9e9, 1 / 6),
    ],
)
def test_a_roof_is_of_the_products_that_are_done(products, tf32_rate, seconds):
    done = Case(name="", candidate="", work=lambda: None, flops=1e9, products=products)
    assert Roofs(1e9, 1e9, tf32_rate, tf32_rate and 2 * tf32_rate).seconds(done) == pytest.approx(seconds)


def test_a_cpu_has_one_rate():
    assert measure_roofs(CPU, seconds=0).tf32_rate is None


@pytest.mark.parametrize("half", [slice(0, 1), slice(1, None)], ids=["fine", "coarse"])
def test_a_batch_of_other_features_than_the_extractor_s_is_not_timed(half):
    for subject in subjects(CPU, quick=True, own_batches=True):
        for make in (step._drawing, step._share):
            (case,) = make(subject)
            assert run_case(case, ROOFS, CPU, seconds=0)[0]["checked"]
        subject.cache.features[half] = 0
        for make in (step._drawing, step._share):
            (case,) = make(subject)
            with pytest.raises(FsrcacheError, match=r"drawing a batch.*: cache is"):
                run_case(case, ROOFS, CPU, seconds=0)


class FakeGPU:
    """Stands in for ``torch.cuda`` where work is captured and timed; records the order of things."""

    def __init__(self, monkeypatch):
        self.order = order = []

        class Stream:
            def __init__(self, name="side"):
                self.name = name

            def wait_stream(self, other):
                order.append(f"{self.name} waits for {other.name}")

        class Event:
            number = 0

            def __init__(self, *, enable_timing):
                assert enable_timing

            def record(self):
                order.append("record")

            def synchronize(self):
                order.append("synchronize")

            def elapsed_time(self, end):
                assert isinstance(end, Event)
                return 2.0

        class Graph:
            def replay(self):
                order.append("replay")

        class Cleared:
            def zero_(self):
                order.append("clear")

        @contextmanager
        def within(*_, stream=None):
            order.append(f"capture on {stream.name}" if stream else "enter")
            yield

        fakes = {
            "Stream": lambda _: Stream(), "current_stream": lambda _: Stream("current"), "stream": within,
            "graph": within, "CUDAGraph": Graph, "Event": Event, "device": within,
            "synchronize": lambda _: order.append("idle"),
            "_sleep": lambda cycles: order.append("spin" if cycles > 1e5 else "blink"),
        }  # fmt: skip
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(harness, "_beyond_l2", lambda _: Cleared())


CUDA = torch.device("cuda")


def test_a_capture_begins_when_its_inputs_are_there_and_ends_before_what_follows(monkeypatch):
    order = FakeGPU(monkeypatch).order
    replay = captured(lambda: order.append("work"), CUDA)
    waits = ["side waits for current", "enter", *["work"] * 3, "current waits for side"]
    assert order == [*waits, "capture on side", "work"]
    replay()
    assert order[-1] == "replay"


def test_a_gpu_is_timed_with_a_cleared_l2_and_with_a_warm_one(monkeypatch):
    order = FakeGPU(monkeypatch).order
    works = {"a": lambda: order.append("a") or torch.ones(3), "b": lambda: order.append("b") or torch.ones(3)}
    (row,) = run_case(case(works["a"], alternatives={"b": works["b"]}), ROOFS, CUDA, seconds=0)

    def runs(*before):
        run = *before, "enter", "spin", "record", "{}", "record", "synchronize"
        return [word.format(name) for name in "ab" for word in run] * 5

    unmeasured = ["a", "a", "b", "b"]
    assert order == ["a", "b", *unmeasured, *runs("clear"), *unmeasured, *runs()]
    assert row["clock"] == "device"
    assert (row["l2"], row["ms"], row["ms_warm"], row["ratio"], row["ratio_warm"]) == ("cold", 2.0, 2.0, 1.0, 1.0)


def test_what_the_host_does_too_is_timed_by_its_clock_between_idle_moments_of_the_gpu(monkeypatch):
    order = FakeGPU(monkeypatch).order
    (row,) = run_case(
        Case(name="", candidate="a", work=lambda: order.append("a"), clock="host"), ROOFS, CUDA, seconds=0
    )
    run = ["idle", "a", "idle"]
    assert order == ["a", "a", *["clear", *run] * 5, "a", "a", *run * 5]
    assert (row["clock"], row["l2"]) == ("host", "cold")


def test_they_take_turns():
    order = []
    taken = durations([lambda: order.append("a"), lambda: order.append("b")], CPU, seconds=0)
    assert [len(times) for times in taken] == [5, 5]
    assert "".join(order[4:]) == "ab" * 5


def test_the_machine_is_named():
    record = machine(CPU)
    assert record["versions"]["torch"] == torch.__version__
    assert record["cores"] >= 1
    assert commit() is None or len(commit().rstrip("+")) == 12


@pytest.mark.slow
def test_the_command(tmp_path):
    figure = tmp_path / "bench.png"
    done = CliRunner().invoke(bench, ["all", "--quick", "--json", "--device", "cpu", "--plot", str(figure)])
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert {"machine", "commit", "roofs", "cases"} <= set(record)
    wanted = {"case", "candidate", "alternative", "ms", "alternative_ms", "ratio", "share_of_roof", "checked"}
    assert all(wanted <= set(row) for row in record["cases"])
    assert record["failed"] == []
    alone = ("generator's update", "generator's optimiser")
    assert all(row["checked"] != row["case"].endswith(alone) for row in record["cases"])
    assert {row["candidate"] for row in record["cases"]} >= {
        "covariance_pool", "bimap_covariance_pool", "penalty_direction", "symmetric_gather", "log_eig",
        "closed_form_penalty", "cache", "cached", "closed form", "fsrcache.load", "fsrcache predict",
    }  # fmt: skip
    compared = {row["alternative"] for row in record["cases"] if row["case"].startswith("step of")}
    assert compared >= {
        "the same batch extracted from pictures", "drawing and the whole step", "extracting on the fly", "plain twin",
        "double backward",
    }  # fmt: skip
    assert "no GPU" in record["not_run"][0]
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_figure_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    done = CliRunner().invoke(bench, ["--plot", str(tmp_path / "no" / "bench.png")])
    assert done.exit_code != 0
    assert "No figure can be written" in str(done.exception)


def run_makers(monkeypatch, out, *makers):
    """Run ``bench kernels`` with other makers of cases than the real ones."""
    monkeypatch.setattr(kernels, "kernel_makers", lambda *_, **__: list(makers))
    return CliRunner().invoke(bench, ["kernels", "--quick", "--device", "cpu", "--json", "--out", str(out)])


@pytest.mark.slow
def test_a_case_that_fails_ends_no_other(tmp_path, monkeypatch):
    def full():
        raise torch.OutOfMemoryError("no memory")

    def bad():
        yield case(lambda: torch.zeros(3))
        yield case(full)
        yield case(lambda: torch.ones(3))

    def broken():
        yield case(lambda: torch.ones(3))
        raise KeyError("x")

    def good():
        yield case(lambda: torch.ones(3))

    out = tmp_path / "bench.json"
    done = run_makers(monkeypatch, out, bad, broken, good)
    assert done.exit_code == 1
    record = json.loads(done.stdout)
    assert json.loads(out.read_text()) == record
    assert list(tmp_path.iterdir()) == [out]
    assert [one["case"] for one in record["failed"]] == ["sum", "sum", "a case of kernels"]
    errors = [one["error"] for one in record["failed"]]
    assert errors[0].startswith("sum: ours is 1.0e+00 from its reference")
    assert errors[1:] == ["OutOfMemoryError: no memory", "KeyError: 'x'"]
    assert len(record["cases"]) == 3
    words = CliRunner().invoke(bench, ["kernels", "--quick", "--device", "cpu"])
    assert words.exit_code == 1
    assert "Failed: sum: OutOfMemoryError: no memory" in words.stdout


def test_what_was_measured_is_kept_when_the_rest_is_interrupted(tmp_path, monkeypatch):
    def interrupted():
        yield case(lambda: torch.ones(3))
        raise KeyboardInterrupt

    out = tmp_path / "bench.json"
    done = run_makers(monkeypatch, out, interrupted)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert [row["case"] for row in json.loads(out.read_text())["cases"]] == ["sum"]


def test_a_subject_whose_packages_are_missing_ends_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "kernel_makers", lambda *_, **__: [])
    for name in ("step", "store", "predict"):
        monkeypatch.setitem(sys.modules, f"fsrcache.benchmarks.{name}", None)
    out = tmp_path / "bench.json"
    done = CliRunner().invoke(bench, ["all", "--quick", "--device", "cpu", "--out", str(out)])
    assert done.exit_code == 1
    assert [one["case"] for one in json.loads(out.read_text())["failed"]] == [
        "step", "peers of store", "store", "peers of predict", "predict",
    ]  # fmt: skip


WITHOUT_A_STORE = """
import sys
for name in ("zarr", "fastcrc", "numcodecs"):
    sys.modules[name] = None
from fsrcache.benchmarks import kernels
kernels.kernel_makers = lambda device, *, quick, make=kernels.kernel_makers: make(device, quick=quick)[:1]
from fsrcache.cli import main
main(["bench", "kernels", "--quick", "--device", "cpu", "--json"])
"""


@pytest.mark.slow
def test_kernels_are_timed_where_no_store_can_be_read():
    done = subprocess.run([sys.executable, "-c", WITHOUT_A_STORE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["cases"]


def test_a_record_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    done = CliRunner().invoke(bench, ["--out", str(tmp_path / "no" / "bench.json")])
    assert done.exit_code != 0
    assert "No record can be written" in str(done.exception)
