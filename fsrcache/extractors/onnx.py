"""An ONNX classifier as a frozen extractor: ONNX Runtime computes the features, its last linear layer is the head."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.extractor import Extractor, make_extractor
from fsrcache.extractors.onnx_graph import ClassifierGraph, cut_classifier, onnx_errors, open_session
from fsrcache.extractors.onnx_options import OnnxOptions, describe, preparation, read_options
from fsrcache.files import as_path, read_regular

_MOST_BYTES = 2**31 - 1  # of an ONNX file, which is one protobuf message


class OnnxExtractor(nn.Module):
    """A frozen classifier that ONNX Runtime runs on the CPU.

    Several threads may call ``embed`` at once.

    Parameters
    ----------
    graph
        The classifier, in two parts.
    options
        What its file does not say.
    where
        Its path, for errors.

    Attributes
    ----------
    classes, side, channels
        Names of the classes, and the pictures' pixels and channels.
    preprocessing
        How pixels are inputs, in words.
    head
        ``LinearHead``.

    Raises
    ------
    FsrcacheError
        If ONNX Runtime does not run the graph, or its features are not vectors.
    """

    def __init__(self, graph: ClassifierGraph, options: OnnxOptions, *, where: Path) -> None:
        super().__init__()
        self.classes, self.side, self.channels = options.classes, options.side, options.channels
        self.preprocessing = preparation(options)
        self.head = LinearHead(torch.from_numpy(graph.weight), torch.from_numpy(graph.bias))
        self._graph, self._options, self._where, self._batch = graph, options, where, graph.shape[0]
        self._session = open_session(graph.body, where=where)
        self._input = self._session.get_inputs()[0].name
        self.embed(torch.zeros(2, self.channels, self.side, self.side, dtype=torch.uint8))  # fails here, not later

    def __reduce__(self) -> tuple[Any, ...]:
        make = partial(OnnxExtractor, where=self._where)  # a session does not pickle
        return make, (self._graph, self._options), {"training": self.training}

    def embed(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute features, embedding and logits.

        Parameters
        ----------
        pictures
            uint8 [B, channels, side, side], colours as RGB.

        Returns
        -------
        features, embedding, logits
            float32 [B, P] twice, the input of the last linear layer, and [B, K] before any softmax, on the device of
            the pictures.

        Raises
        ------
        RequestError
            If the pictures are of another shape or type.
        FsrcacheError
            If ONNX Runtime fails.
        """
        shape = (self.channels, self.side, self.side)
        if pictures.dtype != torch.uint8 or pictures.shape[1:] != shape:
            raise RequestError(
                f"Pictures are {pictures.dtype} {list(pictures.shape)}.",
                f"They should be uint8 [B, {', '.join(map(str, shape))}].",
            )
        weight, size = self.head.linear.weight, self._batch or max(1, len(pictures))
        with torch.no_grad():
            parts = [self._features(pictures[row : row + size].cpu(), size) for row in range(0, len(pictures), size)]
            features = torch.cat([torch.empty(0, weight.shape[1]), *parts])
            logits = self.head.linear(features.to(weight.device))
        features = features.to(pictures.device)
        return features, features, logits.to(pictures.device)

    def _features(self, pictures: Tensor, size: int) -> Tensor:
        """Return the features of at most ``size`` pictures, of which a graph with a fixed batch needs all."""
        rows = len(pictures)
        padding = pictures.new_zeros(size - rows, *pictures.shape[1:])
        inputs = self._network_input(torch.cat([pictures, padding])).contiguous().numpy()
        what = f"ONNX Runtime does not run it on {inputs.dtype} {list(inputs.shape)}"
        with onnx_errors(self._where, what, "Check the options side and layout against the network."):
            (features,) = self._session.run(None, {self._input: inputs})
        if features.shape != (size, width := self.head.linear.in_features) or features.dtype.kind != "f":
            raise FsrcacheError(
                f"{self._where}: the input of its last linear layer is {features.dtype} {list(features.shape)} for "
                f"{size} pictures; it should be float [{size}, {width}].",
                "Export it with a free batch axis, or with a batch of 1.",
            )
        return torch.from_numpy(features[:rows].astype(np.float32))

    def _network_input(self, pictures: Tensor) -> Tensor:
        """Return the network's input for pictures uint8 [B, C, H, W]."""
        if self._options.channel_order == "bgr":
            pictures = pictures.flip(1)
        if self._graph.dtype == "float32":
            values = torch.tensor([self._options.mean, self._options.deviation], dtype=torch.float32)
            mean, deviation = values[:, :, None, None]  # [C, 1, 1] each
            pictures = (pictures.float() / (255 / float(self._options.range)) - mean) / deviation
        return pictures if self._options.layout == "nchw" else pictures.permute(0, 2, 3, 1)


