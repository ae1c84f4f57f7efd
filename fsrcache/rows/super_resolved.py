"""What the rows of image super-resolvers share: training, the features of what they enlarge, and how good that is."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from fractions import Fraction
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation.networks import Enlarger, Networks
from fsrcache.evaluation.predictor import Predictor
from fsrcache.evaluation.splits import split_features
from fsrcache.evaluation.tables import SHOWN_DIGITS
from fsrcache.extraction.source import SuperResolver, face_source
from fsrcache.faces.decode import Pictures
from fsrcache.faces.degrade import Degradation, coarse_pictures, low_resolution_view
from fsrcache.faces.digest import content_digest
from fsrcache.models.super_resolution.forms import (
    load_super_resolver,
    make_super_resolver,
    save_super_resolver,
)
from fsrcache.models.super_resolution.presets import RCANConfig, SuperResolutionConfig
from fsrcache.models.weights import file_digest
from fsrcache.progress import ProgressCallback, counted, named
from fsrcache.records import value_from
from fsrcache.rows.own_store import (
    STORE,
    discard_store,
    ready_seeds,
    refuse_other_faces,
    train_again,
    write_own_store,
)
from fsrcache.rows.row import RowContext, RowResult, RowTraining, rows_apart
from fsrcache.settings import preset_in_words
from fsrcache.store.reader import FeatureStore
from fsrcache.training.classifier.pictures import read_splits, split_rows
from fsrcache.training.run.folder import begin_anew
from fsrcache.training.run.spent import keep_with_weights, total_spent
from fsrcache.training.super_resolution.enlarge import enlarge
from fsrcache.training.super_resolution.fit import SuperResolverResult, fit_super_resolver
from fsrcache.training.super_resolution.patches import TrainingPictures, read_tiles
from fsrcache.training.super_resolution.quality import measurable, quality

_OF_ITS_SCALE = ("upsampler", "last")  # parts of an RCAN that no other scale's starts from
_NETWORK = "network.safetensors"  # in the folder of a training
_ELSEWHERE = ", trained on other pictures"


class Model(NamedTuple):
    """One network of a row.

    Attributes
    ----------
    name
        Its file's name without the suffix: ``x4`` of a network for one scale, else ``network``.
    trained, used
        Scales that it is trained on, and scales of the store at which it enlarges.
    """

    name: str
    trained: tuple[Fraction, ...]
    used: tuple[int, ...]


def train_super_resolved(name: str, training: RowTraining, models: Sequence[Model]) -> RowResult:
    """Train the networks one after the other, and write the features of the faces that they enlarge.

    A network for one scale starts from the first one's weights. Networks that were there stay beside their features
    until all new ones are trained.
    """
    began, context = time.perf_counter(), training.context
    if not models:
        raise RequestError(
            f"{context.store.name} has none of the scales of {name}, only {context.store.scales}.", "Leave the row out."
        )
    folder = context.workspace.row(name, training.seed)
    faces, line = training.read_faces()
    rows = split_rows(faces)
    splits = read_splits(
        faces, {split: rows[split] for split in ("train", "held-out")}, on_progress=context.on_progress
    )  # fmt: skip
    own, held_out = (splits[split][0].permute(0, 2, 3, 1).numpy() for split in ("train", "held-out"))
    pictures = TrainingPictures(own, content_digest(faces))
    if training.pictures is not None:
        pictures = read_tiles(
            training.pictures, side=faces.side, channels=own.shape[3], on_progress=context.on_progress
        )  # fmt: skip
    files = {model.name: folder / f"{model.name}.safetensors" for model in models}
    trained = {network: _training_folder(file) / _NETWORK for network, file in files.items()}
    if training.restart:
        begin_anew([file.parent for file in trained.values()], training.ranks)
    results: dict[str, SuperResolverResult] = {}
    for model in models:
        on_progress = named(context.on_progress, f"{name}, {model.name}")
        results[model.name] = _train(
            training, model, pictures, trained[model.name], start=trained[models[0].name], on_progress=on_progress
        )  # fmt: skip
    if training.ranks.first:
        if any(not _is_same(file, files[network]) for network, file in trained.items()):
            discard_store(folder)  # no features stand beside networks that are part old, part new
        for network, file in trained.items():
            file.replace(files[network])
            keep_with_weights(file.parent)
    training.ranks.wait()
    scales = [scale for model in models for scale in model.used]
    super_resolver = open_super_resolver(folder, scales, degradation=training.degradation, device=context.device)
    source = face_source(
        faces, context.extractor, device=context.device, degradation=training.degradation,
        super_resolver=super_resolver, early=False,
    )  # fmt: skip
    extraction = write_own_store(source, training, folder, scales=scales, data=line)
    return RowResult(
        row=name,
        seed=training.seed,
        super_resolution=_qualities(super_resolver, held_out, scales, training) if training.ranks.first else {},
        history=[{"network": network, **line} for network, one in results.items() for line in one.history],
        seconds=time.perf_counter() - began,
        extraction=asdict(extraction),
        was_there=all(one.resumed_from == one.steps for one in results.values())
        and extraction.resumed_from == extraction.blocks,
    )


def super_resolved_predictors(
    name: str, note: str, context: RowContext, presets: Mapping[str, SuperResolutionConfig]
) -> list[Predictor]:
    """Return the trainings of a row whose features are there; ``presets`` are its settings by name."""
    ready = []
    for seed, folder in ready_seeds(context, name):
        store = FeatureStore(folder / STORE)
        refuse_other_faces(store, context, name, seed=seed)
        files = network_files(folder, store.scales)
        same = store.spec.digests == context.store.spec.digests
        if not same or store.spec.recipe.get("super_resolver") != _digest(files):
            raise FsrcacheError(
                f"{store.name} is not of this {context.extractor.name} behind the networks beside it.",
                train_again(context, name, seed=seed),
            )
        _, trained = load_super_resolver(next(iter(files.values())))
        elsewhere = f"{_ELSEWHERE} ({trained['data'][:SHOWN_DIGITS]})" if trained["pictures"] else ""
        ready.append(
            Predictor(
                row=name,
                name=f"{name}/seed-{seed}",
                source={"store": store.digest},
                seed=seed,
                extractor=context.extractor,
                features=partial(split_features, store),
                scales=store.scales,
                note=note,
                facts={"settings": preset_in_words(trained["config"], presets) + elsewhere},
                networks=_networks(context, files),
                spent=total_spent(dict.fromkeys(map(_training_folder, files.values()))),
            )
        )
    return rows_apart(name, ready)


def _networks(context: RowContext, files: Mapping[int, Path]) -> Callable[[int], Networks]:
    """Return the function that gives the networks of a scale: the super-resolver in a file, and the extractor."""
    store = context.store
    degradation: Degradation = value_from(
        Degradation, store.spec.recipe["degradation"], where=store.name, name="recipe.degradation"
    )

    @cache
    def opened(path: Path) -> nn.Module:
        return _to(load_super_resolver(path)[0], context.device)

    def networks(scale: int) -> Networks:
        network, side = opened(files[scale]), store.spec.recipe["side"]
        channels = network.get_buffer("mean").numel()
        shape = coarse_pictures(np.zeros((1, side, side, channels), np.uint8), scale, degradation).shape[1:]
        function = partial(enlarge, network, scale=scale, side=side, degradation=degradation)
        return Networks(Enlarger(network, shape, function), context.extractor)

    return networks


def open_super_resolver(
    folder: Path, scales: Sequence[int], *, degradation: Degradation, device: torch.device
) -> SuperResolver:
    """Return what enlarges at the scales that a row's folder has networks for.

    Parameters
    ----------
    folder
        Folder of one seed.
    scales
        Scales of the store.
    degradation
        How its low-resolution views were made.
    device
        Device of the networks.
    """
    files = network_files(folder, scales)
    opened = {path: _to(load_super_resolver(path)[0], device) for path in {*files.values()}}

    def enlarge_at(small: Pictures, scale: int, side: int) -> Pictures:
        return enlarge(opened[files[scale]], small, scale, side, degradation)

    return SuperResolver(_digest(files), enlarge_at)


def network_files(folder: Path, scales: Sequence[int]) -> dict[int, Path]:
    """Return the file of the network for every coarse scale that a row's folder has one for."""
    own = {scale: folder / f"x{scale}.safetensors" for scale in scales if scale > 1}
    files = {scale: path if path.exists() else folder / "network.safetensors" for scale, path in own.items()}
    return {scale: path for scale, path in files.items() if path.exists()}


