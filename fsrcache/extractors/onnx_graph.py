"""Cuts an ONNX classifier before its last linear layer: the graph of the features, and the layer's weights.

The last linear layer is a Gemm, or a MatMul by constant weights with or without an Add of a constant bias. Softmax and
nodes that leave the values as they are may follow it. No library of custom operators is ever loaded.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.records import shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

# After the last linear layer; but for the softmaxes, the values stay as they are.
_TRAILING = ("Softmax", "LogSoftmax", "Identity", "Cast", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze")
_MOST_PICTURES = 1024  # of a fixed batch
_STANDARD = ("", "ai.onnx")  # domains of ONNX's own operators
_FACTORY = "Write a factory of an nn.Module that wraps the network, and name it as package.module:factory."
_EXPORT = "Export the classifier again, as one ONNX file of standard operators."


@dataclass(frozen=True)
class ClassifierGraph:
    """An ONNX classifier in two parts.

    Attributes
    ----------
    body
        Serialised ONNX model from the pictures to the features.
    dtype
        Dtype of the pictures: ``float32`` or ``uint8``.
    shape
        Shape of the pictures; None for a free axis.
    weight, bias
        Weight and bias of the last linear layer, float32 [K, P] and [K].
    """

    body: bytes
    dtype: str
    shape: tuple[int | None, ...]
    weight: "NDArray[np.float32]"
    bias: "NDArray[np.float32]"


def import_onnx() -> tuple[Any, Any]:
    """Import the packages ``onnx`` and ``onnxruntime``.

    Raises
    ------
    RequestError
        If one is not installed.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise RequestError(f"ONNX files need pip install 'fsrcache[onnx]': {error}.") from None
    return onnx, onnxruntime


def open_session(model: bytes, *, where: Path) -> Any:
    """Return an ``onnxruntime.InferenceSession`` on the CPU, with as many threads as torch has now, none spinning.

    Raises
    ------
    FsrcacheError
        If ONNX Runtime does not run the model.
    """
    _, runtime = import_onnx()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what it logs below that, it raises too
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with onnx_errors(where, "ONNX Runtime does not open it"):
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@contextmanager
def onnx_errors(where: Path, what: str, remedy: str = _EXPORT) -> Iterator[None]:
    """Turn whatever ``onnx`` and ``onnxruntime`` raise, which has no common class, into an FsrcacheError."""
    try:
        yield
    except FsrcacheError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()).replace("[ONNXRuntimeError] : ", "")
        raise FsrcacheError(f"{where}: {what}: {text[:300].rstrip('.')}.", remedy) from None


def cut_classifier(data: bytes, *, where: Path) -> ClassifierGraph:
    """Cut a classifier before its last linear layer.

    Parameters
    ----------
    data
        Bytes of an ONNX file.
    where
        Its path, for errors.

    Raises
    ------
    FsrcacheError
        If it is no valid ONNX model, has weights in other files, not one input of pictures, or does not end in one
        linear layer.
    """
    model = _parse(data, where)
    dtype, shape = _pictures(model, where)
    producers = {name: node for node in model.graph.node for name in node.output if name}
    layer, bias = _last_layer(model, producers, where)
    if layer.op_type == "Gemm" and _attribute(layer, "transA", 0):
        raise FsrcacheError(f"{where}: its last Gemm transposes its input.", _FACTORY)
    names = [layer.input[1], *([bias] if bias else [])]
    weight, *rest = _constants(model, names, where)
    if weight.ndim != 2:
        raise FsrcacheError(f"{where}: its last {layer.op_type} has weights of shape {list(weight.shape)}.", _FACTORY)
    transposed = layer.op_type == "Gemm" and _attribute(layer, "transB", 0)
    weight = _attribute(layer, "alpha", 1.0) * (weight if transposed else weight.T)  # [K, P]
    offset = rest[0] if rest else np.zeros(1, np.float32)
    with onnx_errors(where, "its last bias fits no vector of logits"):
        offset = _attribute(layer, "beta", 1.0) * np.broadcast_to(offset, (1, len(weight)))[0]  # [K]
    return ClassifierGraph(
        body=_part(model, [layer.input[0]], inputs=True),
        dtype=dtype,
        shape=shape,
        weight=np.ascontiguousarray(weight, np.float32),
        bias=np.ascontiguousarray(offset, np.float32),
    )


def _parse(data: bytes, where: Path) -> "ModelProto":
    onnx, _ = import_onnx()
    with onnx_errors(where, "it is no ONNX file"):
        model: ModelProto = onnx.load_model_from_string(data)
    if any(
        message.DESCRIPTOR.name == "TensorProto" and message.data_location == onnx.TensorProto.EXTERNAL
        for message in _messages(model)
    ):
        raise FsrcacheError(
            f"{where} has weights in another file (ONNX external data).",
            "Save it as one file: onnx.save(onnx.load(old), new, save_as_external_data=False).",
        )
    open_session(data, where=where)  # what follows relies on a valid graph
    return model