class LinearHead(nn.Module):
    """The classifier's last linear layer, from features [B, P] to the embedding, which they are, and logits [B, K].

    Parameters
    ----------
    weight, bias
        float32 [K, P] and [K].
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        classes, width = weight.shape
        self.linear = nn.Linear(width, classes).requires_grad_(False)
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding and the logits."""
        return features, self.linear(features)


def open_onnx(path: str | PathLike[str], options: OnnxOptions | Mapping[str, Any] | None = None) -> Extractor:
    """Open an ONNX classifier.

    Parameters
    ----------
    path
        The file, whole: without weights in other files.
    options
        What it does not say; or fields of that as JSON values, the others being read from the TOML file beside it
        (``model.toml`` beside ``model.onnx``).

    Raises
    ------
    RequestError
        If ``onnx`` or ``onnxruntime`` is not installed, options are unknown or missing, or the file has another side,
        number of channels or number of classes than they say.
    FsrcacheError
        If there is no such file, or it is no valid ONNX file, or not a classifier of pictures that ends in a linear
        layer; or the TOML file cannot be read.
    """
    path = as_path(path)
    data = _read(path)
    if not isinstance(options, OnnxOptions):
        options = read_options(path.with_suffix(".toml"), **(options or {}))
    graph = cut_classifier(data, where=path)
    _check_options(graph, options, path)
    digest = _digest(data, options)
    extractor = make_extractor(
        OnnxExtractor(graph, options, where=path),
        name=f"ONNX {digest[:12]}",
        digest=digest,
        preprocessing=preparation(options),
        trainable=False,
    )
    return replace(extractor, summary=f"ONNX classifier, {describe(options)}")


def onnx_digest(path: str | PathLike[str], options: OnnxOptions) -> str:
    """Return the hexadecimal SHA-256 of an ONNX file's bytes and its options.

    Raises
    ------
    FsrcacheError
        If there is no such file.
    """
    return _digest(_read(as_path(path)), options)


def _check_options(graph: ClassifierGraph, options: OnnxOptions, path: Path) -> None:
    square = (options.side, options.side)
    shape = (options.channels, *square) if options.layout == "nchw" else (*square, options.channels)
    if any(axis not in (None, number) for axis, number in zip(graph.shape[1:], shape, strict=True)):
        axes = ", ".join("free" if axis is None else str(axis) for axis in graph.shape)
        raise RequestError(
            f"{path} has pictures of shape [{axes}], and the options say side {options.side}, "
            f"{options.channel_order}, {options.layout}: [batch, {', '.join(map(str, shape))}].",
            "Correct side, channel_order or layout.",
        )
    if len(graph.weight) != len(options.classes):
        raise RequestError(
            f"{path} has {len(graph.weight)} classes, and the options name {len(options.classes)}.",
            "Name every class, in the order of the logits.",
        )
    plain = {*options.mean} == {0} and {*options.deviation} == {1} and options.range == "255"
    if graph.dtype == "uint8" and not plain:
        raise RequestError(
            f"{path} takes whole pixels (uint8), and the options prepare them: {preparation(options)}.",
            "Its options are mean 0, deviation 1, range 255: it prepares pixels itself.",
        )


def _digest(data: bytes, options: OnnxOptions) -> str:
    numbers = {name: [float(value) for value in getattr(options, name)] for name in ("mean", "deviation")}
    text = json.dumps({**asdict(options), **numbers}, sort_keys=True, separators=(",", ":"))
    return sha256(sha256(data).digest() + text.encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, most=_MOST_BYTES)
    except FileNotFoundError:
        raise FsrcacheError(f"There is no ONNX file at {path}.", "Check the path.") from None
