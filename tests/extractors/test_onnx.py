import ast
import importlib
import json
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.extractor import FeatureForm
from fsrcache.extractors.onnx import onnx_digest, open_onnx
from fsrcache.extractors.onnx_options import OnnxOptions, describe, read_options

CLASSES = ("anger", "disgust", "fear", "joy", "neutral")
OPTIONS = {
    "classes": CLASSES,
    "side": 32,
    "channel_order": "rgb",
    "mean": (120.0, 110.0, 100.0),
    "deviation": (60.0, 61.0, 62.0),
    "range": "255",
    "layout": "nchw",
}
GREY = {"channel_order": "grey", "mean": (0.5,), "deviation": (0.25,), "range": "1"}
TOML = """
classes = ["anger", "disgust", "fear", "joy", "neutral"]
side = 32
channel_order = "rgb"
mean = [120, 110.0, 100.0]
deviation = [60.0, 61.0, 62.0]
range = 255
layout = "nchw"
"""
WIDTH = 8  # P


def values(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


KERNEL = values(WIDTH, 3, 3, 3)
WEIGHT, BIAS = values(5, WIDTH, seed=1), values(5, seed=2)
NODE = helper.make_node


def save(path, end, weights, *, body=None, shape=("n", 3, 32, 32), kind=TensorProto.FLOAT, output="y", **extra):
    """Write a network of one convolution and a pooling, with its last nodes and their weights."""
    if body is None:
        body = [
            NODE("Conv", ["x", "kernel"], ["c"], strides=[2, 2]),
            NODE("GlobalAveragePool", ["c"], ["p"]),
            NODE("Flatten", ["p"], ["f"]),
        ]
    tensors = [numpy_helper.from_array(value, name) for name, value in {"kernel": KERNEL, **weights}.items()]
    inputs = [helper.make_tensor_value_info("x", kind, shape), *extra.get("inputs", [])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in output.split()]
    sparse = extra.get("sparse", [])
    graph = helper.make_graph([*body, *end], "net", inputs, outputs, tensors, sparse_initializer=sparse)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("of.somebody", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=extra.get("ir_version", 9))
    path.write_bytes(model.SerializeToString())
    return path


CAST = [
    NODE("Cast", ["x"], ["u"], to=TensorProto.FLOAT),
    NODE("Conv", ["u", "kernel"], ["c"], strides=[2, 2]),
    NODE("GlobalAveragePool", ["c"], ["p"]),
    NODE("Flatten", ["p"], ["f"]),
]
GEMM = [NODE("Gemm", ["f", "w", "b"], ["y"], transB=1)]
WEIGHTS = {"w": WEIGHT, "b": BIAS}


@pytest.fixture
def gemm(tmp_path):
    return save(tmp_path / "net.onnx", GEMM, WEIGHTS)


def faces(count=3, channels=3, side=32):
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)


def expected(pictures, *, mean=OPTIONS["mean"], deviation=OPTIONS["deviation"], weight=WEIGHT, bias=BIAS):
    """Return features and logits as PyTorch computes them."""
    mean, deviation = (torch.tensor(one)[:, None, None] for one in (mean, deviation))
    maps = functional.conv2d((pictures.float() - mean) / deviation, torch.from_numpy(KERNEL), stride=2)
    features = maps.mean((2, 3))
    return features, features @ torch.from_numpy(weight).T + torch.from_numpy(bias)


def check(path, options=None, *, pictures=None, **differently):
    """Open a file, compare what it computes with PyTorch's, and return the module."""
    module = open_onnx(path, OnnxOptions(**{**OPTIONS, **(options or {})})).module
    pictures = faces() if pictures is None else pictures
    features, embedding, logits = module.embed(pictures)
    wanted, scores = expected(pictures, **differently)
    assert features.dtype == embedding.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits, scores, rtol=1e-4, atol=1e-4)
    assert torch.equal(features, embedding)
    assert wanted.std() > 0.1
    return module


