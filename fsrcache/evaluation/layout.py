"""How scores are laid out for reading: a line per head and row, a column per scale; terminal and Markdown share it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from fsrcache.announce import several
from fsrcache.errors import RequestError
from fsrcache.evaluation.cost import TIMED_FACES, Cost
from fsrcache.evaluation.metrics import gap_closed
from fsrcache.evaluation.paper import HR_ACCURACY, TABLE_1
from fsrcache.evaluation.scores import BICUBIC, FROZEN, MAJORITY, SPECIALISTS, Score
from fsrcache.evaluation.tables import Table
from fsrcache.records import check_value, shortened

SIGNIFICANT = 0.05
_NOT_IN_THE_GAP = (BICUBIC, MAJORITY)  # the one closes nothing of it by definition, the other looks at no face
_LEFT_OUT = {"gap_closed": _NOT_IN_THE_GAP, "ceiling_reached": (*_NOT_IN_THE_GAP, SPECIALISTS)}  # labels by measure
FIRST_LOOK = ("accuracy", "gap_closed", "ceiling_reached")  # what a reader wants to see before anything else
NATIVE_SIZE = "native_size"  # accuracy by the faces' own size
DISTANCE = "distance"  # accuracy by the distance to the nearest trained face
CALIBRATION = "calibration"  # calibration error before and after temperature, and the temperature, three blocks
COST = "cost"  # weights, multiplications and times of every row, a block
PER_CLASS = "per_class"  # recall, precision and F1 of every class, three blocks
_CLASS_MEASURES = {"recall": "Recall", "precision": "Precision", "f1": "F1"}
_PAPER_ROWS = ("bicubic", "RCAN", "Meta-SR re-trained", "FSR-FER")


@dataclass(frozen=True)
class Measure:
    """How one field of :class:`Score` is shown; in percent unless the title says otherwise.

    ``{against}`` in the title is the row that McNemar's test compares with.
    """

    title: str
    show: Callable[[float], str]
    best: bool = True  # whether the largest number of a column is the best


def _whole(percent: float) -> str:
    return str(round(percent))  # never -0


def _p_value(p: float) -> str:
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "accuracy": Measure("Total accuracy, %", "{:.1f}".format),
        "gap_closed": Measure("Share of the gap from bicubic to HR closed, %", _whole),
        "ceiling_reached": Measure("Share of the way from bicubic to the specialists reached, %", _whole),
        "mean_class_accuracy": Measure("Mean class accuracy, %", "{:.1f}".format),
        "macro_f1": Measure("Macro F1, %", "{:.1f}".format),
        "low": Measure("Total accuracy, lower end of the 95 % interval, %", "{:.1f}".format, best=False),
        "high": Measure("Total accuracy, upper end of the 95 % interval, %", "{:.1f}".format, best=False),
        "standard_error": Measure("Standard error of the total accuracy, points", "{:.2f}".format, best=False),
        "deviation": Measure("Standard deviation of the accuracy over seeds, points", "{:.2f}".format, best=False),
        "mcnemar_p": Measure("McNemar's p-value against {against}", _p_value, best=False),
    }
)
KNOWN = (*MEASURES, PER_CLASS, NATIVE_SIZE, DISTANCE, CALIBRATION, COST)
_CALIBRATION_MEASURES = {
    "calibration_error": Measure("Expected calibration error, frozen head, %", "{:.1f}".format, best=False),
    "calibration_error_after": Measure("The same at the temperature of the scale, %", "{:.1f}".format, best=False),
    "temperature": Measure("Temperature of the scale, not a percentage", "{:.2f}".format, best=False),
}


@dataclass(frozen=True)
class Cell:
    """One number as shown.

    Attributes
    ----------
    text
        The number.
    best
        Whether it is the best of its column.
    unsure
        Whether the row that it is tested against may be as good.
    spread
        Its standard deviation over seeds, such as ``±0.3``; empty with fewer than two.
    """

    text: str = "–"
    best: bool = False
    unsure: bool = False
    spread: str = ""


@dataclass(frozen=True)
class Line:
    """The cells of one row with one head, or of one class; of the paper's own table where ``paper``."""

    group: str
    row: str
    cells: tuple[Cell, ...]
    paper: bool = False


