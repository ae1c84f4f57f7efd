"""``evaluate`` as a command: the table comes first, and what becomes of the files costs nothing of it."""

import json
import sys
from dataclasses import replace

import pytest
from PIL import Image

from fsrcache.cli.main import main
from fsrcache.errors import RequestError
from fsrcache.evaluation.cost import Cost
from fsrcache.verbs.evaluate import evaluate as verb


@pytest.fixture
def evaluate(table, tmp_path, monkeypatch, capsys):
    """Return a function that runs the command on a workspace whose scores are known: code, output, errors."""
    run = tmp_path / "runs" / "default"
    run.mkdir(parents=True)
    (run / "generator.safetensors").touch()
    monkeypatch.setattr("fsrcache.verbs.evaluate.evaluate", lambda *_, **__: table)
    monkeypatch.setenv("COLUMNS", "80")

    def command(*words):
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", "--workspace", str(tmp_path), *words])
        said = capsys.readouterr()
        return stop.value.code, said.out, said.err

    command.run = run
    return command


def test_the_table_and_its_files(evaluate):
    code, out, said = evaluate()
    assert code == 0
    assert "frozen       bicubic 80.0  60.0  30.0" in out
    lines = said.splitlines()
    names = "table.md, table.csv; and confusion.csv, accuracy.svg"
    assert lines[0] == f"With every definition in {evaluate.run}: {names}"
    assert lines[1].endswith(str(evaluate.run / "accuracy.png"))
    assert lines[2].startswith("No faces.png: ")  # there is no store here
    assert len(lines) == 3
    assert {path.suffix for path in evaluate.run.iterdir()} == {".csv", ".md", ".png", ".svg", ".safetensors"}
    with Image.open(evaluate.run / "accuracy.png") as figure:
        assert min(figure.size) > 300


@pytest.mark.parametrize("words", [[], ["--json"]])
@pytest.mark.parametrize("name", ["table.csv", "accuracy.svg"])
def test_a_file_that_cannot_be_written_costs_no_table(evaluate, name, words):
    (evaluate.run / name).mkdir()
    code, out, said = evaluate(*words)
    assert code == 1
    assert said.startswith(f"Error: {evaluate.run / name} cannot be written: ")
    assert len(said.splitlines()) == 2
    if words:
        assert json.loads(out)["split"] == "val"  # one document, and it is the table
    else:
        assert "frozen       bicubic 80.0  60.0  30.0" in out


