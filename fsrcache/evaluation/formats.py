"""The table as text that other programs read: JSON-ready dicts, CSV and Markdown."""

import csv
import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from io import StringIO
from typing import Any

from fsrcache.evaluation.confusion import ClassScore
from fsrcache.evaluation.layout import FIRST_LOOK, Block, Cell, Line, blocks
from fsrcache.evaluation.scores import Score
from fsrcache.evaluation.tables import Table, footnotes
from fsrcache.records import check_value

FURTHER_CSVS = ("native_size.csv", "distance.csv", "cost.csv")


def to_json(table: Table) -> dict[str, Any]:
    """Return a table as one object for JSON; None, never NaN.

    Keys: ``split``, ``pictures``, ``pictures_with_twins``; ``against``, the row of McNemar's test; ``rows`` and
    ``rows_without_twins``, a Score each; ``classes``, the K names; ``confusion``, a Confusion for each of ``rows``;
    ``by_size``, a SizeScore each; ``by_distance``, a DistanceScore each; ``cost``, a Cost each; and ``context``.
    """
    context = footnotes(table)
    return {
        "split": table.split,
        "pictures": table.pictures,
        "pictures_with_twins": table.pictures_with_twins,
        "against": table.against,
        "rows": [asdict(score) for score in table.rows],
        "rows_without_twins": [asdict(score) for score in table.rows_without_twins],
        "classes": list(table.classes),
        "confusion": [asdict(one) for one in table.confusions],
        "by_size": [asdict(score) for score in table.by_size],
        "by_distance": [asdict(score) for score in table.by_distance],
        "cost": [asdict(one) for one in table.cost],
        "context": context,
    }


def to_csv(table: Table) -> str:
    """Return a table as CSV: a line per score, numbers in full, None as nothing, the context in ``#`` lines below.

    The first column, ``twins``, says which list a score is of: ``with`` all pictures or ``without`` those that have
    a twin in the training split; ``seeds`` stand with spaces between them. ``pandas.read_csv(..., comment="#")`` reads
    it.
    """
    context = footnotes(table)
    names = [field.name for field in fields(Score)]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["twins", *names])
    for kept, scores in (("with", table.rows), ("without", table.rows_without_twins)):
        writer.writerows([kept, *(_field(getattr(score, name)) for name in names)] for score in scores)
    return text.getvalue() + "".join(f"# {subject}: {_one_line(says)}\n" for subject, says in context.items())


def confusion_csv(table: Table) -> str:
    """Return the confusion matrices as CSV: a line per row, head, scale and true class, with the scores of the class.

    The last K columns, such as ``as happiness``, count the pictures by predicted class, summed over the seeds; the
    support is that of one seed. ``members`` is the number of networks whose outputs are averaged. Numbers stand in
    full, percent where they are shares, None as nothing.
    """
    check_value(Table, table, name="table")
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = [field.name for field in fields(ClassScore) if field.name != "name"]
    names = [one.name for one in table.confusions[0].per_class] if table.confusions else []
    writer.writerow(["row", "head", "scale", "seeds", "members", "class", *scores, *(f"as {name}" for name in names)])
    for matrix in table.confusions:
        key = [matrix.row, matrix.head, matrix.scale, _field(matrix.seeds), matrix.members]
        for one, counts in zip(matrix.per_class, matrix.counts, strict=True):
            writer.writerow([*key, one.name, *(getattr(one, name) for name in scores), *counts])
    return text.getvalue()


def further_csvs(table: Table) -> dict[str, str]:
    """Return the measures that were asked for as CSV, by the file's name: a line per score, as for ``to_csv``.

    ``native_size.csv`` has a SizeScore a line, ``distance.csv`` a DistanceScore, ``cost.csv`` a Cost; without scores
    there is no file.
    """
    check_value(Table, table, name="table")
    scores: Sequence[Sequence[Any]] = (table.by_size, table.by_distance, table.cost)
    return {name: _scores_csv(of_name) for name, of_name in zip(FURTHER_CSVS, scores, strict=True) if of_name}


def _scores_csv(scores: Sequence[Any]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(scores[0])]
    writer.writerow(names)
    writer.writerows([_field(getattr(score, name)) for name in names] for score in scores)
    return text.getvalue()


def to_markdown(table: Table, *, measures: Sequence[str] = FIRST_LOOK, paper: bool = False) -> str:
    """Return a table as Markdown: a block per measure, the best of each column bold, the context as a list below.

    Parameters
    ----------
    table
        The scores.
    measures
        As for :func:`fsrcache.evaluation.layout.blocks`.
    paper
        Whether to add the paper's Table 1, in italics; only for RAF-DB.

    Raises
    ------
    RequestError
        If a measure is unknown.
    """
    parts = [_block(block) for block in blocks(table, measures=measures, paper=paper)]
    context = "".join(f"- {_escaped(subject)}: {_escaped(says)}\n" for subject, says in footnotes(table).items())
    return "\n".join([*parts, context])


def _block(block: Block) -> str:
    heads = [block.grouped_by, "row", *block.columns]
    rules = ["---", "---", *["---:"] * len(block.columns)]
    lines = [heads, rules, *map(_cells, block.lines)]
    legend = f"\n{_escaped(block.legend)}\n" if block.legend else ""
    return f"**{block.title}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + legend


def _cells(line: Line) -> list[str]:
    texts = [_escaped(line.group), _escaped(line.row), *map(_number, line.cells)]
    return [f"*{text}*" for text in texts] if line.paper else texts


def _field(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def _number(cell: Cell) -> str:
    text = _escaped(cell.text) + (r"\~" if cell.unsure else "") + (f" {cell.spread}" if cell.spread else "")
    return f"**{text}**" if cell.best else text


def _escaped(text: str) -> str:
    """Return a text whose marks Markdown shows as they are; ``_`` within a word is none."""
    return _one_line(re.sub(r"[\\|*<~`\[&$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text))


def _one_line(text: str) -> str:
    return " ".join(text.split())