def test_a_gemm_becomes_the_head(gemm):
    module = check(gemm)
    assert (module.classes, module.side, module.channels) == (CLASSES, 32, 3)
    assert module.preprocessing == "32 x 32 rgb, nchw, (pixel - (120, 110, 100)) / (60, 61, 62)"
    features, _, logits = module.embed(faces())
    features.requires_grad_()
    embedding, again = module.head(features)
    assert torch.equal(embedding, features)
    torch.testing.assert_close(again, logits)
    (slope,) = torch.autograd.grad(again[:, 2].sum(), features)
    torch.testing.assert_close(slope[0], torch.from_numpy(WEIGHT[2]))
    assert not any(weight.requires_grad for weight in module.parameters())
    assert not module.training


def test_what_everything_after_it_knows(gemm):
    options = OnnxOptions(**OPTIONS)
    extractor = open_onnx(gemm, options)
    assert extractor.form == FeatureForm(WIDTH)
    assert (extractor.embedding, extractor.trainable, extractor.any_pixels) == (WIDTH, False, False)
    assert extractor.digest == onnx_digest(gemm, options)
    assert extractor.name == f"ONNX {extractor.digest[:12]}"
    assert extractor.preprocessing == extractor.module.preprocessing
    assert extractor.summary == f"ONNX classifier, {describe(options)}"
    moved = gemm.rename(gemm.with_name("extractor.onnx"))
    again = open_onnx(moved, json.loads(json.dumps(asdict(options))))
    assert (again.digest, again.name) == (extractor.digest, extractor.name)


def test_options_beside_the_file(gemm):
    gemm.with_suffix(".toml").write_text(TOML)
    wanted = open_onnx(gemm, OnnxOptions(**OPTIONS)).digest
    assert open_onnx(gemm).digest == wanted
    other = open_onnx(gemm, {"channel_order": "bgr", "path": None})
    assert other.digest == onnx_digest(gemm, OnnxOptions(**{**OPTIONS, "channel_order": "bgr"})) != wanted
    with pytest.raises(RequestError, match=r"net\.toml: 'path' is no option"):
        open_onnx(gemm, {"path": 1})


def test_any_number_of_pictures(gemm):
    module = check(gemm)
    assert [list(one.shape) for one in module.embed(faces(0))] == [[0, WIDTH], [0, WIDTH], [0, 5]]
    assert [list(one.shape) for one in module.embed(faces(1))] == [[1, WIDTH], [1, WIDTH], [1, 5]]


@pytest.mark.parametrize("pictures", [faces(side=31), faces(channels=1), faces().float(), faces()[0]])
def test_other_pictures_are_refused(gemm, pictures):
    module = check(gemm)
    with pytest.raises(RequestError, match=r"(?s)Pictures are torch\.\w+ \[.*should be uint8 \[B, 3, 32, 32\]"):
        module.embed(pictures.squeeze(0))


