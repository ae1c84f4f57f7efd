"""``train``: train a generator on the features of the workspace's store."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike

from fsrcache.announce import several
from fsrcache.device import pick_device, with_threads
from fsrcache.errors import Remedy, RequestError, arguments
from fsrcache.extractors.opening import open_extractor
from fsrcache.presets import TRAINING, TrainConfig
from fsrcache.progress import ProgressCallback, no_progress, note
from fsrcache.records import check_value, shortened
from fsrcache.settings import differences, preset_named, refuse_text, with_settings
from fsrcache.store.reader import FeatureStore
from fsrcache.training.ranks import joined
from fsrcache.training.run.estimate import TrainEstimate, estimate_training
from fsrcache.training.run.train import TrainResult, train_generator
from fsrcache.verbs.record import write_result
from fsrcache.workspace import Workspace, existing_workspace, open_workspace


def train(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    store: str | PathLike[str] | None = None,
    name: str = "default",
    scales: Sequence[int] | None = None,
    preset: str | None = None,
    steps: int | None = None,
    settings: Sequence[str] = (),
    extra: Sequence[str] | None = None,
    cache: str = "auto",
    plain: bool = False,
    log: Sequence[str] = (),
    restart: bool = False,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> TrainResult:
    """Train a generator that turns features of low-resolution faces into those of their full-resolution ones.

    Interrupted, it goes on from the last checkpoint when it is called again. Processes that torchrun started share
    each batch, and the first writes.

    Parameters
    ----------
    workspace
        The workspace, or its folder.
    store
        The feature store, a folder or a URL; None for the workspace's.
    name
        Name of the run.
    scales
        Scales of the store to train on, beside full resolution; None for those that the run was begun with, and all for
        a new one.
    preset
        ``paper``, ``authors``, ``best`` or ``tiny``; None for ``tiny`` on drawn faces and ``best`` on others.
    steps
        Steps of the generator; None for the preset's.
    settings
        Texts ``name=value`` that replace settings of the preset.
    extra
        Names of the store's extra splits to draw from beside ``train``, such as ``view-1`` and ``unlabelled``; None for
        those that the run was begun with, and all for a new one.
    cache
        Location of the features: ``device``, ``ram``, ``stream``, or ``auto`` for the first of these where they fit.
    plain
        Whether every part is computed as it is defined: slower, to compare with.
    log
        Trackers of the run: ``tensorboard`` writes events into its folder, ``wandb`` an offline run, and ``trackio``
        into a database of its own. One that fails does not end the training.
    restart
        Whether to begin anew where there is a run of the name; its generator stays until the new one replaces it.
    seed
        Random seed.
    device
        ``cpu``, ``cuda``, ``cuda:1`` and so on; ``auto`` is the GPU if there is one.
    threads
        Number of threads; None for torch's. Only where it is named may a run go on under another number than
        before; it ends in other bytes then.
    on_progress
        Called at every status line.

    Raises
    ------
    RequestError
        If an argument is wrong, there is no such workspace, or torchrun's processes cannot share a batch equally.
    FsrcacheError
        If there is no store or no extractor, the store is of another extractor, the run is one of other settings, or a
        loss stops being finite.
    """
    with joined() as ranks, with_threads(threads):
        target = ranks.own_device(pick_device(device))
        folder = open_workspace(workspace).run(name)
        preset, config = train_settings(workspace, preset=preset, steps=steps, settings=settings)
        workspace = existing_workspace(workspace)
        features = FeatureStore(store or workspace.store)
        _refuse_no_scale(scales, features)
        if preset == "best" and extra is None and not features.spec.extra and ranks.first:
            on_progress(note("The store has no views: best was chosen on one with 3 of every face (extract, views 3)."))
        extractor = open_extractor(workspace.extractor_source)
        unread = getattr(config.generator, "early", False) and "early" not in features.spec.widths
        if unread and extractor.form.early and ranks.first:
            on_progress(
                note("The store has no early features, and none are read: extract into a new workspace for them.")
            )
        result = train_generator(
            features, extractor, config,
            folder=folder, seed=seed, device=target, cache=cache, scales=scales, extra=extra,
            plain=plain, log=log, restart=restart and not ranks.restarted,
            other_threads=threads is not None or ranks.launched, ranks=ranks, on_progress=on_progress,
        )  # fmt: skip
    changes = tuple(differences(config, TRAINING[preset]))
    result = replace(result, name=name, preset=preset, settings=changes)
    if not ranks.first:
        return result
    had_ended = result.resumed_from == result.steps
    write_result(folder, result, had_ended=had_ended)
    if had_ended:
        on_progress(note(f"Nothing to do: run {name} had ended after {several(result.steps, 'step')}."))
    return result


def estimate_train(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    store: str | PathLike[str] | None = None,
    name: str = "default",
    scales: Sequence[int] | None = None,
    preset: str | None = None,
    steps: int | None = None,
    settings: Sequence[str] = (),
    extra: Sequence[str] | None = None,
    cache: str = "auto",
    plain: bool = False,
    restart: bool = False,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> TrainEstimate:
    """Estimate time and memory of :func:`train` with these arguments from a few steps; write nothing."""
    target = pick_device(device)
    folder = open_workspace(workspace).run(name)
    preset, config = train_settings(workspace, preset=preset, steps=steps, settings=settings)
    workspace = existing_workspace(workspace)
    features = FeatureStore(store or workspace.store)
    _refuse_no_scale(scales, features)
    with with_threads(threads):
        estimate = estimate_training(
            features, open_extractor(workspace.extractor_source), config,
            device=target, seed=seed, cache=cache, scales=scales, extra=extra, plain=plain,
            folder=None if restart else folder, on_progress=on_progress,
        )  # fmt: skip
    return replace(estimate, preset=preset, settings=tuple(differences(config, TRAINING[preset])))


def train_settings(
    workspace: Workspace | str | PathLike[str] = "fsr",
    *,
    preset: str | None = None,
    steps: int | None = None,
    settings: Sequence[str] = (),
) -> tuple[str, TrainConfig]:
    """Return the preset and the settings of :func:`train` with these arguments."""
    if preset is None:
        data = open_workspace(workspace).data()
        preset = "tiny" if data is not None and data.drawn else "best"
    refuse_text(settings)
    if steps is not None:
        settings = [*settings, f"steps={steps}"]
    return preset, with_settings(preset_named(TRAINING, preset), settings)


def _refuse_no_scale(scales: Sequence[int] | None, store: FeatureStore) -> None:
    """Raise if scales to train on are named, and none of them is a coarse one."""
    if scales is None:
        return
    check_value(tuple[int, ...], tuple(scales) if isinstance(scales, Sequence) else scales, name="scales")
    if not set(scales) - {1}:
        raise RequestError(
            f"The scales to train on are {shortened(scales)}.",
            Remedy("Name one of the store's beyond 1: `{}`.", arguments(scales=[store.scales[-1]])),
        )
