"""The sections of a report in their order; each reads what is there, and is left out where its data are missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

from fsrcache.evaluation.confusion import Confusion
from fsrcache.evaluation.layout import COST, DISTANCE, FIRST_LOOK, MEASURES, blocks, scale_name
from fsrcache.evaluation.plots import accuracy_figure
from fsrcache.evaluation.scores import BICUBIC, FROZEN
from fsrcache.evaluation.tables import footnotes
from fsrcache.faces.degrade import low_resolution_view
from fsrcache.reports.changes import Change, changes
from fsrcache.reports.cost_figure import Point, cost_figure
from fsrcache.reports.data import ReportData, coarse_scales, frozen_scores, widest_scale
from fsrcache.reports.figures import (
    held_out_figure,
    loss_figure,
    movement_figure,
    reject_figure,
    reliability_figure,
)
from fsrcache.reports.movement import movement
from fsrcache.reports.reliability import reject_curve, reliability
from fsrcache.reports.svg import inline_svg, picture_uri
from fsrcache.training.run.features import SCORED_FACES

Content = Mapping[str, Any]  # variables of a section's template
_CALIBRATION_LINES = (
    (", as it is", "calibration_error", "{:.1f}"),
    (", at the temperature", "calibration_error_after", "{:.1f}"),
    (", temperature", "temperature", "{:.2f}"),
)  # what stands behind a row's name, the field of its score, and how that is written
_LOSSES = ("l2", "perceptual")  # of which the first that a training has is drawn


class Section(NamedTuple):
    """A section of the page.

    Attributes
    ----------
    id
        Anchor, and the name of its template.
    title
        Heading.
    content
        Variables of the template.
    """

    id: str
    title: str
    content: Content


def sections(data: ReportData) -> list[Section]:
    """Return the sections that there are data for."""
    made = ((name, title, make(data)) for name, title, make in _SECTIONS)
    return [Section(name, title, content) for name, title, content in made if content is not None]


def shown_faces(data: ReportData) -> list[int]:
    """Return the numbers of the faces that sections show."""
    numbers = [one.number for one in data.table.examples]
    scale = _compared(data)
    if scale is not None:
        changed = changes(data.probabilities, data.labels, data.row, scale)
        numbers += [one.number for one in (*changed.helped, *changed.harmed)]
    return list(dict.fromkeys(numbers))


def _table(data: ReportData) -> Content:
    paper = _paper(data)
    first = blocks(data.table, measures=FIRST_LOOK, paper=paper)
    others = blocks(data.table, measures=[name for name in MEASURES if name not in FIRST_LOOK])
    return {"first": first, "others": others, "row": data.row, "notes": footnotes(data.table)}


def _accuracy(data: ReportData) -> Content:
    figure = accuracy_figure(data.table, side=data.table.side, paper=_paper(data))
    text = "Total accuracy of every row against the scale, with 95 % bands; the numbers stand in the table"
    return {"figure": inline_svg(figure, name="accuracy-figure", text=text)}


def _faces(data: ReportData) -> Content | None:
    examples = [one for one in data.table.examples if one.number in data.pictures]
    if not examples:
        return None
    scales = sorted({scale for one in examples for _, scale in one.answers})
    classes, rows = data.table.classes, list(dict.fromkeys((BICUBIC, data.row)))
    faces = [
        {
            "label": classes[one.label],
            "views": [
                {
                    "scale": scale_name(scale),
                    "uri": _view(data, one.number, scale),
                    "answers": [
                        (classes[one.answers[row, scale]], one.answers[row, scale] == one.label)
                        for row in rows
                        if (row, scale) in one.answers
                    ],
                }
                for scale in scales
            ],
        }
        for one in examples
    ]
    return {"faces": faces, "rows": rows, "scales": [(scale_name(scale), _pixels(data, scale)) for scale in scales]}


def _enlarged(data: ReportData) -> Content | None:
    if not any(data.enlarged.values()):
        return None
    scales = sorted({score.scale for score in data.table.rows} - {1})

    def lines(number: int) -> list[tuple[str, list[str | None]]]:
        coarse: list[str | None] = [_view(data, number, scale) for scale in scales]
        shown = {
            row: [picture_uri(faces[number, scale]) if (number, scale) in faces else None for scale in scales]
            for row, faces in data.enlarged.items()
        }
        return [(BICUBIC, coarse), *shown.items()]

    faces = [one for one in data.table.examples if one.number in data.pictures]
    return {
        "scales": list(map(scale_name, scales)),
        "faces": [(data.table.classes[one.label], lines(one.number)) for one in faces],
    }


def _confusion(data: ReportData) -> Content | None:
    matrices = {one.scale: one for one in data.table.confusions if (one.label, one.head) == (data.row, FROZEN)}
    if not matrices:
        return None
    first = {1, widest_scale(data.table, data.row), max(matrices)}

    def shown(scales: Sequence[int]) -> list[tuple[str, list[tuple[str, list[int]]]]]:
        return [(scale_name(scale), _percent(matrices[scale])) for scale in scales]

    return {
        "first": shown([scale for scale in matrices if scale in first]),
        "others": shown([scale for scale in matrices if scale not in first]),
        "row": data.row,
    }


def _movement(data: ReportData) -> Content | None:
    scale = widest_scale(data.table, data.row)
    if scale is None:
        return None
    coarse, restored, fine = data.features(BICUBIC, scale), data.features(data.row, scale), data.features(BICUBIC, 1)
    if coarse is None or restored is None or fine is None:
        return None
    moved = movement(coarse, restored, fine, data.labels)
    figure = movement_figure(moved, data.labels.tolist(), data.table.classes)
    text = f"Means of the {len(moved.classes)} classes move from their coarse features towards their fine ones"
    return {
        "figure": inline_svg(figure, name="movement-figure", text=text),
        "scale": scale_name(scale),
        "explained": f"{100 * moved.explained:.0f}",
        "closer": round(100 * moved.closer),
    }


def _convergence(data: ReportData) -> Content | None:
    drawn = {
        "held-out-accuracy": held_out_figure(data.trainings),
        "loss": next(filter(None, (loss_figure(data.trainings, name) for name in _LOSSES)), None),
    }
    figures = [
        inline_svg(figure, name=name, text=f"{name.replace('-', ' ')} against the step of the training")
        for name, figure in drawn.items()
        if figure is not None
    ]
    both = len(data.trainings) > 1 and all(map(data.trainings[0].differs_in_weights_alone, data.trainings[1:]))
    return {"figures": figures, "both": both, "faces": SCORED_FACES} if figures else None


def _calibration(data: ReportData) -> Content | None:
    scale = _compared(data)
    if scale is None:
        return None
    shown = {row: data.probabilities[row] for row in (BICUBIC, data.row)}
    scales, scores = [1, *coarse_scales(data.table, data.row)], frozen_scores(data.table)

    def figures(row: str, name: str, form: str) -> list[str]:
        values = [getattr(scores[row, one], name) if (row, one) in scores else None for one in scales]
        return ["–" if value is None else form.format(value) for value in values]

    errors = [(f"{row}{what}", figures(row, name, form)) for row in shown for what, name, form in _CALIBRATION_LINES]
    curves = {row: reliability(of_scale[scale], data.labels) for row, of_scale in shown.items()}
    kept = {row: reject_curve(of_scale[scale], data.labels) for row, of_scale in shown.items()}
    where = f"at {scale_name(scale)}, {BICUBIC} and {data.row}"
    return {
        "scale": scale_name(scale),
        "scales": list(map(scale_name, scales)),
        "errors": errors,
        "fit": data.table.calibration,
        "figures": [
            inline_svg(reliability_figure(curves), name="reliability", text=f"Accuracy against confidence {where}"),
            inline_svg(reject_figure(kept), name="reject", text=f"Accuracy against the share of faces kept {where}"),
        ],
    }


def _changes(data: ReportData) -> Content | None:
    scale = _compared(data)
    if scale is None:
        return None
    changed = changes(data.probabilities, data.labels, data.row, scale)
    both, helped, harmed, neither = changed.counts
    groups = [("Helped", helped, changed.helped), ("Harmed", harmed, changed.harmed)]
    classes = data.table.classes

    def shown(one: Change) -> Content:
        names = {name: classes[getattr(one, name)] for name in ("label", "before", "after")}
        return {**names, "uri": _view(data, one.number, scale)}

    return {
        "scale": scale_name(scale),
        "row": data.row,
        "counts": {"both right": both, "helped": helped, "harmed": harmed, "neither right": neither},
        "groups": [
            (title, count, [shown(one) for one in faces if one.number in data.pictures])
            for title, count, faces in groups
        ],
    }


def _distance(data: ReportData) -> Content | None:
    if not data.table.by_distance:
        return None
    (block,) = blocks(replace(data.table, rows_without_twins=()), measures=[DISTANCE])
    return {"block": block, "row": data.row}


def _cost(data: ReportData) -> Content | None:
    if not data.table.cost:
        return None
    (block,) = blocks(replace(data.table, rows_without_twins=()), measures=[COST])
    scores = frozen_scores(data.table)
    scales = sorted({scale for _, scale in scores if scale > 1})
    points, left_out = [], []
    for one in data.table.cost:
        of_row = [scores[one.label, scale].accuracy for scale in scales if (one.label, scale) in scores]
        if one.gmac and scales and len(of_row) == len(scales):
            points.append(Point(one.label, one.gmac, fmean(of_row)))
        else:
            left_out.append(one.label)
    text = "Mean accuracy of every row over the coarse scales against its multiplications; the costs stand in the table"
    return {
        "block": block,
        "figure": inline_svg(cost_figure(points, own=data.row), name="cost-figure", text=text) if points else None,
        "left_out": left_out,
        "row": data.row,
        "scales": ", ".join(map(scale_name, scales)),
    }


def _settings(data: ReportData) -> Content | None:
    return {"facts": data.facts} if data.facts else None


def _commands(data: ReportData) -> Content | None:
    return {"commands": data.commands} if data.commands else None


_SECTIONS: tuple[tuple[str, str, Callable[[ReportData], Content | None]], ...] = (
    ("table", "The table", _table),
    ("accuracy", "Accuracy against scale", _accuracy),
    ("faces", "What the extractor sees", _faces),
    ("enlarged", "What super-resolvers make of the pictures", _enlarged),
    ("confusion", "What is taken for what", _confusion),
    ("movement", "What the generator moves", _movement),
    ("convergence", "Convergence", _convergence),
    ("calibration", "Calibration, and leaving out the unsure", _calibration),
    ("changes", "Faces helped and harmed", _changes),
    ("distance", "Near to training, and far from it", _distance),
    ("cost", "Cost against accuracy", _cost),
    ("settings", "Settings and digests", _settings),
    ("commands", "How to repeat it", _commands),
)


def _compared(data: ReportData) -> int | None:
    """Return the scale at which the row gains most, where the probabilities of both rows are there."""
    scale = widest_scale(data.table, data.row)
    there = scale is not None and all(scale in data.probabilities.get(row, ()) for row in (BICUBIC, data.row))
    return scale if there else None


def _percent(matrix: Confusion) -> list[tuple[str, list[int]]]:
    """Return every class with the percentages of its faces that are taken for each class."""
    return [
        (of_class.name, [round(100 * count / max(1, sum(counts))) for count in counts])
        for of_class, counts in zip(matrix.per_class, matrix.counts, strict=True)
    ]


def _paper(data: ReportData) -> bool:
    return data.table.context.data.startswith("RAF-DB")


def _pixels(data: ReportData, scale: int) -> str:
    return f"{-(-data.table.side // scale)} px" if data.table.side else ""


def _view(data: ReportData, number: int, scale: int) -> str:
    """Return a face as the extractor gets it at a scale, as a data URI."""
    return picture_uri(low_resolution_view(data.pictures[number][None], scale, data.degradation)[0])
