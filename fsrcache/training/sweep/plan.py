"""The runs of a sweep: every combination of the settings' values with every seed, under a name of its own.

A name has all of the sweep's settings, those with one value too: with more values later, the run is still the same.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from math import prod
from pathlib import Path

from fsrcache.errors import RequestError
from fsrcache.presets import TrainConfig
from fsrcache.settings import alternatives, refuse_text, resolved, with_settings
from fsrcache.workspace import Workspace

_LONGEST = 64  # characters of a run's name
_MOST_RUNS = 10_000


@dataclass(frozen=True)
class SweepRun:
    """A run of a sweep.

    Attributes
    ----------
    name
        Name of the run in its workspace.
    folder
        Folder of the run.
    settings
        The sweep's settings of the run, as ``name=value``.
    seed
        Random seed.
    config
        All settings of the run.
    """

    name: str
    folder: Path
    settings: tuple[str, ...]
    seed: int
    config: TrainConfig


def plan_runs(
    base: TrainConfig, settings: Sequence[str], *, seeds: int, workspace: Workspace, name: str
) -> tuple[SweepRun, ...]:
    """Return the runs of a sweep, seed by seed for each combination; equal combinations are one.

    Parameters
    ----------
    base
        Settings that the sweep's settings change.
    settings
        Texts ``name=value,value``, as :func:`fsrcache.settings.alternatives` reads them.
    seeds
        Number of seeds, from 0.
    workspace
        Workspace of the runs.
    name
        First part of the runs' names.

    Raises
    ------
    RequestError
        If a setting is unknown or set twice, a value or a combination cannot be, or the name is none for a run.
    """
    workspace.run(name)
    refuse_text(settings)
    choices = [alternatives(base, one) for one in settings]
    if (count := seeds * prod(map(len, choices))) > _MOST_RUNS:
        raise RequestError(f"These are {count:,} runs; {_MOST_RUNS:,} are the most.", "Name fewer values or seeds.")
    combinations: dict[TrainConfig, tuple[str, ...]] = {}
    for chosen in product(*choices):
        config = with_settings(base, chosen)
        texts = dict(resolved(config))
        names = [one.partition("=")[0] for one in chosen]
        combinations.setdefault(config, tuple(f"{one}={texts[one].removesuffix('.0')}" for one in names))
    runs = []
    for config, choice in combinations.items():
        for seed in range(seeds):
            label = run_name(name, choice, seed)
            runs.append(SweepRun(label, workspace.run(label), choice, seed, config))
    return tuple(runs)


def run_name(sweep: str, settings: Sequence[str], seed: int) -> str:
    """Return the name of a run, ``sweep-l2_weight-10-seed-0``, whatever the order of the settings.

    Of one with more than 64 characters the end is cut off, and the first digits of its SHA-256 stand there.
    """
    text = "-".join([sweep, *sorted(settings)])
    readable, end = re.sub(r"[^A-Za-z0-9_.-]", "_", text.replace("=", "-")), f"-seed-{seed}"
    if len(readable + end) > _LONGEST:
        end = f"-{sha256(text.encode()).hexdigest()[:8]}{end}"
    return readable[: _LONGEST - len(end)] + end
