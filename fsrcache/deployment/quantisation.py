"""Convolutions and linear layers of an ONNX graph in int8, by the ranges that real faces give."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from fsrcache.deployment.onnx_file import INPUT, import_exporter, quiet
from fsrcache.errors import FsrcacheError
from fsrcache.faces.bicubic import imresize_batch
from fsrcache.faces.decode import PictureError, Pictures
from fsrcache.faces.expressions import SPLITS
from fsrcache.faces.limit import limited
from fsrcache.faces.listing import Listing

if TYPE_CHECKING:
    from onnx import ModelProto

_QUANTISED = ["Conv", "Gemm"]  # the logarithm's products, MatMul, stay fp32: in int8 they cost 14 points
_FACES = 128  # of the calibration, each at every scale


def quantised(graph: "ModelProto", batches: Iterable[Pictures]) -> "ModelProto":
    """Return a graph with int8 weights a channel, and int8 inputs of its convolutions and linear layers.

    Weights have seven bits: without VNNI, a processor adds two products of eight bits in sixteen, which saturates.

    Parameters
    ----------
    graph
        What ``onnx_model`` returned, in fp32.
    batches
        Faces that the ranges are measured on, uint8 ``[B, 3, h, w]`` each.
    """
    onnx, _ = import_exporter()
    with quiet("root"), TemporaryDirectory() as folder:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        path = Path(folder) / "model.onnx"  # not the graph itself, which would be changed
        onnx.save(graph, path)
        quantize_static(
            path, path, _Batches(batches), quant_format=QuantFormat.QDQ, op_types_to_quantize=_QUANTISED,
            per_channel=True, reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        written: ModelProto = onnx.load(path)
    return written


def calibration_batches(listing: Listing, *, side: int, scales: Sequence[int]) -> Iterator[Pictures]:
    """Yield training faces, every class by its share, at every scale: uint8 ``[1, 3, h, w]``, in their true pixels.

    Parameters
    ----------
    listing
        The data.
    side
        Pixels of the extractor's square pictures.
    scales
        Scales of the generator.

    Raises
    ------
    FsrcacheError
        If no training face can be read.
    """
    chosen, read = limited(listing, _FACES), 0
    for i in np.flatnonzero(chosen.splits == SPLITS.index("train")):
        try:
            picture = chosen.load(int(i))
        except PictureError:
            continue
        read += 1
        colours = picture[None] if picture.ndim == 3 else np.repeat(picture[None, ..., None], 3, axis=3)
        for scale in scales:
            small = -(-side // scale)
            yield imresize_batch(colours, size=(small, small)).transpose(0, 3, 1, 2)
    if not read:
        raise FsrcacheError("The data have no training face to calibrate int8 on.", "Export as fp16 or fp32.")


class _Batches:
    """Batches, one at a time, as ONNX Runtime's calibration asks for them."""

    def __init__(self, batches: Iterable[Pictures]) -> None:
        self._batches: Iterator[Pictures] = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: np.ascontiguousarray(batch)}