HALVES = {"w": WEIGHT.T.copy(), "b": BIAS[None]}
PRODUCT = NODE("MatMul", ["f", "w"], ["m"])
ENDS = {
    "Gemm without transB": ([NODE("Gemm", ["f", "w", "b"], ["y"])], HALVES),
    "MatMul, Add, Softmax": ([PRODUCT, NODE("Add", ["m", "b"], ["a"]), NODE("Softmax", ["a"], ["y"])], HALVES),
    "Add the other way round": ([PRODUCT, NODE("Add", ["b", "m"], ["y"])], HALVES),
    "nodes that change nothing": (
        [
            NODE("Gemm", ["f", "w", "b"], ["a"], transB=1),
            NODE("Identity", ["a"], ["i"]),
            NODE("Reshape", ["i", "shape"], ["r"]),
            NODE("Cast", ["r"], ["d"], to=TensorProto.DOUBLE),
            NODE("Cast", ["d"], ["s"], to=TensorProto.FLOAT),
            NODE("Flatten", ["s"], ["y"]),
        ],
        {**WEIGHTS, "shape": np.array([-1, 1, 5])},
    ),
    "weights from a Reshape and a Constant": (
        [
            NODE("Reshape", ["w", "shape"], ["v"]),
            NODE("Constant", [], ["k"], value=numpy_helper.from_array(BIAS)),
            NODE("MatMul", ["f", "v"], ["m"]),
            NODE("Add", ["m", "k"], ["y"]),
        ],
        {"w": WEIGHT.T.reshape(-1).copy(), "shape": np.array([WIDTH, 5])},
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_ends_of_classifiers(tmp_path, end):
    nodes, weights = ENDS[end]
    check(save(tmp_path / "net.onnx", nodes, weights))


def test_a_product_without_bias(tmp_path):
    path = save(tmp_path / "net.onnx", [NODE("MatMul", ["f", "w"], ["y"])], {"w": HALVES["w"]})
    check(path, bias=np.zeros(5, np.float32))


def test_factors_and_a_scalar_bias_of_a_gemm(tmp_path):
    nodes = [NODE("Gemm", ["f", "w", "b"], ["y"], transB=1, alpha=2.0, beta=3.0)]
    path = save(tmp_path / "net.onnx", nodes, {"w": WEIGHT, "b": np.array([0.5], np.float32)})
    check(path, weight=2 * WEIGHT, bias=np.full(5, 1.5, np.float32))


def test_a_second_output_that_is_no_classifier(tmp_path):
    check(save(tmp_path / "net.onnx", GEMM, WEIGHTS, output="c y"))


def test_weights_listed_as_inputs(tmp_path):
    inputs = [helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHT.shape)]
    inputs += [helper.make_tensor_value_info("b", TensorProto.FLOAT, BIAS.shape)]
    inputs += [helper.make_tensor_value_info("kernel", TensorProto.FLOAT, KERNEL.shape)]
    check(save(tmp_path / "net.onnx", GEMM, WEIGHTS, inputs=inputs, ir_version=3))


def test_sparse_weights(tmp_path):
    """A unit matrix before the last layer, sparse."""
    diagonal = numpy_helper.from_array(np.ones(WIDTH, np.float32), "unit")
    indices = numpy_helper.from_array(np.arange(WIDTH) * (WIDTH + 1))
    sparse = helper.make_sparse_tensor(diagonal, indices, (WIDTH, WIDTH))
    nodes = [NODE("MatMul", ["f", "unit"], ["g"]), NODE("Gemm", ["g", "w", "b"], ["y"], transB=1)]
    check(save(tmp_path / "net.onnx", nodes, WEIGHTS, sparse=[sparse]))


def test_values_that_a_branch_names(tmp_path):
    results = [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    branches = {
        "then_branch": helper.make_graph([NODE("Identity", ["f"], ["z"])], "then", [], results),
        "else_branch": helper.make_graph([NODE("Neg", ["f"], ["z"])], "else", [], results),
    }
    nodes = [NODE("If", ["yes"], ["g"], **branches), NODE("Gemm", ["g", "w", "b"], ["y"], transB=1)]
    check(save(tmp_path / "net.onnx", nodes, {**WEIGHTS, "yes": np.array(True)}))


@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch(tmp_path, batch):
    check(save(tmp_path / "net.onnx", GEMM, WEIGHTS, shape=(batch, 3, 32, 32)), pictures=faces(5))


def test_channels_last_and_blue_first(tmp_path):
    body = [
        NODE("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        NODE("Conv", ["t", "kernel"], ["c"], strides=[2, 2]),
        NODE("GlobalAveragePool", ["c"], ["p"]),
        NODE("Flatten", ["p"], ["f"]),
    ]
    path = save(tmp_path / "net.onnx", GEMM, WEIGHTS, body=body, shape=("n", 32, 32, 3))
    pictures = faces()
    module = open_onnx(path, OnnxOptions(**{**OPTIONS, "layout": "nhwc", "channel_order": "bgr"}))
    features, _, logits, _ = module.embed(pictures)
    for computed, wanted in zip((features, logits), expected(pictures.flip(1)), strict=True):
        torch.testing.assert_close(computed, wanted, rtol=1e-4, atol=1e-4)


def test_pixels_up_to_one(gemm):
    one = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}
    scaled = {name: tuple(255 * value for value in channels) for name, channels in one.items()}
    assert check(gemm, {**one, "range": "1"}, **scaled).preprocessing.endswith(
        "(pixel / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)"
    )


def test_whole_pixels(tmp_path):
    path = save(tmp_path / "net.onnx", GEMM, WEIGHTS, body=CAST, kind=TensorProto.UINT8)
    plain = {"mean": (0.0, 0.0, 0.0), "deviation": (1.0, 1.0, 1.0)}
    module = open_onnx(path, OnnxOptions(**{**OPTIONS, **plain}))
    torch.testing.assert_close(module.embed(faces())[0], expected(faces(), **plain)[0], rtol=1e-4, atol=1e-2)
    with pytest.raises(RequestError, match=r"whole pixels \(uint8\).*\(pixel - \(120, 110, 100\)\)"):
        open_onnx(path, OnnxOptions(**OPTIONS))


def test_several_threads(gemm):
    module = check(gemm)
    pictures = faces(8)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda row: module.embed(pictures[row % 8 :][:1])[2], range(64)))
    for row, logits in enumerate(answers):
        assert torch.equal(logits, module.embed(pictures[row % 8 :][:1])[2])


