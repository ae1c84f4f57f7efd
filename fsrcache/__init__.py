"""fsrcache: feature super-resolution for facial expression recognition, from cached features."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["FeatureStore", "FeatureWriter", "StoreSpec", "__version__", "imresize"]

if TYPE_CHECKING:
    from fsrcache.faces.bicubic import imresize as imresize
    from fsrcache.store.reader import FeatureStore as FeatureStore
    from fsrcache.store.spec import StoreSpec as StoreSpec
    from fsrcache.store.writer import FeatureWriter as FeatureWriter

_HOMES = {
    "FeatureStore": "fsrcache.store.reader",
    "FeatureWriter": "fsrcache.store.writer",
    "StoreSpec": "fsrcache.store.spec",
    "imresize": "fsrcache.faces.bicubic",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for, so that ``import fsrcache`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fsrcache' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