def _messages(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and every one in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from _messages(inner)


def _pictures(model: "ModelProto", where: Path) -> tuple[str, tuple[int | None, ...]]:
    """Return dtype and shape of the one input."""
    onnx, _ = import_onnx()
    inputs = _inputs(model)
    if len(inputs) != 1:
        names = ", ".join(shortened(one.name) for one in inputs)
        raise FsrcacheError(f"{where} has {len(inputs)} inputs ({names}), and pictures are the only one.", _FACTORY)
    form = inputs[0].type.tensor_type
    dtypes = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.UINT8: "uint8"}
    if form.elem_type not in dtypes:
        kind = onnx.TensorProto.DataType.Name(form.elem_type).lower()
        raise FsrcacheError(f"{where}: its input is {kind}; float (float32) or uint8 is needed.", _EXPORT)
    shape = tuple(axis.dim_value if axis.dim_value > 0 else None for axis in form.shape.dim)
    if len(shape) != 4:
        raise FsrcacheError(f"{where}: its input has {len(shape)} axes; pictures in batches have four.", _FACTORY)
    if (shape[0] or 1) > _MOST_PICTURES:
        raise FsrcacheError(
            f"{where}: its input is {shape[0]:,} pictures at once; {_MOST_PICTURES:,} are the most.", _EXPORT
        )
    return dtypes[form.elem_type], shape


def _inputs(model: "ModelProto") -> list[Any]:
    """Return the inputs that are no weights, which old files list too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [one for one in model.graph.input if one.name not in weights]


def _last_layer(model: "ModelProto", producers: dict[str, "NodeProto"], where: Path) -> tuple["NodeProto", str]:
    """Return the Gemm or MatMul that every other way ends in, and the name of its bias or an empty one."""
    layers: dict[str, tuple[NodeProto, str]] = {}
    ends = []
    for output in model.graph.output:
        node = producers.get(output.name)
        while node is not None and node.op_type in _TRAILING and node.domain in _STANDARD:
            node = producers.get(node.input[0])
        linear = None if node is None else _linear(model, producers, node)
        if linear is None:
            ends.append("its input" if node is None else node.op_type)
        else:
            layers[linear[0].output[0]] = linear
    if len(layers) > 1:
        raise FsrcacheError(f"{where} ends in {len(layers)} linear layers, and one is the classifier's.", _FACTORY)
    if not layers:
        raise FsrcacheError(
            f"{where} ends in {' and '.join(ends)}, not in a linear layer (Gemm, or MatMul by weights and Add of a "
            "bias), which would be its head.",
            _FACTORY,
        )
    return next(iter(layers.values()))


def _linear(
    model: "ModelProto", producers: dict[str, "NodeProto"], node: "NodeProto"
) -> tuple["NodeProto", str] | None:
    """Return a linear layer's product and the name of its bias; None if the node is none."""
    constant = [not _depends(model, producers, name) for name in node.input]
    if node.domain not in _STANDARD:
        return None
    if node.op_type == "Gemm" and constant[:2] == [False, True] and all(constant[1:]):
        return node, node.input[2] if len(node.input) > 2 else ""
    if node.op_type == "MatMul" and constant == [False, True]:
        return node, ""
    if node.op_type == "Add" and sum(constant) == 1:
        product = producers.get(node.input[constant.index(False)])
        inner = product and product.op_type == "MatMul" and _linear(model, producers, product)
        return (inner[0], node.input[constant.index(True)]) if inner else None
    return None


def _depends(model: "ModelProto", producers: dict[str, "NodeProto"], name: str) -> bool:
    """Tell whether a value depends on the pictures."""
    inputs = {one.name for one in _inputs(model)}
    return not inputs.isdisjoint(_ancestors(producers, [name]))


def _ancestors(producers: dict[str, "NodeProto"], names: Iterable[str]) -> set[str]:
    """Return the names of all values that these are computed from, and their own."""
    seen: set[str] = set()
    ahead = list(names)
    while ahead:
        if (name := ahead.pop()) not in seen:
            seen.add(name)
            if (node := producers.get(name)) is not None:  # the bodies of If and Loop name outer values too
                for one in _messages(node):
                    if one.DESCRIPTOR.name == "NodeProto":
                        ahead += one.input
                    elif one.DESCRIPTOR.name == "GraphProto":
                        ahead += [value.name for value in one.output]
    return seen


def _constants(model: "ModelProto", names: list[str], where: Path) -> list["NDArray[np.float32]"]:
    """Return the values of weights, which the file may hold as they are or reshape, transpose or unpack."""
    onnx, _ = import_onnx()
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    with onnx_errors(where, "the weights of its last layer cannot be read"):
        values = {name: onnx.numpy_helper.to_array(tensors[name]) for name in names if name in tensors}
        for name in [name for name in names if name not in tensors]:
            (values[name],) = open_session(_part(model, [name], inputs=False), where=where).run(None, {})
        return [np.asarray(values[name]).astype(np.float32) for name in names]


def _part(model: "ModelProto", outputs: list[str], *, inputs: bool) -> bytes:
    """Serialise the part of a model that computes some of its values."""
    onnx, _ = import_onnx()
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output if name}
    ancestors = _ancestors(producers, outputs)
    part = onnx.helper.make_graph(
        [node for node in graph.node if not ancestors.isdisjoint(node.output)],
        "features",
        _inputs(model) if inputs else [],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
        [tensor for tensor in graph.initializer if tensor.name in ancestors],
        sparse_initializer=[tensor for tensor in graph.sparse_initializer if tensor.values.name in ancestors],
    )
    whole = onnx.helper.make_model(
        part,
        opset_imports=model.opset_import,
        functions=model.functions,
        ir_version=model.ir_version,
    )
    return bytes(whole.SerializeToString())


def _attribute(node: "NodeProto", name: str, default: float) -> float:
    onnx, _ = import_onnx()
    return next((onnx.helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)
