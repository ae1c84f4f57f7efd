"""A static web page that runs an exported model in the browser; nothing is loaded from anywhere else."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path

from fsrcache.errors import Blank, Remedy, RequestError, arguments
from fsrcache.files import as_path, read_regular

PAGE = ("index.html", "label.js", "page.js")
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
CLASSES = "classes.json"
PAGE_FILES = (*PAGE, CLASSES, *RUNTIME)
_MOST_BYTES = 1 << 28  # of a file of the runtime
_INSTALLED = Path("node_modules/onnxruntime-web")


def runtime_files(package: str | PathLike[str] | None) -> dict[str, bytes]:
    """Read the files of onnxruntime-web that the page needs.

    Parameters
    ----------
    package
        Folder of the npm package ``onnxruntime-web``; None for the one in ``node_modules`` of the working folder.

    Raises
    ------
    RequestError
        If they are not there.
    """
    folder = (_INSTALLED if package is None else as_path(package, name="onnxruntime_web")) / "dist"
    try:
        return {name: read_regular(folder / name, most=_MOST_BYTES) for name in RUNTIME}
    except FileNotFoundError as error:
        raise RequestError(
            f"The page needs the npm package onnxruntime-web, and there is no {error.filename or folder}.",
            Remedy(
                "Run npm install onnxruntime-web here, or name the package's folder: `{}`.",
                arguments(onnxruntime_web=Blank("DIR")),
            ),
        ) from None


def page_files(classes: Sequence[str], runtime: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of the page beside ``model.onnx``, by name: it, the names of its classes, and the runtime.

    Parameters
    ----------
    classes
        Names of the classes, in the order of the probabilities.
    runtime
        What ``runtime_files`` read.
    """
    page = files("fsrcache.deployment") / "page"
    own = {name: (page / name).read_bytes() for name in PAGE}
    return {**own, CLASSES: json.dumps(list(classes)).encode(), **runtime}
