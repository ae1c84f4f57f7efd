"""What other programs and people read: JSON, CSV, Markdown and the terminal."""

import csv
import json
from collections import Counter
from dataclasses import asdict, replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from fsrcache.errors import RequestError
from fsrcache.evaluation.formats import _escaped, to_csv, to_json, to_markdown
from fsrcache.evaluation.layout import MEASURES, blocks
from fsrcache.evaluation.paper import TABLE_1, TEST_PICTURES
from fsrcache.evaluation.tables import footnotes, score_table
from fsrcache.evaluation.terminal import terminal_table

PROMISED = ["row", "head", "scale", "n", "accuracy", "mean_class_accuracy", "macro_f1", "low", "high", "gap_closed"]


def printed(table, *, width=80, **options):
    console = Console(width=width, file=StringIO())
    console.print(terminal_table(table, width=width, **options), crop=False)
    return console.file.getvalue()


def test_json_has_the_promised_names_and_no_nan(table):
    read = json.loads(json.dumps(to_json(table), allow_nan=False))
    assert read["split"] == "val"
    assert set(PROMISED) <= set(read["rows"][0])
    for name in ("rows", "rows_without_twins"):
        assert read[name] == [asdict(score) | {"seeds": list(score.seeds)} for score in getattr(table, name)]
    assert read["context"] == footnotes(table)


def test_csv_round_trip(table):
    text = to_csv(table)
    read = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    assert [entry.pop("twins") for entry in read] == ["with"] * 7 + ["without"] * 7
    for entry, score in zip(read, (*table.rows, *table.rows_without_twins), strict=True):
        for name, value in asdict(score).items():
            form = type(value) if name != "seeds" else lambda text: tuple(map(int, text.split()))
            assert entry[name] == "" if value is None else form(entry[name]) == value
    assert "# seeds: FSR-FER 0\n" in text
    assert "# row bicubic: as it is\n" in text
    assert text.count("\n#") == len(footnotes(table))


def test_markdown_round_trip(table):
    text = to_markdown(table)
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| frozen")]
    assert lines[0] == ["frozen", "bicubic", "80.0", "60.0", "30.0"]
    assert lines[1] == ["frozen", "FSR-FER", r"**85.0\~**", r"**70.0\~**", "**65.0**"]
    assert lines[2] == ["frozen", "FSR-FER", "**50**", "**70**"]
    assert len({line.count("|") for line in text.splitlines() if line.startswith("| frozen | bicubic")}) == 1
    assert "| refit-linear | bicubic | – | 55.0 | – |" in text
    assert r"- data: FER2013 \| 28,709 pictures" in text
    assert r"- extractor: CovPoolFER, \*HR only\*" in text


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("l2_weight", "l2_weight"),
        ("_other_", r"\_other\_"),
        ("__a__", r"\_\_a\_\_"),
        ("[x](http://y)", r"\[x](http://y)"),
        ("&lt;b&gt;", r"\&lt;b\&gt;"),
        ("$a$ | *b*", r"\$a\$ \| \*b\*"),
    ],
)
def test_markdown_shows_names_as_they_are(name, written):
    assert _escaped(name) == written


def test_terminal_fits_and_says_what_was_measured_but_no_definitions(table):
    text = printed(table)
    assert max(map(len, text.splitlines())) <= 80
    assert "frozen       bicubic 80.0  60.0  30.0" in text
    assert "             FSR-FER 85.0~ 70.0~ 65.0" in text
    assert "without 4 pictures with a twin in the training split" in text
    said = footnotes(table)
    for subject in ("data", "split", "extractor", "generator", "seeds", "notes"):
        assert subject in text
        assert all(word in text for word in said[subject].split())
    assert not any(subject in text for subject in ("row bicubic", "head frozen", "statistics", "gap closed"))


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize("width", [8, 16, 20, 40, 60, 80, 100, 200])
def test_terminal_never_cuts_a_figure(context, width, paper):
    """Three heads and rows, sixteen scales, a mark nearly everywhere, accuracies of 100 and shares of thousands."""
    labels = np.zeros(2000, int)
    right = {"bicubic": 1001, "fine-tuned": 1003, "FSR-FER": 2000}
    many = {
        (row, head, scale, None if row == "bicubic" else 0): np.where(
            np.arange(2000) < count + (scale == 1 and row == "bicubic"), 0, 1
        )
        for row, count in right.items()
        for head in ("frozen", "refit-mlp", "refit-linear")
        for scale in range(1, 17)
    }
    whole = score_table(many, labels, split="val", context=context)
    text = printed(whole, width=width, paper=paper)
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= max(width, 17)
    words = Counter(text.split())
    for block in blocks(whole, paper=paper):
        for line in block.lines:
            for cell in line.cells:
                words[cell.text + "~" * cell.unsure] -= 1
    assert words["100.0"] == words["99900"] == words["50.1~"] == 0
    if width >= 40:  # below, names are folded
        assert {"frozen", "refit-linear", "fine-tuned", "FSR-FER"} <= set(words)


def test_a_wide_terminal_shows_all_scales_side_by_side(predictions, context):
    labels = np.array([0, 1, 2, 3] * 5)
    many = {("bicubic", "frozen", scale, None): labels for scale in range(1, 17)}
    table = score_table(predictions | many, labels, split="val", context=context)
    heads = [[line.split()[2:] for line in printed(table, width=width, measures=("accuracy",)).splitlines()
              if line.startswith("head         row")] for width in (200, 80)]  # fmt: skip
    names = ["HR", *(f"x{scale}" for scale in range(2, 17))]
    assert heads == [[names], [names[:8], names[8:]]]


