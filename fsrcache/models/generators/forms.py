"""All forms of generators: makes one from its settings, writes it to a file and reads it back."""

from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from torch import nn

from fsrcache.errors import Blank, FsrcacheError, Remedy, RequestError, call
from fsrcache.faces.degrade import Degradation
from fsrcache.files import as_path
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators import fsr, mlp, rrdb
from fsrcache.models.generators.form import GeneratorForm
from fsrcache.models.weights import read_module, read_record, write_weights
from fsrcache.presets import GeneratorConfig, Side, TrainConfig
from fsrcache.records import Between, Seed, Threads, shortened, value_from
from fsrcache.split_names import splits_in_words

FORMS: tuple[GeneratorForm, ...] = (rrdb.FORM, mlp.FORM, fsr.FORM)
KIND = "generator"
_REMEDY = Remedy("It is damaged or of another version: train the run again, `{}`.", call("train", name=Blank("NAME")))


class _Optional(TypedDict, total=False):
    """What stands in the record of a run that went on under another number of threads, or has extra splits."""

    earlier_threads: tuple[Threads, ...]
    extra: Mapping[str, str]


class GeneratorTraining(_Optional):
    """How a generator was trained: what fixes its weights, and no more.

    Attributes
    ----------
    earlier_threads
        Numbers of threads before the run went on under another; missing where it did not, and where it did, the weights
        are not fixed to the last bit.
    extra
        Digests of the extra splits that batches were drawn from beside ``train``, by name; missing where there were
        none.
    store
        ``StoreSpec.content_digests`` of the features.
    scales
        Scales of the store at that time, ascending.
    channels
        1 where its labelled faces were all grey, else 3.
    degradation
        How its coarse faces were made; None where it does not say so.
    """

    config: TrainConfig
    seed: Seed
    store: Mapping[str, str]
    scales: tuple[Annotated[int, Between(1, 1 << 16)], ...]
    channels: Literal[1, 3]
    degradation: Degradation | None
    device: str
    precision: Literal["fp32", "tf32", "bf16"]
    threads: Threads
    plain: bool
    order: str
    steps: Annotated[int, Between(0, 10**8)]


class _Record(TypedDict):
    """The record beside the tensors of a file."""

    length: Annotated[int, Between(1, 2**24)]
    side: Side | None
    early: Annotated[int, Between(0, 2**24)]
    training: GeneratorTraining


def extra_in_words(training: GeneratorTraining) -> str:
    """Return which splits a training drew from, to follow its settings; empty where it was ``train`` alone."""
    extra = training.get("extra", {})
    return f", drawn from train,{splits_in_words(extra)}" if extra else ""


def configs() -> tuple[type[Any], ...]:
    """Return the classes of the settings of all forms."""
    return tuple(form.config for form in FORMS)


def form_of(config: GeneratorConfig) -> GeneratorForm:
    """Return the form that settings are of.

    Raises
    ------
    RequestError
        If there is no such form.
    """
    for form in FORMS:
        if type(config) is form.config:
            return form
    names = ", ".join(form.name for form in FORMS)
    raise RequestError(f"There is no generator with the settings {shortened(config)}.", f"The forms are {names}.")


def make_generator(config: GeneratorConfig, features: FeatureForm, *, plain: bool = False) -> nn.Module:
    """Return an untrained generator, its weights drawn from torch's global random state.

    Parameters
    ----------
    config
        Settings of one of the forms.
    features
        Form of the features that it takes and returns.
    plain
        Whether it computes as it is defined, slower; weights and files are the same.

    Raises
    ------
    RequestError
        If the form needs symmetric matrices and the features are plain vectors, or its settings do not fit them.
    """
    form = form_of(config)
    if features.side is None and not form.vectors:
        raise RequestError(
            f"The generator {form.name} works on symmetric matrices, and these features are plain vectors of "
            f"{features.length:,} numbers.",
            "Use an MLP without a critic: preset best.",
        )
    return form.make(config, features, plain)


def save_generator(
    path: str | PathLike[str], generator: nn.Module, *, features: FeatureForm, training: Mapping[str, Any]
) -> None:
    """Write a generator as a file whose bytes depend on it alone.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    generator
        The network.
    features
        Form of its features.
    training
        A ``GeneratorTraining`` as JSON values; the settings of the generator are a part of it.
    """
    write_weights(path, generator.state_dict(), kind=KIND, record={**asdict(features), "training": training})


def load_generator(path: str | PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """Read a generator, in evaluation mode on the CPU, and the record of its training, a ``GeneratorTraining`` as JSON.

    Raises
    ------
    FsrcacheError
        If there is no file, or it is damaged, or it is none of ours.
    """
    model, _, written = read_module(
        path, _Record,
        lambda record: make_generator(
            _config(record), FeatureForm(record["length"], record["side"], early=record["early"])
        ),
        kind=KIND, layers=lambda record: form_of(_config(record)).layers(_config(record)), remedy=_REMEDY,
    )  # fmt: skip
    return model, written["training"]


def read_training(path: str | PathLike[str]) -> GeneratorTraining:
    """Read how a generator was trained, and none of its weights; the errors are those of ``load_generator``."""
    path = as_path(path)
    return training_of(read_record(path, kind=KIND).get("training"), path)


def training_of(written: object, path: Path) -> GeneratorTraining:
    """Return a generator's training from its JSON; a ``FsrcacheError`` says what is wrong with it."""
    training: GeneratorTraining = value_from(GeneratorTraining, written, where=path, name="training", remedy=_REMEDY)
    if not training["scales"]:
        raise FsrcacheError(f"{path}: training.scales has no scale.", _REMEDY)
    return training


def refuse_other_content(
    path: Path, training: GeneratorTraining, content: Mapping[str, str], *, store: str, remedy: str
) -> None:
    """Raise unless a generator was trained on the content of a store, at whichever of its scales.

    Parameters
    ----------
    path, training
        The generator's file, and its record.
    content, store
        ``StoreSpec.content_digests`` and the name of the store.
    remedy
        Remedy of the error.

    Raises
    ------
    FsrcacheError
        With the names of the fields that differ.
    """
    there = training["store"]
    differing = [name for name in {**content, **there} if there.get(name) != content.get(name)]
    if differing:
        raise FsrcacheError(
            f"{path} was trained on another store than {store}, of other {', '.join(differing)}.", remedy
        )


def _config(record: _Record) -> GeneratorConfig:
    return record["training"]["config"].generator
