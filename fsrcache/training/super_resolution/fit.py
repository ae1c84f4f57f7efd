"""Training an image super-resolver: L1 on patches, from the first step to the last, resumed where it stopped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from fsrcache.announce import FirstSeconds, announce, several
from fsrcache.device import computed_precision, computes_bf16, fp32_precision, in_words, torch_threads
from fsrcache.errors import FsrcacheError
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import Degradation
from fsrcache.models.super_resolution.presets import SuperResolutionConfig
from fsrcache.progress import Progress, ProgressCallback, no_progress
from fsrcache.records import Between, value_from
from fsrcache.training.data.memory import memory_errors
from fsrcache.training.ranks import ALONE, Ranks
from fsrcache.training.run.checkpoint import CHECKPOINT, Checkpoints
from fsrcache.training.run.due import CheckpointDue, ReportDue
from fsrcache.training.run.folder import held_folder, refuse_other_steps
from fsrcache.training.step.schedules import halved_by_fifths, set_rate
from fsrcache.training.super_resolution.enlarge import exact_scale
from fsrcache.training.super_resolution.patches import TrainingPictures, draw_patches

_LINES = 20  # of the history
_Step = Annotated[int, Between(0, 10**8)]


class _Line(TypedDict):
    """A line of the history: the mean L1 distance in grey levels since the line before."""

    step: _Step
    loss: float


@dataclass(frozen=True)
class _State:
    """How far a training is: what a checkpoint keeps beside tensors.

    Attributes
    ----------
    step
        Steps so far.
    loss
        Sum of the losses since the last line of the history.
    history
        The lines.
    """

    step: _Step = 0
    loss: float = 0.0
    history: tuple[_Line, ...] = ()


@dataclass(frozen=True)
class SuperResolverResult:
    """Result of a training.

    Attributes
    ----------
    steps, resumed_from
        Steps in all, and those that earlier calls had done.
    history
        Lines with ``step`` and ``loss``, the mean L1 distance in grey levels since the line before.
    record
        A ``SuperResolverTraining`` as JSON values.
    """

    steps: int
    resumed_from: int
    history: list[dict[str, Any]]
    record: dict[str, Any]


@fp32_precision(tf32=False)
def fit_super_resolver(
    network: nn.Module,
    training: TrainingPictures,
    config: SuperResolutionConfig,
    *,
    scales: Sequence[Fraction],
    degradation: Degradation,
    folder: Path,
    settings: Mapping[str, Any],
    seed: int,
    on_progress: ProgressCallback,
    other_threads: bool = False,
    checkpoint_seconds: float | None = None,
    ranks: Ranks = ALONE,
) -> SuperResolverResult:
    """Train a super-resolver in place; the last step is kept.

    On a CPU an interrupted run ends in the same bytes as an uninterrupted one, under one number of threads.

    Parameters
    ----------
    network
        The untrained network, on its device.
    training
        The pictures, uint8 ``[n, S, S, C]``.
    config
        Settings of the training.
    scales, degradation
        Scales, of which every step has one, and how pictures are made coarse.
    folder
        Folder of the checkpoints; a run that stopped there is resumed.
    settings
        JSON values that a checkpoint must agree on, beside those of the other arguments.
    seed
        Random seed of scales and patches, which are functions of (seed, step) alone.
    on_progress
        Called every second, and once with a note on how long all of it takes.
    other_threads
        Whether a run may go on under another number of threads.
    checkpoint_seconds
        Time between two checkpoints; None is 30 s, and less where they are cheap.
    ranks
        The processes that train together, each with these arguments; the first writes and reports.

    Raises
    ------
    RequestError
        If the processes cannot share a batch equally.
    FsrcacheError
        If the folder holds a run of other settings or belongs to a training under way, the memory is short, or loss or
        weights stop being finite.
    """
    ranks.refuse_uneven(config.batch)
    device = next(network.parameters()).device
    settings = {
        **settings,
        "config": asdict(config),
        "seed": seed,
        "scales": [float(scale) for scale in scales],
        "degradation": asdict(degradation),
        "data": training.digest,
        "precision": computed_precision("bf16", device),
        "threads": torch_threads(device),
    }
    with memory_errors(config.batch), held_folder(folder, ranks, restart=False):
        run = _Run(network, config, folder, settings, on_progress, checkpoint_seconds, ranks)
        note = run.resume(other_threads=other_threads)
        refuse_other_steps(run.checkpoints.path, ranks, run.resumed_from)
        if not run.resumed_from:
            network.get_buffer("mean").copy_(torch.from_numpy(_mean(training.pictures)))
        run.train(training.pictures, scales, degradation, seed=seed, note=note)
    earlier = {"earlier_threads": run.checkpoints.earlier_threads} if run.checkpoints.earlier_threads else {}
    history = [dict(line) for line in run.state.history]
    return SuperResolverResult(config.steps, run.resumed_from, history, {**run.checkpoints.settings, **earlier})


class _Run:
    """State, files and clocks of a training."""

    def __init__(
        self,
        network: nn.Module,
        config: SuperResolutionConfig,
        folder: Path,
        settings: Mapping[str, Any],
        on_progress: ProgressCallback,
        checkpoint_seconds: float | None,
        ranks: Ranks,
    ) -> None:
        self.network, self.config, self.ranks = network, config, ranks
        self.optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        self.device = next(network.parameters()).device
        self.checkpoints = Checkpoints(
            folder / CHECKPOINT, settings, modules={"network": network}, optimisers={"adam": self.optimiser}
        )
        self.on_progress = on_progress if ranks.first else no_progress
        self.checkpoint_due, self.report_due = CheckpointDue(checkpoint_seconds, folder), ReportDue()
        self.state, self.resumed_from = _State(), 0

    def resume(self, *, other_threads: bool) -> str:
        """Go back to the newest checkpoint, if any; return in words what the user should know of it."""
        resumed = self.checkpoints.resume(self._read, finished=self._is_finished, other_threads=other_threads)
        if resumed is None:
            return ""
        self.state, self.resumed_from = resumed.state, resumed.state.step
        return resumed.note

    def train(
        self, pictures: Pictures, scales: Sequence[Fraction], degradation: Degradation, *, seed: int, note: str
    ) -> None:
        """Take the steps that are left; a checkpoint is written by the clock and after the last."""
        steps, first_seconds = self.config.steps, FirstSeconds()
        every = max(1, steps // _LINES)
        loss = torch.tensor(self.state.loss, device=self.device)
        self.report(note=note)
        self.network.train()
        while self.state.step < steps:
            random = np.random.default_rng([seed, self.state.step])
            loss += self._step(pictures, scales[int(random.integers(len(scales)))], degradation, random)
            self.state = replace(self.state, step=self.state.step + 1)
            done = self.state.step
            if done % every == 0 or done == steps:
                since = done - (self.state.history[-1]["step"] if self.state.history else 0)
                line: _Line = {"step": done, "loss": loss.item() / since}
                self.state = replace(self.state, history=(*self.state.history, line))
                loss.zero_()
            if not self.ranks.first:
                continue
            if self.report_due:
                self.report()
                self._announce(first_seconds)
            if self.checkpoint_due or done == steps:
                self._keep(loss.item())
        self.network.eval()

    def report(self, note: str = "") -> None:
        """Report the step and the last line of the history."""
        values = {"L1": self.state.history[-1]["loss"]} if self.state.history else {}
        self.on_progress(Progress("training", self.state.step, self.config.steps, "steps", values, note))

    def _step(
        self, pictures: Pictures, scale: Fraction, degradation: Degradation, random: np.random.Generator
    ) -> Tensor:
        """Take a step at a scale, on this rank's share of the patches; return the mean L1 distance in grey levels."""
        small, large = (
            self.ranks.share(torch.from_numpy(np.ascontiguousarray(part)))
            .permute(0, 3, 1, 2)
            .to(self.device, torch.float32)
            for part in draw_patches(pictures, self.config, scale, degradation=degradation, random=random)
        )
        side = large.shape[-1]
        rate = halved_by_fifths(self.state.step, steps=self.config.steps, top=self.config.learning_rate)
        set_rate(self.optimiser, rate)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=computes_bf16(self.device)):
            enlarged = self.network(small, exact_scale(scale, side, small.shape[-1], degradation), side)
        loss = l1_loss(enlarged, large)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        trained = [(weight, weight.grad) for weight in self.network.parameters() if weight.grad is not None]
        loss, *gradients = self.ranks.mean([loss.detach(), *(gradient for _, gradient in trained)])
        for (weight, _), gradient in zip(trained, gradients, strict=True):
            weight.grad = gradient
        self.optimiser.step()
        return loss

    def _announce(self, first_seconds: FirstSeconds) -> None:
        """Say once, when the pace of the steps is known, how long it is to the end."""
        pace = first_seconds.measured(self.state.step - self.resumed_from)
        if pace is not None:
            rest = "the rest of " if self.resumed_from else ""
            work = f"{rest}{several(self.config.steps, 'step')} on {in_words(self.device)}"
            seconds = pace.seconds_each * (self.config.steps - self.state.step)
            announce(self.on_progress, seconds, work, by=f"the first {several(pace.pieces, 'step')}")

    def _keep(self, loss: float) -> None:
        """Write a checkpoint; the loss is the sum since the last line of the history.

        Raises
        ------
        FsrcacheError
            If loss or weights are not finite.
        """
        finite = math.isfinite(loss) and all(math.isfinite(line["loss"]) for line in self.state.history)
        if not finite or not all(bool(weight.isfinite().all()) for weight in self.network.parameters()):
            raise FsrcacheError(
                f"Loss or weights stopped being finite before step {self.state.step:,}.",
                "A checkpoint, if there is one, is from before; take a lower learning rate.",
            )
        self.state = replace(self.state, loss=loss)
        with self.checkpoint_due:
            self.checkpoints.save(asdict(self.state))

    def _is_finished(self, state: _State) -> bool:
        return state.step == self.config.steps

    def _read(self, written: Mapping[str, Any], file: Path) -> _State:
        """Return a checkpoint's state, which is not beyond the last step."""
        state: _State = value_from(_State, written, where=file, name="state")
        if state.step > self.config.steps:
            raise FsrcacheError(f"{file}: state.step is {state.step:,}, beyond the last.")
        return state


def _mean(pictures: Pictures) -> NDArray[np.float32]:
    """Return the mean [C] of all pictures' pixels."""
    return np.asarray(np.mean([picture.mean((0, 1)) for picture in pictures], axis=0), np.float32)