def test_best_of_a_column_is_marked(table):
    accuracy = blocks(table)[0]
    marked = {(line.row, line.group): [cell.best for cell in line.cells] for line in accuracy.lines}
    assert marked["bicubic", "frozen"] == [False, False, False]
    assert marked["FSR-FER", "frozen"] == [True, True, True]
    assert marked["bicubic", "refit-linear"] == [False, False, False]
    styles = {segment.text.strip(): segment.style for segment in Console(width=100).render(terminal_table(table))}
    assert styles["65.0"].bold
    assert not (styles["30.0"] and styles["30.0"].bold)


def test_ties_share_the_mark(predictions, context):
    predictions["bicubic", "frozen", 1, None] = predictions["FSR-FER", "frozen", 1, 0]
    lines = blocks(score_table(predictions, np.array([0, 1, 2, 3] * 5), split="val", context=context))[0].lines
    assert [line.cells[0].best for line in lines] == [True, True, False]


def test_every_measure_can_be_shown(predictions, context):
    predictions["FSR-FER", "frozen", 2, 1] = predictions["FSR-FER", "frozen", 1, 0]  # another seed: a deviation
    predictions["specialists", "frozen", 2, 0] = predictions["FSR-FER", "frozen", 1, 0]  # a ceiling
    twins = np.arange(20) < 4
    table = score_table(predictions, np.array([0, 1, 2, 3] * 5), split="val", context=context, twins=twins)
    titles = [block.title for block in blocks(table, measures=tuple(MEASURES))]
    assert len(titles) == len(MEASURES) + 1
    assert ".016" in printed(table, measures=("mcnemar_p",))
    with pytest.raises(RequestError, match="'f1'") as caught:
        blocks(table, measures=("f1",))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("reader", [to_json, to_csv, to_markdown, terminal_table, blocks])
def test_what_is_no_table_is_named(reader):
    with pytest.raises(RequestError, match="table is 'accuracy'"):
        reader("accuracy")


def test_what_is_no_list_of_measures_is_named(table):
    with pytest.raises(RequestError, match="measures is 'accuracy'"):
        blocks(table, measures="accuracy")
    with pytest.raises(RequestError, match="width is 0"):
        terminal_table(table, width=0)


def test_no_list_without_twins_where_there_are_none(table):
    alone = replace(table, pictures_with_twins=0, rows_without_twins=table.rows)
    assert [block.title for block in blocks(alone, measures=("accuracy",))] == ["Total accuracy, %"]


def test_the_paper_is_shown_only_when_asked(table):
    assert "paper" not in to_markdown(table)
    assert "Meta-SR" not in printed(table)
    text = printed(table, paper=True)
    assert "paper, Table 1 bicubic            87.0  84.5  72.7" in text
    assert "FSR-FER               –  83.2  78.0" in text
    assert "| *paper, Table 1* | *FSR-FER* | *-53* | *37* |" in to_markdown(table, paper=True)
    lines = [line for block in blocks(table, paper=True) for line in block.lines if line.paper]
    assert not any(cell.best for line in lines for cell in line.cells)


def test_the_paper_is_copied_right():
    assert {name: len(row) for name, row in TABLE_1.items()} == {
        "bicubic": 7, "RCAN": 4, "Meta-SR": 7, "Meta-SR re-trained": 7, "FSR-FER": 7, "FSR-FER w/o re-weighting": 7
    }  # fmt: skip
    assert TABLE_1["RCAN"] == {2: 85.756, 3: 83.051, 4: 80.932, 8: 59.909}
    typed = {  # as printed, but not the share of a whole number of the 3,068 pictures
        ("bicubic", 8),
        ("Meta-SR", 4),
        ("Meta-SR re-trained", 8),
        ("FSR-FER w/o re-weighting", 3),
        ("FSR-FER w/o re-weighting", 4),
    }
    right = {
        (row, scale): accuracy * TEST_PICTURES / 100
        for row, line in TABLE_1.items()
        for scale, accuracy in line.items()
    }
    assert {key for key, count in right.items() if abs(count - round(count)) > 0.0005 * TEST_PICTURES / 100} == typed


def test_a_deviation_stands_behind_the_number_where_there_are_seeds(predictions, context):
    predictions["FSR-FER", "frozen", 2, 7] = predictions["FSR-FER", "frozen", 4, 0]  # 13 of 20, beside 14
    table = score_table(predictions, np.array([0, 1, 2, 3] * 5), split="val", context=context, order=("bicubic",))
    assert "FSR-FER 85.0~ 67.5~ ±3.5 65.0" in " ".join(printed(table).split())
    assert r"| frozen | FSR-FER | **85.0\~** | **67.5\~ ±3.5** | **65.0** |" in to_markdown(table)
    assert "± standard deviation over seeds" in printed(table)
    assert printed(table).count("±3.5") == 1
    score = next(one for one in to_json(table)["rows"] if one["row"] == "FSR-FER" and one["scale"] == 2)
    assert (score["seed"], score["seeds"]) == (None, (0, 7))
    assert ",0 7," in to_csv(table)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_long_names_of_rows_leave_room_for_several_scales(context, width):
    name = "FSR-FER (wider-and-noisier-for-a-long-time-with-mixing-and-averaging)"
    labels = np.array([0, 1, 2, 3] * 5)
    many = {(row, "refit-linear", scale, None): labels for row in ("bicubic", name) for scale in range(1, 9)}
    text = printed(score_table(many, labels, split="val", context=context), width=width, measures=("accuracy",))
    lines = text.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert sum(line.startswith("head") and "row" in line for line in lines) <= 4
    assert "…" not in text
    names = slice(13, 13 + max(12, width // 4))  # the column of the rows
    assert name.replace(" ", "") in "".join(line[names] for line in lines).replace(" ", "")
