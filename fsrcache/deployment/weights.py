"""The weights of an exported model: extractor, head and generator in one file, ``model.safetensors``."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from os import PathLike
from typing import Annotated, Any, NamedTuple, TypedDict

from torch import nn

from fsrcache.errors import FsrcacheError
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.extractors.extractor import Extractor
from fsrcache.models.generators.form import early_width
from fsrcache.models.generators.forms import GeneratorTraining, form_of, make_generator
from fsrcache.models.weights import read_module, read_record, write_weights
from fsrcache.presets import ExtractorConfig
from fsrcache.records import Between

WEIGHTS = "model.safetensors"
_KIND = "model"
_REMEDY = "It is damaged or of another version: export the model again."


class _ExtractorRecord(TypedDict):
    """The extractor: its shape and classes, and what ``Extractor`` says of it."""

    config: ExtractorConfig
    classes: tuple[str, ...]
    digest: str
    summary: str


class _Record(TypedDict):
    """The record beside the tensors."""

    extractor: _ExtractorRecord
    early: Annotated[int, Between(0, 2**24)]  # values that the generator reads
    training: GeneratorTraining
    run: str


class ExportedModel(NamedTuple):
    """The networks of a file on the CPU, in evaluation mode, how the generator was trained, and the run's name."""

    extractor: Extractor
    generator: nn.Module
    training: GeneratorTraining
    run: str


def write_exported(path: str | PathLike[str], model: ExportedModel) -> None:
    """Write a model whose extractor is a CovPoolFER as a file whose bytes depend on it alone.

    Raises
    ------
    FsrcacheError
        If the file cannot be written.
    """
    extractor = model.extractor
    record: Mapping[str, Any] = {
        "extractor": {
            "config": asdict(extractor.module.config),
            "classes": extractor.classes,
            "digest": extractor.digest,
            "summary": extractor.summary,
        },
        "early": early_width(model.generator),
        "training": {
            **model.training,
            "config": asdict(model.training["config"]),
            "degradation": (one := model.training["degradation"]) and asdict(one),
        },
        "run": model.run,
    }
    networks = nn.ModuleDict({"extractor": extractor.module, "generator": model.generator})
    write_weights(path, networks.state_dict(), kind=_KIND, record=record)


def read_exported(path: str | PathLike[str]) -> ExportedModel:
    """Read what ``write_exported`` wrote.

    Raises
    ------
    FsrcacheError
        If there is no file, or it is damaged, or it is none of ours.
    """
    networks, record, _ = read_module(path, _Record, _networks, kind=_KIND, layers=_layers, remedy=_REMEDY)
    if not record["training"]["scales"]:
        raise FsrcacheError(f"{path}: training.scales has no scale.", _REMEDY)
    written, network = record["extractor"], networks["extractor"]
    assert isinstance(network, CovPoolFER)
    extractor = replace(extractor_of(network, digest=written["digest"]), summary=written["summary"])
    return ExportedModel(extractor, networks["generator"], record["training"], record["run"])


def is_exported(path: str | PathLike[str]) -> bool:
    """Return whether a file is one that ``write_exported`` wrote, by its header."""
    try:
        read_record(path, kind=_KIND)
    except FsrcacheError:
        return False
    return True


def _networks(record: _Record) -> nn.ModuleDict:
    written = record["extractor"]
    extractor = CovPoolFER(written["config"], written["classes"])
    form = replace(extractor_of(extractor).form, early=record["early"])
    generator = make_generator(record["training"]["config"].generator, form)
    return nn.ModuleDict({"extractor": extractor, "generator": generator})


def _layers(record: _Record) -> int:
    config = record["training"]["config"].generator
    return sum(map(len, record["extractor"]["config"].stages)) + form_of(config).layers(config)
