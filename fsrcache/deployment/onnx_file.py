"""Turns a network from pixels to probabilities into an ONNX graph."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fsrcache.errors import RequestError

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
INPUT, OUTPUT = "faces", "probabilities"
_EXAMPLE = (3, 3, 20, 13)  # [N, C, h, w]; equal or small sides would become constants


def import_exporter() -> tuple[Any, Any]:
    """Import the packages ``onnx`` and ``onnxruntime``, and look for ``onnxscript``, which torch's exporter needs.

    Raises
    ------
    RequestError
        If one is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  for torch
    except ImportError as error:
        raise RequestError(f"An export needs pip install 'fsrcache[export]': {error}.") from None
    return onnx, onnxruntime


def onnx_model(network: nn.Module) -> "ModelProto":
    """Return a network as an ONNX graph.

    Parameters
    ----------
    network
        A function of faces uint8 ``[N, 3, h, w]``, such as ``Pipeline``.

    Returns
    -------
    onnx.ModelProto
        Input ``faces`` uint8 ``[N, 3, h, w]``, of which all but the colours are free; output ``probabilities``.

    Raises
    ------
    RequestError
        If a package is not installed.
    """
    onnx, _ = import_exporter()
    free = torch.export.Dim
    shape = {0: free("N", min=1), 2: free("h", min=2), 3: free("w", min=2)}
    with torch.no_grad(), quiet("torch.onnx"):
        program = torch.onnx.export(
            network.eval(), (torch.zeros(_EXAMPLE, dtype=torch.uint8),), dynamo=True,
            dynamic_shapes=(shape,), input_names=[INPUT], output_names=[OUTPUT], opset_version=OPSET, verbose=False,
        )  # fmt: skip
    assert program is not None
    written: ModelProto = program.model_proto
    for part in (written.graph, *written.graph.node, *written.graph.input, *written.graph.output):
        del part.metadata_props[:]  # paths of this machine's Python files
    del written.graph.value_info[:]
    onnx.checker.check_model(written, full_check=True)
    return written


def describe(written: "ModelProto", metadata: Mapping[str, Any]) -> None:
    """Set the metadata of an ONNX graph: texts as they are, other JSON values as JSON."""
    onnx, _ = import_exporter()
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in metadata.items()}
    onnx.helper.set_model_props(written, texts)


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keep the warnings of libraries, none of them about our graphs, from the screen."""
    kept = [(one, one.level) for one in map(logging.getLogger, loggers)]
    try:
        for one, _ in kept:
            one.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in kept:
            one.setLevel(level)