@dataclass(frozen=True)
class Block:
    """One measure of one list of scores, with what its marks mean; its lines are grouped by head or by class."""

    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    legend: str
    grouped_by: str = "head"


def scale_name(scale: int) -> str:
    """Return how a scale is headed: ``HR``, ``x2``, ``x3`` ..."""
    return "HR" if scale == 1 else f"x{scale}"


def blocks(table: Table, *, measures: Sequence[str] = FIRST_LOOK, paper: bool = False) -> list[Block]:
    """Lay out a table: a block per measure, then the first measure again without the twins, if there are any.

    Parameters
    ----------
    table
        The scores.
    measures
        Names of :data:`MEASURES`; ``per_class``: with the frozen head if it was scored, else with the first; or
        ``native_size``, ``distance``, ``calibration`` or ``cost``, of a table that has them.
    paper
        Whether to add the paper's Table 1, which only means something beside RAF-DB's test pictures.

    Raises
    ------
    RequestError
        If a measure is unknown.
    """
    check_value(Table, table, name="table")
    if isinstance(measures, str) or not isinstance(measures, Sequence):
        raise RequestError(f"measures is {shortened(measures)}.", "Give a list of names.")
    unknown = [name for name in measures if name not in KNOWN]
    if unknown:
        raise RequestError(f"There is no measure {unknown[0]!r}.", f"Choose from {', '.join(KNOWN)}.")
    lists = []
    for measure in measures:
        if measure == PER_CLASS:
            lists += _class_blocks(table)
        elif measure == DISTANCE:
            lists.append(_distance_block(table))
        elif measure == COST:
            lists.append(_cost_block(table))
        elif measure == CALIBRATION:
            lists += [_block(table, table.rows, name) for name in _CALIBRATION_MEASURES]
        else:
            lists.append(
                _size_block(table) if measure == NATIVE_SIZE else _block(table, table.rows, measure, paper=paper)
            )
    if table.pictures_with_twins and table.rows_without_twins:
        left = f", without {several(table.pictures_with_twins, 'picture')} with a twin in the training split"
        first = [measure for measure in measures[:1] if measure in MEASURES]
        lists += [_block(table, table.rows_without_twins, measure, suffix=left) for measure in first]
    return [block for block in lists if block.lines]


def _block(table: Table, scores: Sequence[Score], name: str, *, suffix: str = "", paper: bool = False) -> Block:
    measure = {**MEASURES, **_CALIBRATION_MEASURES}[name]
    chosen = [score for score in scores if score.label not in _LEFT_OUT.get(name, ())]
    values = {(score.head, score.label, score.scale): getattr(score, name) for score in chosen}
    shown = {key: value for key, value in values.items() if value is not None}
    scales = sorted({scale for _, _, scale in shown})
    best = {scale: max(value for key, value in shown.items() if key[2] == scale) for scale in scales}
    unsure = {
        (score.head, score.label, score.scale)
        for score in scores
        if name == "accuracy" and score.mcnemar_p is not None and score.mcnemar_p >= SIGNIFICANT
    }

    spreads = {
        (score.head, score.label, score.scale): f"±{score.deviation:.1f}"
        for score in scores
        if name == "accuracy" and score.deviation is not None
    }

    def cell(head: str, row: str, scale: int) -> Cell:
        key = head, row, scale
        if (value := shown.get(key)) is None:
            return Cell()
        best_of_column = measure.best and value == best[scale]
        return Cell(measure.show(value), best_of_column, key in unsure, spreads.get(key, ""))

    lines = [
        Line(head, row, tuple(cell(head, row, scale) for scale in scales))
        for head, row in dict.fromkeys((head, row) for head, row, _ in shown)
    ]
    if paper and name in ("accuracy", "gap_closed"):
        lines += _paper_lines(name, scales, measure)
    legend = _legend(scores, name, against=table.against if unsure else "", spread=bool(spreads))
    title = measure.title.format(against=table.against) + suffix
    return Block(title, tuple(map(scale_name, scales)), tuple(lines), legend)