def _training_folder(path: Path) -> Path:
    """Return the folder of the training of the network in a file."""
    return path.parent / "training" / path.stem


def _train(
    training: RowTraining,
    model: Model,
    pictures: TrainingPictures,
    path: Path,
    *,
    start: Path,
    on_progress: ProgressCallback,
) -> SuperResolverResult:
    """Train one network and write it; any but the first starts from the weights of that one."""
    config = training.settings
    scale = int(model.trained[0]) if isinstance(config.network, RCANConfig) else None
    network = make_super_resolver(
        config.network, channels=pictures.pictures.shape[3], scale=scale, seed=training.seed
    )  # fmt: skip
    later = path != start
    if later:
        first = load_super_resolver(start)[0].state_dict().items()
        network.load_state_dict(
            {key: tensor for key, tensor in first if not key.startswith(_OF_ITS_SCALE)}, strict=False
        )  # fmt: skip
    result = fit_super_resolver(
        _to(network, training.context.device), pictures, config, scales=model.trained,
        degradation=training.degradation, folder=path.parent, seed=training.seed,
        on_progress=on_progress,
        settings={"pictures": training.pictures is not None, "start": file_digest(start) if later else ""},
        other_threads=training.other_threads, ranks=training.ranks,
    )  # fmt: skip
    if training.ranks.first:
        save_super_resolver(path, network, training=result.record)
    training.ranks.wait()  # for the file
    return result


def _qualities(
    super_resolver: SuperResolver, held_out: Pictures, scales: Sequence[int], training: RowTraining
) -> dict[str, dict[str, float]]:
    """Return PSNR and SSIM on held-out faces by scale, with those of bicubic; of faces too small for that nothing."""
    side, measured = held_out.shape[1], {}
    for scale in counted(scales, "measuring PSNR", "scales", training.context.on_progress):
        if measurable(side, scale):
            small = coarse_pictures(held_out, scale, training.degradation)
            ours = quality(super_resolver.enlarge(small, scale, side), held_out, border=scale)
            bicubic = quality(low_resolution_view(held_out, scale, training.degradation), held_out, border=scale)
            of_bicubic = {f"bicubic_{name}": value for name, value in asdict(bicubic).items()}
            measured[f"x{scale}"] = {**asdict(ours), **of_bicubic}
    return measured


def _digest(files: Mapping[int, Path]) -> str:
    """Return the hexadecimal SHA-256 of all networks; one for all scales counts once."""
    paths = dict.fromkeys(files.values())
    return sha256(" ".join(f"{path.stem} {file_digest(path)}" for path in paths).encode()).hexdigest()


def _is_same(new: Path, old: Path) -> bool:
    """Tell whether a network is there already, byte for byte."""
    return old.exists() and file_digest(old) == file_digest(new)


def _to(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device, its kernels laid out as convolutions are fastest."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
