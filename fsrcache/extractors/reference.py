"""Somebody's network by name: ``package.module:factory``, or an installed entry point of ``fsrcache.extractors``."""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import nn

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.extractor import Extractor, make_extractor, state_digest
from fsrcache.records import shortened

GROUP = "fsrcache.extractors"


def is_reference(text: str) -> bool:
    """Tell whether a text is ``package.module:factory``."""
    module, colon, factory = text.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *factory.split(".")))


def open_reference(reference: str) -> Extractor:
    """Import a module, call its factory, and return the network as an extractor.

    Parameters
    ----------
    reference
        ``package.module:factory``; the module may lie in the working folder.

    Raises
    ------
    RequestError
        If there is no such module or factory, or what it returns is no extractor.
    FsrcacheError
        If the module or the factory raises.
    """
    name, _, attribute = reference.partition(":")
    folder = os.getcwd()  # noqa: PTH109  as sys.path has it
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    try:
        with _drawn_alike():
            module = import_module(name)
    except ModuleNotFoundError as error:
        raise RequestError(
            f"The extractor {reference} cannot be imported: there is no module {shortened(error.name)}.",
            "Run in the folder that has it, or install its package.",
        ) from error
    except (Exception, SystemExit) as error:  # whatever somebody's module raises
        raise _failure(f"Importing {name}", error) from error
    factory: Any = module
    for part in attribute.split("."):
        factory = getattr(factory, part, None)
    return _made(factory, reference)


def entry_point_names() -> tuple[str, ...]:
    """Return the names of the installed extractors."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def open_entry_point(name: str) -> Extractor:
    """Return an installed extractor; the errors are those of ``open_reference``."""
    point = next(iter(entry_points(group=GROUP, name=name)), None)
    if point is None:
        installed = ", ".join(entry_point_names()) or "none"
        raise RequestError(
            f"There is no extractor {shortened(name)}: no such file, and installed by name: {installed}.",
            "Name a .safetensors or .onnx file, package.module:factory, or an installed extractor.",
        )
    try:
        with _drawn_alike():
            factory = point.load()
    except (Exception, SystemExit) as error:  # whatever somebody's package raises
        raise _failure(f"Importing {point.value}", error) from error
    return _made(factory, name)


def _made(factory: Callable[[], object] | None, reference: str) -> Extractor:
    if factory is None:
        raise RequestError(f"The extractor {reference} does not exist in its module.", "Check the factory's name.")
    if not callable(factory):
        raise RequestError(f"The extractor {reference} is no function.", "Name package.module:factory.")
    try:
        with _drawn_alike():
            module = factory()
    except FsrcacheError:
        raise
    except (Exception, SystemExit) as error:  # whatever somebody's factory raises
        raise _failure(f"The factory {reference}", error) from error
    if not isinstance(module, nn.Module):
        raise RequestError(f"{reference} returns a {type(module).__name__}.", "It should return a torch.nn.Module.")
    extractor = make_extractor(
        module,
        name=reference,
        digest=state_digest(module),
        preprocessing="",
        trainable=any(weight.requires_grad for weight in module.parameters()),
    )
    return replace(extractor, preprocessing=_preprocessing(module, reference))  # what is no extractor is said first


@contextmanager
def _drawn_alike() -> Iterator[None]:
    """Seed torch's random state inside, so that weights drawn there are the same in every process."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield


def _preprocessing(module: nn.Module, name: str) -> str:
    """Return what the network says of its preprocessing, or else the digest of the source of its class's ``embed``."""
    text = getattr(module, "preprocessing", None)
    if isinstance(text, str) and text:
        return text
    network: Any = type(module)
    method: Any = None if "embed" in vars(module) else getattr(network, "embed", None)
    method = method and inspect.unwrap(method)
    code = getattr(method, "__code__", None)
    try:
        source = inspect.getsource(method)
    except (OSError, TypeError):
        source = ""
    own = {f"{one.__qualname__}.embed" for one in network.__mro__}
    if not source or code is None or code.co_qualname not in own:  # a decorator's function is the same around any
        raise RequestError(
            f"{name} does not say what it does to the pixels: it has no text preprocessing, and the source of a method "
            "embed of its class cannot be read.",
            'Name it in the network\'s attribute preprocessing, such as "/ 255".',
        )
    return f"embed, SHA-256 {sha256(source.encode()).hexdigest()}"


def _failure(subject: str, error: BaseException) -> FsrcacheError:
    text = shortened(str(error), most=200)[1:-1]
    return FsrcacheError(f"{subject} raised {type(error).__name__}: {text}.", "Try it in Python by itself.")