def test_it_pickles(gemm):
    module = check(gemm)
    again = pickle.loads(pickle.dumps(module))
    for ours, theirs in zip(module.embed(faces()), again.embed(faces()), strict=True):
        assert torch.equal(ours, theirs)
    assert not again.training


def test_threads_are_torchs_and_do_not_spin(gemm):
    module = check(gemm)
    options = module._session.get_session_options()
    assert options.intra_op_num_threads == torch.get_num_threads()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


POOL_END = [
    NODE("Conv", ["x", "last"], ["q"]),
    NODE("GlobalAveragePool", ["q"], ["g"]),
    NODE("Flatten", ["g"], ["y"]),
]
X2 = [helper.make_tensor_value_info("x2", TensorProto.FLOAT, ("n", 3))]
REFUSED = {
    "ends in GlobalAveragePool, not in a linear layer": (POOL_END, {"last": KERNEL}, {"body": []}),
    "ends in Sigmoid, not": ([*GEMM, NODE("Sigmoid", ["y"], ["s"])], WEIGHTS, {"output": "s"}),
    "ends in Add, not": ([*GEMM, NODE("Add", ["y", "y"], ["s"])], WEIGHTS, {"output": "s"}),
    "ends in Gemm, not": ([NODE("Gemm", ["f", "f"], ["y"], transB=1)], {}, {}),
    "ends in Gemm, not in a linear layer": (
        [NODE("Slice", ["f", "start", "end", "axis"], ["d"]), NODE("Gemm", ["f", "w", "d"], ["y"], transB=1)],
        {"w": WEIGHT, "start": np.array([0]), "end": np.array([5]), "axis": np.array([1])},
        {},
    ),
    "ends in 2 linear layers": (
        [*GEMM, NODE("MatMul", ["f", "v"], ["z"])],
        {**WEIGHTS, "v": WEIGHT.T},
        {"output": "y z"},
    ),
    "its last Gemm transposes its input": ([NODE("Gemm", ["f", "w"], ["y"], transA=1)], {"w": WEIGHT}, {}),
    "its last bias fits no vector of logits": (
        [PRODUCT, NODE("Add", ["m", "b"], ["y"])],
        {"w": HALVES["w"], "b": values(3, 5)},
        {},
    ),
    r"its last MatMul has weights of shape \[1, 8, 5\]": ([PRODUCT], {"w": HALVES["w"][None]}, {"output": "m"}),
    r"its input is float16; float \(float32\) or uint8": (GEMM, WEIGHTS, {"kind": TensorProto.FLOAT16, "body": CAST}),
    "its input has 2 axes": (GEMM, WEIGHTS, {"shape": ("n", WIDTH), "body": [NODE("Identity", ["x"], ["f"])]}),
    "its input is 2,048 pictures at once; 1,024": (GEMM, WEIGHTS, {"shape": (2048, 3, 32, 32)}),
    r"has 2 inputs \('x', 'x2'\)": (GEMM, WEIGHTS, {"inputs": X2}),
    "ONNX Runtime does not open it: .*Strange": (
        [NODE("Strange", ["p"], ["f"], domain="of.somebody"), *GEMM],
        WEIGHTS,
        {"body": [NODE("GlobalAveragePool", ["x"], ["p"])]},
    ),
    r"its last linear layer is float32 \[1, 6\] for 2 pictures; it should be float \[2, 3\]": (
        [NODE("Reshape", ["p", "shape"], ["f"]), NODE("Gemm", ["f", "w", "b"], ["y"], transB=1)],
        {"w": values(5, 3), "b": BIAS, "shape": np.array([1, -1])},
        {"body": [NODE("GlobalAveragePool", ["x"], ["p"])]},
    ),
    r"its last linear layer is float32 \[2, 1, 8\]": (
        [NODE("Unsqueeze", ["f", "axis"], ["g"]), NODE("MatMul", ["g", "w"], ["y"])],
        {"w": HALVES["w"], "axis": np.array([1])},
        {},
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_other_networks_are_refused(tmp_path, message):
    nodes, weights, extra = REFUSED[message]
    path = save(tmp_path / "net.onnx", nodes, weights, **extra)
    with pytest.raises(FsrcacheError, match=rf"net\.onnx.*{message}"):
        open_onnx(path, OnnxOptions(**OPTIONS))


def test_the_way_for_other_networks(tmp_path):
    path = save(tmp_path / "net.onnx", POOL_END, {"last": KERNEL}, body=[])
    with pytest.raises(FsrcacheError, match=r"package\.module:factory"):
        open_onnx(path, OnnxOptions(**OPTIONS))


def test_a_free_side_that_does_not_fit(tmp_path):
    end = [NODE("Flatten", ["c"], ["g"]), NODE("Gemm", ["g", "w", "b"], ["y"], transB=1)]
    body = [NODE("Conv", ["x", "kernel"], ["c"], strides=[2, 2])]
    weights = {"w": values(5, WIDTH * 15 * 15), "b": BIAS}
    path = save(tmp_path / "net.onnx", end, weights, body=body, shape=("n", 3, "h", "w"))
    assert open_onnx(path, OnnxOptions(**OPTIONS)).embed(faces())[0].shape == (3, WIDTH * 15 * 15)
    with pytest.raises(FsrcacheError, match=r"net\.onnx.*float32 \[2, 968\] for 2 pictures"):
        open_onnx(path, OnnxOptions(**{**OPTIONS, "side": 24}))
    with pytest.raises(FsrcacheError, match=r"does not run it on float32 \[2, 3, 2, 2\](.|\n)*Check the options side"):
        open_onnx(path, OnnxOptions(**{**OPTIONS, "side": 2}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 24}, r"has pictures of shape \[free, 3, 32, 32\], .*side 24, rgb, nchw: \[batch, 3, 24, 24\]"),
        (GREY, r"has pictures of shape \[free, 3, 32, 32\], .*grey, nchw: \[batch, 1, 32, 32\]"),
        ({"layout": "nhwc"}, r"has pictures of shape \[free, 3, 32, 32\], .*nhwc: \[batch, 32, 32, 3\]"),
        ({"classes": ("a", "b")}, "has 5 classes, and the options name 2"),
    ],
)
def test_options_that_are_not_the_files(gemm, options, message):
    with pytest.raises(RequestError, match=rf"net\.onnx {message}"):
        open_onnx(gemm, OnnxOptions(**{**OPTIONS, **options}))


