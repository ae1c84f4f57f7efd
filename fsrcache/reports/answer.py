"""The answer in a sentence, and what limits it, computed from a table whichever way it falls."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fsrcache.evaluation.layout import SIGNIFICANT, scale_name
from fsrcache.evaluation.scores import BICUBIC, Score
from fsrcache.evaluation.tables import Table
from fsrcache.reports.data import coarse_scales, frozen_scores, widest_scale

_MAJORITY = "majority"  # a row that no one would boast of beating

_Scores = Mapping[tuple[str, int], Score]  # by label and scale


class Answer(NamedTuple):
    """The answer, and further sentences."""

    headline: str
    details: tuple[str, ...]


def answer(table: Table, row: str) -> Answer:
    """Return what a table says of a row with the frozen head.

    Parameters
    ----------
    table
        The scores, with McNemar's test against bicubic.
    row
        Name of the row.
    """
    scores, scales, widest = frozen_scores(table), coarse_scales(table, row), widest_scale(table, row)
    if widest is None:
        return Answer("Nothing is trained yet that could be set against the extractor alone.", ())
    of_row = [scores[row, scale] for scale in scales]
    apart = [score for score in of_row if score.mcnemar_p is not None and score.mcnemar_p < SIGNIFICANT]
    better, behind = (
        [one for one in apart if sign * (one.accuracy - scores[BICUBIC, one.scale].accuracy) > 0] for sign in (1, -1)
    )
    ahead = [one for one in better if not _guesses(scores, one)]
    level = [one for one in of_row if one not in better and one not in behind]
    details = [_at(scores, row, widest, side=table.side)]
    if level:
        details.append(f"At {_names(level)} it cannot be told apart from bicubic (McNemar's p ≥ {SIGNIFICANT}).")
    if gapless := [one for one in ahead if one.gap_closed is None]:
        details.append(
            f"At {_names(gapless)} it is better than bicubic, which loses nothing there against full resolution."
        )
    if guessed := [one for one in better if one not in ahead]:
        details.append(f"At {_names(guessed)} it is better than bicubic, and no better than the commonest class.")
    if behind:
        details.append(f"At {_names(behind)} it is worse than bicubic.")
    if reached := _shares([one.ceiling_reached for one in of_row]):
        details.append(f"Of the way from bicubic to the specialists, a network a scale, it goes {reached}.")
    details += _rivals(scores, row, of_row)
    return Answer(_headline(row, ahead, of_row), tuple(details))


def _guesses(scores: _Scores, score: Score) -> bool:
    """Tell whether a score is within the interval of guessing the commonest class."""
    majority = scores.get((_MAJORITY, score.scale))
    return majority is not None and score.low <= majority.accuracy


def _headline(row: str, ahead: Sequence[Score], of_row: Sequence[Score]) -> str:
    known = [score for score in ahead if score.gap_closed is not None]
    if ahead and not known:
        return f"{row} is better than bicubic at {_names(ahead)}."
    share = _shares([score.gap_closed for score in known]) or "nothing"
    where = "" if len(known) == len(of_row) or not known else f" at {_names(known)}"
    return f"{row} wins back {share} of the accuracy that coarse faces lose{where}."


def _at(scores: _Scores, row: str, scale: int, *, side: int | None) -> str:
    bicubic, score = scores[BICUBIC, scale], scores[row, scale]
    pixels = f" ({-(-side // scale)} pixels a side)" if side else ""
    whole = scores.get((BICUBIC, 1))
    finest = f"; at full resolution it recognises {whole.accuracy:.1f} %" if whole else ""
    return (
        f"At {scale_name(scale)}{pixels} the extractor alone recognises {bicubic.accuracy:.1f} % of {score.n:,} faces, "
        f"with {row} {score.accuracy:.1f} % (95 % interval {score.low:.1f} to {score.high:.1f}){finest}."
    )


def _rivals(scores: _Scores, row: str, of_row: Sequence[Score]) -> list[str]:
    """Return a sentence on the rows that are ahead, if there are others at all."""
    labels = dict.fromkeys(label for label, _ in scores if label not in (BICUBIC, row))
    others = [label for label in labels if not label.startswith(f"{row}, ")]  # nor means or parts of its own networks
    leaders = []
    for rival in others:
        passed = [
            one for one in of_row if (rival, one.scale) in scores and scores[rival, one.scale].accuracy > one.accuracy
        ]
        leaders += [f"{rival} at {_names(passed)}"] if passed else []
    if leaders:
        return [f"Ahead of it: {'; '.join(leaders)}."]
    rivals = [label for label in others if label != _MAJORITY]
    return [f"None of the other rows ({', '.join(rivals)}) is ahead of it at any coarse scale."] if rivals else []


def _shares(values: Sequence[float | None]) -> str:
    """Return the range of percentages that are known, such as ``31 to 48 %``, on one line; empty where none is."""
    known = [value for value in values if value is not None]
    ends = dict.fromkeys(f"{end:.0f}" for end in (min(known), max(known))) if known else {}
    return "\N{NO-BREAK SPACE}".join([*" to ".join(ends).split(), "%"]) if ends else ""


def _names(scores: Sequence[Score]) -> str:
    """Return scales in words: ``x2, x3 and x5``."""
    *first, last = [scale_name(score.scale) for score in scores]
    return f"{', '.join(first)} and {last}" if first else last
