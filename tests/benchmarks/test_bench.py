"""The bench: nothing wrong is timed, what is timed adds up, and the command prints what others rely on."""

import json

import pytest
import torch
from click.testing import CliRunner
from fsrcache.benchmarks.harness import Case, Roofs, commit, durations, machine, run_case
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
    assert all(wanted <= set(row) and row["checked"] for row in record["cases"])
    assert {row["candidate"] for row in record["cases"]} >= {
        "covariance_pool", "bimap_covariance_pool", "gradient_norm, penalty_direction", "symmetric_gather", "log_eig",
        "closed_form_penalty", "cache", "cached", "closed form",
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