def _size_block(table: Table) -> Block:
    """Lay out the accuracies by native size: a line per head and row, a column per bin."""
    bins = {score.least: score for score in table.by_size}
    shown = {(score.head, score.label, score.least): score.accuracy for score in table.by_size}
    best = {least: max(value for key, value in shown.items() if key[2] == least) for least in bins}

    def cell(head: str, label: str, least: int) -> Cell:
        value = shown[head, label, least]
        return Cell(f"{value:.1f}", best=value == best[least])

    names = [f"{least}+" if one.below is None else f"{least}-{one.below - 1}" for least, one in sorted(bins.items())]
    pictures = ", ".join(f"{name} {bins[least].n:,}" for name, least in zip(names, sorted(bins), strict=True))
    return Block(
        title="Total accuracy by the longer side of a face in pixels, as it is, %",
        columns=tuple(names),
        lines=tuple(
            Line(head, label, tuple(cell(head, label, least) for least in sorted(bins)))
            for head, label in dict.fromkeys((head, label) for head, label, _ in shown)
        ),
        legend=f"pictures: {pictures}; every one enlarged by bicubic alone, whatever the row" if names else "",
    )


def _distance_block(table: Table) -> Block:
    """Lay out the accuracies by distance to training: a line per head and row, a column per range of distances.

    Only means over all coarse scales of the table are compared, and marked where they are the best.
    """
    ranges = {(one.nearest, one.farthest): one.n for one in table.by_distance}
    rows: dict[tuple[str, str], list[float]] = {}
    scales: dict[tuple[str, str], tuple[int, ...]] = {}  # of the means
    for one in table.by_distance:
        if not one.full_resolution:
            rows.setdefault((one.head, one.label), []).append(one.accuracy)
            scales[one.head, one.label] = one.scales
        elif one.label == BICUBIC:
            rows.setdefault((one.head, f"{BICUBIC}, HR"), []).append(one.accuracy)
    every = tuple(sorted({scale for of_row in scales.values() for scale in of_row}))
    compared = [key for key, of_row in scales.items() if of_row == every]
    best = [max(column) for column in zip(*(rows[key] for key in compared), strict=True)] or [None] * len(ranges)

    def cells(key: tuple[str, str]) -> tuple[Cell, ...]:
        marked = key in compared
        return tuple(
            Cell(f"{value:.1f}", best=marked and value == most) for value, most in zip(rows[key], best, strict=True)
        )

    lines = tuple(Line(*key, cells(key)) for key in rows)
    names = [_range_name(*key) for key in ranges]
    pictures = ", ".join(f"{name} {n:,}" for name, n in zip(names, ranges.values(), strict=True))
    errors = [one.standard_error for one in table.by_distance]
    legend = f"pictures: {pictures}; standard errors {min(errors):.1f} to {max(errors):.1f}" if errors else ""
    if every:
        legend += f"; means over {_scale_names(every)}"
    if fewer := {label: of_row for (_, label), of_row in scales.items() if of_row != every}:
        legend += "; of fewer scales, and so never marked as the best: "
        legend += ", ".join(f"{label} ({_scale_names(of_row)})" for label, of_row in fewer.items())
    title = "Total accuracy by the distance to the nearest trained face, mean over a row's coarse scales, %"
    return Block(title, tuple(names), lines, legend)


def _scale_names(scales: Sequence[int]) -> str:
    return ", ".join(map(scale_name, scales))


def _range_name(low: float, high: float) -> str:
    """Return how a range of distances is headed: ``near 10 %``, ``10-25 %``, ``far 75 %``."""
    if low == 0:
        return f"near {100 * high:.0f} %"
    return f"far {100 * (1 - low):.0f} %" if high == 1 else f"{100 * low:.0f}-{100 * high:.0f} %"


