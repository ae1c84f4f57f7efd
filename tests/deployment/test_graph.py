"""The graph in ONNX Runtime: PyTorch's probabilities and labels, for any number of faces of any size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from fsrcache.deployment.graph import Pipeline
from fsrcache.deployment.onnx_file import INPUT, OPSET, OUTPUT, onnx_model
from fsrcache.deployment.quantisation import calibration_batches, quantised
from fsrcache.errors import FsrcacheError
from fsrcache.extractors.onnx_graph import open_session
from fsrcache.faces.decode import PictureError
from fsrcache.faces.index import list_faces
from fsrcache.presets import ExtractorConfig

pytestmark = pytest.mark.slow
SIZES = ((8, 8), (13, 13), (48, 48), (100, 100), (13, 20), (60, 31))


def probabilities(graph, pictures):
    session = open_session(graph.SerializeToString(), where=Path("model.onnx"))
    (answer,) = session.run([OUTPUT], {INPUT: np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))})
    return answer


@pytest.fixture(scope="module")
def graph(networks):
    return onnx_model(Pipeline(networks()))


@pytest.mark.parametrize(("form", "channels"), [("mlp", 3), ("mlp", 1), ("rrdb", 3), ("mlp without early features", 3)])
def test_it_says_what_pytorch_says(form, channels, networks, model_of, drawn, graph):
    exported = networks(form, channels=channels)
    model = model_of(exported)
    graph = graph if (form, channels) == ("mlp", 3) else onnx_model(Pipeline(exported))
    for size in SIZES:
        for count in (1, 3, 64):
            pictures = drawn(size, count)
            ours, theirs = model(pictures).probabilities, probabilities(graph, pictures)
            assert theirs.dtype == np.float32
            np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)
            assert np.array_equal(theirs.argmax(1), ours.argmax(1))
    assert np.ptp(theirs, axis=0).max() > 0.3  # answers differ from face to face


def test_the_logarithm_of_larger_matrices_is_as_exact(networks, model_of, drawn):
    shape = ExtractorConfig(side=48, stages=((16,), (64,)), spd_side=64, hidden=16, embedding=6)
    exported = networks(shape=shape)
    graph = onnx_model(Pipeline(exported))
    for size in SIZES[:3]:
        ours, theirs = model_of(exported)(drawn(size)).probabilities, probabilities(graph, drawn(size))
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)
        assert np.array_equal(theirs.argmax(1), ours.argmax(1))


def test_input_and_output_are_as_promised(graph):
    described = [
        (one.name, one.type.tensor_type.elem_type, [axis.dim_param or axis.dim_value for axis in dims])
        for one in (*graph.graph.input, *graph.graph.output)
        for dims in [one.type.tensor_type.shape.dim]
    ]
    assert described == [
        ("faces", onnx.TensorProto.UINT8, ["N", 3, "h", "w"]),
        ("probabilities", onnx.TensorProto.FLOAT, ["N", 7]),
    ]
    assert [(one.domain, one.version) for one in graph.opset_import] == [("", OPSET)]


def test_nothing_in_it_names_a_file_of_this_machine(graph):
    assert b"site-packages" not in graph.SerializeToString()
    assert b".py" not in graph.SerializeToString()


def test_half_precision(networks, model_of, drawn, graph):
    exported = networks()
    half = onnx_model(Pipeline(exported, half=True))
    assert half.ByteSize() < 0.9 * graph.ByteSize()
    ours, theirs = model_of(exported)(drawn((20, 20))), probabilities(half, drawn((20, 20)))
    assert 1e-4 < np.abs(theirs - ours.probabilities).max() < 0.02


def test_int8(networks, model_of, drawn, graph):
    before = graph.SerializeToString(deterministic=True)
    int8 = quantised(graph, [drawn(size, 8).transpose(0, 3, 1, 2) for size in SIZES])
    assert graph.SerializeToString(deterministic=True) == before
    made = {output: node.op_type for node in int8.graph.node for output in node.output}
    inputs = {
        kind: {made.get(name) for node in int8.graph.node if node.op_type == kind for name in node.input[:2]}
        for kind in ("Conv", "MatMul")
    }
    assert inputs["Conv"] == {"DequantizeLinear"}
    assert "DequantizeLinear" not in inputs["MatMul"]  # those of the logarithm
    ours, theirs = model_of(networks())(drawn((20, 20))), probabilities(int8, drawn((20, 20)))
    assert 1e-4 < np.abs(theirs - ours.probabilities).max() < 0.3
    assert (theirs.argmax(1) == ours.probabilities.argmax(1)).mean() > 0.8


def test_calibration_faces_are_of_training_at_every_scale():
    listing = list_faces(Path("drawn:70"))
    batches = list(calibration_batches(listing, side=48, scales=(1, 4, 5)))
    assert len(batches) == 3 * (listing.splits == 0).sum()
    assert {batch.shape for batch in batches} == {(1, 3, side, side) for side in (48, 12, 10)}
    unreadable = replace(listing, load=_damaged)
    with pytest.raises(FsrcacheError, match="no training face"):
        list(calibration_batches(unreadable, side=48, scales=(1,)))


def _damaged(row):
    raise PictureError(f"row {row}")