@pytest.mark.parametrize("data", [b"", b"hello", b"\x08\x07", bytes(100)])
def test_no_onnx_file(tmp_path, data):
    (tmp_path / "net.onnx").write_bytes(data)
    with pytest.raises(FsrcacheError, match=r"net\.onnx: (it is no ONNX file|ONNX Runtime does not open it)"):
        open_onnx(tmp_path / "net.onnx", OnnxOptions(**OPTIONS))


def test_an_incomplete_file(gemm):
    data = gemm.read_bytes()
    for length in range(1, len(data), 97):
        gemm.write_bytes(data[:length])
        with pytest.raises(FsrcacheError, match=r"net\.onnx"):
            open_onnx(gemm, OnnxOptions(**OPTIONS))


def test_no_file(tmp_path):
    for call in (open_onnx, onnx_digest):
        with pytest.raises(FsrcacheError, match="There is no ONNX file at"):
            call(tmp_path / "net.onnx", OnnxOptions(**OPTIONS))


def test_weights_in_another_file(gemm):
    onnx.save(onnx.load(gemm), gemm, save_as_external_data=True, location="net.bin", size_threshold=0)
    assert (gemm.parent / "net.bin").is_file()
    with pytest.raises(FsrcacheError, match=r"(?s)weights in another file.*save_as_external_data=False"):
        open_onnx(gemm, OnnxOptions(**OPTIONS))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_package_that_is_not_installed(gemm, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RequestError, match=r"^ONNX files need pip install 'fsrcache\[onnx\]': [^\n]+\.$"):
        open_onnx(gemm, OnnxOptions(**OPTIONS))