def _cost_block(table: Table) -> Block:
    """Lay out the cost of the rows, those of one network first: a line per row."""
    columns: dict[str, Callable[[Cost], float | None]] = {
        "weights": lambda one: one.parameters,
        "GMAC": lambda one: one.gmac,
        "train s": lambda one: one.training_seconds,
        "CPU s": lambda one: one.training_cpu_seconds,
        "ms": lambda one: one.milliseconds,
    }
    lines = [
        Line(several(one.members, "network"), one.label, tuple(_amount(value(one)) for value in columns.values()))
        for one in sorted(table.cost, key=lambda one: one.members)
    ]
    timed = next((f" on {one.device}, {several(one.threads, 'thread')}" for one in table.cost if one.device), "")
    legend = (
        "weights: of all networks that a row has for its coarse scales, extractor and head among them; GMAC: billions "
        "of multiplications with an addition for a face, without bicubic enlargement and eigen-decompositions; ms: "
        f"milliseconds a face in batches of {TIMED_FACES}{timed}; both are means over a row's own coarse scales. "
        "train and CPU: duration and processor time of what a row trains beside the extractor; in the row bicubic, of "
        "the extractor."
    )
    return Block("Cost", tuple(columns), tuple(lines), legend, grouped_by="members")


def _amount(value: float | None) -> Cell:
    """Return a number with three digits, as ``4.83M``."""
    if value is None:
        return Cell()
    for size, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return Cell(_digits(value / (1e3 if suffix == "k" else size)) + suffix)
    return Cell(_digits(value))


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == 0 else f"{value:.3g}"


def _class_blocks(table: Table) -> list[Block]:
    """Lay out the scores of every class with one head: a line per class and row."""
    if not table.confusions:
        return []
    heads = [one.head for one in table.confusions]
    head = FROZEN if FROZEN in heads else heads[0]
    chosen = {(one.label, one.scale): one for one in table.confusions if one.head == head}
    rows, scales = list(dict.fromkeys(row for row, _ in chosen)), sorted({scale for _, scale in chosen})
    first = next(iter(chosen.values())).per_class

    def line(index: int, row: str, measure: str) -> Line:
        values = {key: getattr(one.per_class[index], measure) for key, one in chosen.items()}
        shown = [values.get((row, scale)) for scale in scales]
        best = [max(values.get((each, scale)) or 0.0 for each in rows) for scale in scales]
        cells = (
            Cell() if value is None else Cell(f"{value:.1f}", best=len(rows) > 1 and 0 < most == value)
            for value, most in zip(shown, best, strict=True)
        )
        return Line(first[index].name, row, tuple(cells))

    pictures = ", ".join(f"{one.name} {one.support:,}" for one in first)
    summed = "; counts are summed over seeds" if any(len(one.seeds) > 1 for one in chosen.values()) else ""
    return [
        Block(
            title=f"{title} of every class, head {head}, %",
            columns=tuple(map(scale_name, scales)),
            lines=tuple(line(index, row, measure) for index in range(len(first)) for row in rows),
            legend=f"pictures: {pictures}{summed}" if measure == "recall" else "",
            grouped_by="class",
        )
        for measure, title in _CLASS_MEASURES.items()
    ]


def _paper_lines(name: str, scales: Sequence[int], measure: Measure) -> list[Line]:
    lines = []
    for row in _PAPER_ROWS:
        values: dict[int, float | None] = {1: HR_ACCURACY, **TABLE_1[row]} if row == "bicubic" else {**TABLE_1[row]}
        if name == "gap_closed":
            values = {
                scale: 100 * share
                for scale, accuracy in TABLE_1[row].items()
                if (share := gap_closed(accuracy, bicubic=TABLE_1["bicubic"][scale], hr=HR_ACCURACY)) is not None
            }
        if name == "accuracy" or row != "bicubic":
            shown = [values.get(scale) for scale in scales]
            cells = tuple(Cell() if value is None else Cell(measure.show(value)) for value in shown)
            lines.append(Line("paper, Table 1", row, cells, paper=True))
    return lines


def _legend(scores: Sequence[Score], name: str, *, against: str, spread: bool) -> str:
    if name != "accuracy":
        return ""
    halves = [(score.high - score.low) / 2 for score in scores]
    narrow, wide = f"{min(halves):.1f}", f"{max(halves):.1f}"
    width = f"±{narrow}" if narrow == wide else f"±{narrow} to ±{wide}"
    mark = f"; ~ not told apart from {against} (p ≥ {SIGNIFICANT})" if against else ""
    deviation = "; ± standard deviation over seeds" if spread else ""
    return f"n = {scores[0].n:,}; 95 % intervals {width}{mark}{deviation}"
