"""The result of a sweep: its runs, and for every combination of settings means and deviations over the seeds."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from statistics import fmean, stdev


@dataclass(frozen=True)
class SweepRunResult:
    """The result of one run.

    Attributes
    ----------
    name
        Name of the run, which ``train``, ``runs`` and ``evaluate`` know it by.
    settings
        The sweep's settings of the run, as ``name=value``.
    seed
        Random seed.
    steps
        Number of steps since the beginning of the run.
    held_out_accuracy
        Accuracy of the frozen head on held-out faces in percent, by scale; empty if the run failed.
    error, remedy
        Reason why the run failed, and what to do about it; empty if it did not.
    """

    name: str
    settings: tuple[str, ...]
    seed: int
    steps: int
    held_out_accuracy: Mapping[str, float]
    error: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Spread:
    """Mean of a number over seeds and its sample standard deviation, which is None with one seed."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class SweepRow:
    """What a combination of settings comes to.

    Attributes
    ----------
    settings
        The settings, as ``name=value``.
    seeds
        Seeds of the runs that did not fail.
    mean
        Mean over the scales of the accuracy on held-out faces, over the seeds, in percent.
    held_out_accuracy
        The accuracy over the seeds in percent, by scale.
    """

    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    mean: Spread
    held_out_accuracy: Mapping[str, Spread]


@dataclass(frozen=True)
class SweepResult:
    """What a sweep did in one call.

    Attributes
    ----------
    preset
        Preset that the settings began from.
    runs
        The runs, in the order of the settings' values.
    rows
        Means and deviations over the seeds, a row a combination of settings; none where every seed failed.
    seconds
        Duration of this call.
    """

    preset: str
    runs: tuple[SweepRunResult, ...]
    rows: tuple[SweepRow, ...]
    seconds: float


def rows_of(runs: Sequence[SweepRunResult]) -> tuple[SweepRow, ...]:
    """Return a row for every combination of settings, in the order of the runs; failed runs are left out."""
    groups: dict[tuple[str, ...], list[SweepRunResult]] = {}
    for run in runs:
        if not run.error:
            groups.setdefault(run.settings, []).append(run)
    return tuple(_row(settings, group) for settings, group in groups.items())


def to_csv(rows: Sequence[SweepRow]) -> str:
    """Return the rows as CSV, a line for every scale: a column a setting, the seeds, the scale, mean and deviation."""
    text = StringIO()
    lines = csv.writer(text, lineterminator="\n")
    names = [name for name, _ in map(_parts, rows[0].settings)]
    lines.writerow([*names, "seeds", "scale", "held_out_accuracy", "deviation"])
    for row in rows:
        values = [value for _, value in map(_parts, row.settings)]
        for scale, spread in {"mean": row.mean, **row.held_out_accuracy}.items():
            lines.writerow([*values, len(row.seeds), scale, spread.mean, spread.deviation])
    return text.getvalue()


def _row(settings: tuple[str, ...], runs: Sequence[SweepRunResult]) -> SweepRow:
    scales = {scale: _spread([run.held_out_accuracy[scale] for run in runs]) for scale in runs[0].held_out_accuracy}
    mean = _spread([fmean(run.held_out_accuracy.values()) for run in runs])
    return SweepRow(settings, tuple(run.seed for run in runs), mean, scales)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None)


def _parts(setting: str) -> tuple[str, str]:
    name, _, value = setting.partition("=")
    return name, value
