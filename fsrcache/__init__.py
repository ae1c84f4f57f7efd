"""fsrcache: feature super-resolution for facial expression recognition, from cached features."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["__version__", "imresize"]

if TYPE_CHECKING:
    from fsrcache.faces.bicubic import imresize as imresize

_HOMES = {"imresize": "fsrcache.faces.bicubic"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that ``import fsrcache`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fsrcache' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
