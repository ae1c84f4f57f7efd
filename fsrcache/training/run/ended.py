"""A training that had ended: its result stands in its folder, and no features are read for it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsrcache.errors import FsrcacheError
from fsrcache.models.generators.forms import KIND
from fsrcache.models.weights import read_record
from fsrcache.presets import TrainConfig
from fsrcache.training.run.checkpoint import CHECKPOINT, is_intact, record_of
from fsrcache.training.run.loop import LoopResult, is_finished, read_state


def training_of(result: LoopResult, config: TrainConfig) -> dict[str, Any]:
    """Return what the generator of a result says of its training."""
    steps = result.state.best_step if config.patience else result.state.step
    earlier = {"earlier_threads": result.earlier_threads} if result.earlier_threads else {}
    return {**result.settings, "steps": steps, **earlier}


def ended_run(folder: Path, config: TrainConfig, generator: Path) -> LoopResult | None:
    """Return the result of a training that has ended and whose generator was written; None of any other.

    Parameters
    ----------
    folder, config
        Folder of the run, and its settings.
    generator
        File of its generator, which may be that of a training before a restart.
    """
    file = folder / CHECKPOINT
    try:
        record = record_of(file)
        state = read_state(record["state"], file, steps=config.steps)
        there: Mapping[str, Any] = read_record(generator, kind=KIND).get("training", {})
    except FsrcacheError:
        return None
    result = LoopResult(state, record["settings"], record["earlier_threads"], state.step, "", None, None)
    written = json.loads(json.dumps(training_of(result, config)))
    return result if is_finished(state, config) and there == written and is_intact(file) else None