@pytest.mark.parametrize("module", ["onnx", "onnx_graph", "onnx_options"])
def test_the_packages_are_imported_when_they_are_needed(module):
    tree = ast.parse(Path(importlib.import_module(f"fsrcache.extractors.{module}").__file__).read_text())
    names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert names
    assert not {"onnx", "onnxruntime"} & names


def test_the_digest(gemm):
    options = OnnxOptions(**OPTIONS)
    digest = onnx_digest(gemm, options)
    assert digest == onnx_digest(gemm, OnnxOptions(**{**OPTIONS, "mean": (120, 110, 100)}))
    different = {
        "classes": CLASSES[::-1],
        "side": 31,
        "channel_order": "bgr",
        "mean": (120.0, 110.0, 100.00000000000001),
        "deviation": (1.0, 1.0, 1.0),
        "range": "1",
        "layout": "nhwc",
    }
    digests = {onnx_digest(gemm, OnnxOptions(**{**OPTIONS, name: value})) for name, value in different.items()}
    gemm.write_bytes(gemm.read_bytes()[:-1])
    assert len({digest, onnx_digest(gemm, options), *digests}) == 9


def test_options_from_a_file(tmp_path):
    path = tmp_path / "net.toml"
    path.write_text(TOML)
    assert read_options(path) == OnnxOptions(**OPTIONS)
    assert read_options(path, side=64, layout=None) == OnnxOptions(**{**OPTIONS, "side": 64})
    assert read_options(tmp_path / "none.toml", **OPTIONS) == OnnxOptions(**OPTIONS)
    assert describe(read_options(path)) == (
        "5 classes (anger, disgust, fear, joy, neutral); 32 x 32 rgb, nchw, (pixel - (120, 110, 100)) / (60, 61, 62)"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("side", "sides", r"(?s)net\.toml: 'sides' is no option.*nearest: side\."),
        ('layout = "nchw"', "", r"net\.toml: layout is missing"),
        ("side = 32", "side = 3.5", r"net\.toml: side is 3\.5; it should be a whole number"),
        ("120,", "nan,", r"net\.toml: mean\[0\] is nan"),
        ('"rgb"', '"RGB"', r"net\.toml: channel_order is 'RGB'; it should be 'rgb' or 'bgr' or 'grey'"),
        ("range = 255", "range = 128", r"net\.toml: range is '128'"),
        ("range = 255", "range = ", r"net\.toml cannot be read"),
        ("[60.0, 61.0, 62.0]", "[60.0, 0, 62.0]", r"deviation\[1\] is 0"),
        ("[60.0, 61.0, 62.0]", "[60.0]", "deviation has 1 values, and rgb has 3 channels"),
        ('"fear"', '"joy"', r"(?s)classes is .*all different"),
    ],
)
def test_options_that_are_refused(tmp_path, old, new, message):
    path = tmp_path / "net.toml"
    assert old in TOML
    path.write_text(TOML.replace(old, new))
    with pytest.raises(FsrcacheError, match=message):
        read_options(path)


def test_all_that_is_missing_is_named_at_once(tmp_path):
    with pytest.raises(RequestError, match=r"net\.toml: classes, side, channel_order, deviation, layout are missing"):
        read_options(tmp_path / "net.toml", mean=(0.0,), range="1")


def test_an_override_that_is_refused(tmp_path):
    (tmp_path / "net.toml").write_text(TOML)
    with pytest.raises(FsrcacheError, match="The options: side is 0"):
        read_options(tmp_path / "net.toml", side=0)
    with pytest.raises(RequestError, match=r"(?s)'channels_order' is no option.*channel_order"):
        read_options(tmp_path / "net.toml", channels_order="bgr")