def test_a_matplotlib_that_cannot_be_loaded_costs_the_figures_alone(evaluate, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("fsrcache.evaluation.plots", "fsrcache.evaluation.style"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    code, out, said = evaluate()
    assert code == 1
    assert "frozen       bicubic 80.0  60.0  30.0" in out
    assert said.startswith("Error: matplotlib cannot be loaded, and no figure drawn: ")
    written = {path.name for path in evaluate.run.iterdir()}
    assert written == {"generator.safetensors", "table.csv", "table.md", "confusion.csv"}


def test_an_output_that_takes_nothing_costs_no_file(evaluate, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fsrcache.cli.evaluate.click.echo", full)
    code, _, said = evaluate("--json")
    assert code == 1
    assert (evaluate.run / "accuracy.svg").exists()
    assert said == ""  # here errors are said by the same function


@pytest.mark.parametrize("width", [8, 20, 60, 80, 120])
def test_the_table_is_as_wide_as_the_terminal(evaluate, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = evaluate("--measures", "accuracy")
    assert code == 0
    assert "…" not in out
    assert {"80.0", "60.0", "30.0", "85.0~", "70.0~", "65.0", "55.0"} <= set(out.split())
    assert min(width, 78) - 6 < max(map(len, out.splitlines())) <= max(width, 17)


@pytest.mark.parametrize("width", [20, 80, 120])
def test_a_piped_table_has_no_trailing_spaces(evaluate, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = evaluate("--measures", "accuracy", "--measures", "per_class")
    assert code == 0
    assert [line for line in out.splitlines() if line != line.rstrip()] == []


def test_a_table_on_a_terminal_keeps_its_colours(evaluate, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # which rich takes for a terminal
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in evaluate()[1]


def test_the_classes_are_printed_and_written(evaluate):
    _, out, _ = evaluate("--measures", "per_class")
    assert "Recall of every class, head frozen, %" in out
    assert "Total accuracy" not in out
    written = (evaluate.run / "confusion.csv").read_text().splitlines()
    assert written[0].startswith("row,head,scale,seeds,members,class,support,recall,precision,f1,as 0,")
    assert len(written) == 1 + 7 * 4
    assert "Total accuracy" in (evaluate.run / "table.md").read_text()  # as before


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"seed": 2**64}, "seed is 18446744073709551616"), ({"seed": -1}, "seed is -1"), ({"seed": 1.0}, "seed is 1.0"),
     ({"heads": "frozen"}, "heads are 'frozen'"), ({"heads": ("svm",)}, "svm"), ({"heads": ()}, r"heads are \(\)"),
     ({"names": "default"}, "names are 'default'"), ({"names": ()}, r"names are \(\)"),
     ({"names": ("fine", "../up")}, "'../up' is no name for a run")],
)  # fmt: skip
def test_what_is_no_seed_or_head_is_named_before_any_work(tmp_path, changes, words):
    with pytest.raises(RequestError, match=words):
        verb(tmp_path, device="cpu", **changes)


def test_without_a_run_the_files_have_a_folder_of_their_own(evaluate):
    (evaluate.run / "generator.safetensors").unlink()
    code, out, said = evaluate()
    assert code == 0
    assert "frozen       bicubic 80.0  60.0  30.0" in out
    folder = evaluate.run.parents[1] / "table"
    assert said.splitlines()[0].startswith(f"With every definition in {folder}: ")
    assert {path.name for path in folder.iterdir()} == {
        "table.csv", "table.md", "confusion.csv", "accuracy.png", "accuracy.svg"
    }  # fmt: skip
    assert not list(evaluate.run.iterdir())


def test_the_row_to_compare_with_reaches_the_table(evaluate, monkeypatch, table):
    asked = {}
    monkeypatch.setattr("fsrcache.verbs.evaluate.evaluate", lambda *_, **options: asked.update(options) or table)
    assert evaluate("--against", "fine-tuned, mean of 3")[0] == 0
    assert (asked["against"], asked["names"]) == ("fine-tuned, mean of 3", None)
    assert evaluate("--name", "default")[0] == 0
    assert (asked["against"], asked["names"]) == ("bicubic", ("default",))


def test_a_seed_beyond_the_range_is_a_wrong_request(evaluate):
    code, _, said = evaluate("--seed", str(2**64))
    assert code == 2
    assert "--seed" in said


def test_costs_are_shown_and_written(evaluate, table, monkeypatch):
    bicubic = Cost(
        row="bicubic", label="bicubic", members=1, parameters=4_830_000, gmac=0.1269, training_seconds=None,
        training_cpu_seconds=None,
    )  # fmt: skip
    asked = []

    def verb(*_, cost, **__):
        asked.append(cost)
        return replace(table, cost=(bicubic,)) if cost else table

    monkeypatch.setattr("fsrcache.verbs.evaluate.evaluate", verb)
    _, out, said = evaluate()
    assert "4.83M" not in out
    assert "cost.csv" not in said
    assert not (evaluate.run / "cost.csv").exists()
    code, out, said = evaluate("--measures", "cost")
    assert said.splitlines()[0].endswith("and confusion.csv, cost.csv, accuracy.svg")
    assert (code, asked) == (0, [False, True])
    assert "4.83M" in out
    assert "4.83M" in (evaluate.run / "table.md").read_text()
    assert (evaluate.run / "cost.csv").read_text().splitlines()[1].startswith("bicubic,bicubic,1,4830000,0.1269,")
