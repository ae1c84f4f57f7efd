"""The model: its probabilities are the table's, and every input is converted by a rule or refused."""

import dataclasses
import io
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.features import features_of
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, save_covpool
from fsrcache.extractors.extractor import make_extractor
from fsrcache.faces.bicubic import imresize, imresize_batch
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.model import load
from fsrcache.models.weights import read_weights, write_weights
from fsrcache.presets import TRAINING, ExtractorConfig, MLPConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.train import train_generator
from fsrcache.workspace import Workspace

CPU = torch.device("cpu")
SIDE = 24
EXTRACTOR = ExtractorConfig(side=SIDE, stages=((8,), (12,)), spd_side=8, hidden=16, embedding=6)
CONFIG = dataclasses.replace(
    TRAINING["tiny"], generator=MLPConfig(width=16, blocks=1, rank=0), steps=8, batch=16, learning_rate=3e-2
)
DEGRADATION = Degradation(form="size", border="mirror")


@pytest.fixture(scope="module")
def faces():
    return usable_faces(list_faces(Path("drawn:70")), side=SIDE)


@pytest.fixture(scope="module")
def workspace(faces, tmp_path_factory):
    """A workspace of an untrained extractor, and a generator that changes what comes in."""
    workspace = Workspace(tmp_path_factory.mktemp("model") / "fsr")
    save_covpool(workspace.extractor, CovPoolFER(EXTRACTOR, faces.classes), training={})
    source = face_source(faces, workspace.extractor, device=CPU, degradation=DEGRADATION)
    extract_features(source, store=workspace.store, scales=[2, 4], data="drawn faces")
    store = FeatureStore(workspace.store)
    train_generator(store, workspace.extractor, CONFIG, folder=workspace.run("default"), device=CPU)
    return workspace


@pytest.fixture(scope="module")
def model(workspace):
    return load(workspace.folder)


@pytest.fixture(scope="module")
def pictures(faces, workspace):
    """The faces of the validation split, uint8 [n, S, S, 3], in the store's order."""
    rows = {name: row for row, name in enumerate(faces.names)}
    return faces.batch(np.array([rows[name] for name in FeatureStore(workspace.store).ids("val")]))


@pytest.fixture
def copied(workspace, tmp_path):
    shutil.copytree(workspace.folder, tmp_path / "fsr")
    return Workspace(tmp_path / "fsr")


def coarse(pictures, scale):
    small = -(-SIDE // scale)
    return imresize_batch(pictures, size=(small, small), border=DEGRADATION.border) if scale > 1 else pictures


@torch.inference_mode()
def answers(model, features, early):
    """Return super-resolved features, and the frozen head's probabilities of them."""
    generated = model.generator(*(torch.from_numpy(values).float() for values in (features, early)))
    return generated.numpy(), model.extractor.head(generated)[1].softmax(1).numpy()


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_it_says_what_the_table_is_made_of(model, workspace, pictures, scale):
    predictions = model(coarse(pictures, scale))
    store = FeatureStore(workspace.store)
    _, probabilities = answers(model, store.features("val", scale)[:], store.early("val", scale)[:])
    np.testing.assert_allclose(predictions.probabilities, probabilities, atol=2e-3)  # the store is fp16
    exact = features_of(model.extractor, pictures, scale=scale, degradation=DEGRADATION)
    features, probabilities = answers(model, exact.features, exact.early)
    np.testing.assert_allclose(predictions.probabilities, probabilities, atol=1e-5)
    np.testing.assert_allclose(predictions.features, features, rtol=1e-4, atol=1e-4)
    assert np.abs(features - exact.features).max() > 0.1  # the generator does something
    assert predictions.scales.tolist() == [scale] * len(pictures)
    assert predictions.labels == [model.classes[row] for row in probabilities.argmax(1)]


def test_types_and_shapes(model, pictures):
    predictions = model(pictures)
    count, width = len(pictures), model.extractor.form.length
    assert len(predictions) == count
    assert (predictions.probabilities.shape, predictions.probabilities.dtype) == ((count, 7), np.float32)
    assert (predictions.features.shape, predictions.features.dtype) == ((count, width), np.float32)
    assert predictions.classes == model.classes
    assert np.array_equal(model.features(pictures), predictions.features)


def channels_first(pictures):
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        lambda pictures: [Image.fromarray(picture) for picture in pictures],
        channels_first,
        lambda pictures: list(channels_first(pictures)),
        lambda pictures: [pictures[0], Image.fromarray(pictures[1]), *channels_first(pictures[2:])],
        lambda pictures: pictures[..., ::-1][..., ::-1],  # with strides of its own
    ],
)
def test_every_form_of_the_same_faces(model, pictures, form):
    np.testing.assert_allclose(model(form(pictures)).probabilities, model(pictures).probabilities, atol=1e-6)


@pytest.mark.parametrize(
    "form",
    [
        lambda grey: grey[..., None],
        lambda grey: list(grey),
        lambda grey: torch.from_numpy(grey)[:, None],
        lambda grey: list(torch.from_numpy(grey)),
        lambda grey: np.repeat(grey[..., None], 3, axis=3),
        lambda grey: [Image.fromarray(picture) for picture in grey],
        lambda grey: [grey[0], *np.repeat(grey[1:, ..., None], 3, axis=3)],
    ],
)
def test_every_form_of_the_same_grey_faces(model, pictures, form):
    grey = pictures[..., 1]
    np.testing.assert_allclose(model(form(grey)).probabilities, model(grey).probabilities, atol=1e-5)


def test_a_single_face(model, pictures):
    expected = model(pictures[:1]).probabilities
    for face in (pictures[0], Image.fromarray(pictures[0]), channels_first(pictures)[0]):
        np.testing.assert_allclose(model(face).probabilities, expected, atol=1e-6)
    assert model(pictures[0, ..., 0]).probabilities.shape == (1, 7)


def test_pictures_of_other_modes(model, pictures):
    face = Image.fromarray(pictures[0])
    clear = face.convert("RGBA")
    clear.putpixel((0, 0), (0, 0, 0, 0))
    white = face.copy()
    white.putpixel((0, 0), (255, 255, 255))
    grey = face.convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for odd, plain in ((clear, white), (face.convert("CMYK"), face), (wide, grey)):
        np.testing.assert_allclose(model(odd).probabilities, model(plain).probabilities, atol=1e-6)


def test_the_size_tells_the_scale(model, pictures):
    face = pictures[0]
    sides = [(60, 60), (24, 24), (23, 9), (17, 16), (12, 12), (8, 5), (6, 6), (3, 2)]
    predictions = model([imresize(face, size=side) for side in sides])
    assert predictions.scales.tolist() == [1, 1, 1, 1, 2, 2, 4, 4]
    assert predictions.scales.dtype == np.int64


def test_a_larger_face_is_read_as_the_data_are(model, pictures):
    large = imresize_batch(pictures, size=(50, 40))
    read = np.stack([imresize(picture, size=(SIDE, SIDE)) for picture in large])
    np.testing.assert_allclose(model(large).probabilities, model(read).probabilities, atol=1e-6)


def test_sizes_and_scale_of_faces_that_were_enlarged(model, pictures):
    plain = model(pictures)
    count = len(pictures)
    for sizes in ([6] * count, 6, np.full(count, 6.0), [(6, 3)] * count, torch.full((count,), 6)):
        enlarged = model(pictures, sizes=sizes)
        assert enlarged.scales.tolist() == [4] * count
        np.testing.assert_array_equal(enlarged.probabilities, plain.probabilities)  # the pixels are as they are
    assert model(pictures, sizes=200).scales.tolist() == [1] * count  # no more than its pixels
    assert model(coarse(pictures, 4), sizes=200).scales.tolist() == [4] * count
    assert model(pictures, [6] * count, 2).scales.tolist() == [2] * count
    assert model(pictures, scale=np.int64(4)).scales.tolist() == [4] * count


@pytest.mark.parametrize("none", [[], (), np.zeros((0, 24, 24, 3), np.uint8), torch.zeros(0, 3, 9, 9).byte()])
def test_no_faces(model, none):
    predictions = model(none)
    assert (len(predictions), predictions.labels, predictions.scales.shape) == (0, [], (0,))
    assert predictions.probabilities.shape == (0, 7)
    assert model.features(none).shape == (0, model.extractor.form.length)
    assert repr(predictions) == "Predictions(0 faces)"


FACE = np.full((24, 24, 3), 7, np.uint8)
NOT_FINITE = np.array([[0.5, np.nan], [0, 1]])
WRONG = {
    "float": (FACE / 255, "The face is float64 .24, 24, 3. with values from 0.02745 to 0.02745.*uint8 from 0 to 255"),
    "one float": ([FACE, FACE / 255], r"faces\[1\] is float64"),
    "tensor": (torch.rand(2, 3, 9, 9, dtype=torch.bfloat16), r"faces\[0\] is torch.bfloat16 \[3, 9, 9\] with values"),
    "nan": ([NOT_FINITE], r"faces\[0\] is float64 \[2, 2\] with values from nan to nan"),
    "bool": (FACE > 3, "The face is bool"),
    "text in it": (np.array([["a"]]), "The face is <U1"),
    "objects": (np.array([FACE, FACE[:9]], dtype=object), "The face is object"),
    "more bits": (FACE.astype(np.int64), "The face is int64"),
    "RGBA": (np.zeros((9, 9, 4), np.uint8)[None], r"faces\[0\] is uint8 \[9, 9, 4\].*PIL.Image.fromarray"),
    "channels first": (np.zeros((2, 3, 24, 24), np.uint8), r"faces\[0\] is uint8 \[3, 24, 24\].*transpose\(1, 2, 0\)"),
    "channels first in a list": ([np.zeros((1, 24, 24), np.uint8)], r"\[1, 24, 24\].*transpose\(1, 2, 0\)"),
    "channels last of a tensor": (torch.zeros(2, 24, 24, 3).byte(), r"faces\[0\] is torch.uint8 \[24, 24, 3\]"),
    "a pixel": (FACE[:1, :1], r"The face is uint8 \[1, 1, 3\].*2 pixels a side"),
    "a line": ([FACE[:1]], r"faces\[0\] is uint8 \[1, 24, 3\]"),
    "no pixel": (FACE[:0], r"The face is uint8 \[0, 24, 3\]"),
    "no float": (np.zeros((0, 24)), r"The face is float64 \[0, 24\]\."),
    "a row": (FACE[0, :, 0], r"The face is uint8 \[24\]"),
    "videos": (FACE[None, None], r"The face is uint8 \[1, 1, 24, 24, 3\]"),
    "a path": ("face.png", "The faces are 'face.png', of type str.*PIL.Image.open"),
    "paths": (["face.png"], r"faces\[0\] is 'face.png', of type str"),
    "none": (None, "The faces are None"),
    "lists": ([[[0, 1], [2, 3]]], r"faces\[0\] is \[\[0, 1\], \[2, 3\]\], of type list"),
    "floating picture": (Image.fromarray(np.ones((4, 4), np.float32)), "PIL picture that cannot be used: floating"),
    "clear picture": (Image.new("RGBA", (4, 4)), "transparent everywhere"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_face_is_refused(model, wrong):
    faces, words = WRONG[wrong]
    with pytest.raises(RequestError, match=f"(?s){words}"):
        model(faces)


def test_sixteen_bit_colours_in_memory_are_refused(model):
    """Pillow gives their high bytes alone, and no file is there to be read again."""
    data = io.BytesIO()
    Image.fromarray(FACE).save(data, "png")
    image = Image.open(data)
    image.tile = [tile._replace(args="RGB;16B") for tile in image.tile]
    with pytest.raises(RequestError, match="16-bit colours that lie in no file"):
        model(image)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sizes": [6]}, r"The sizes are \[6\] for 2 faces"),
        ({"sizes": "66"}, "The sizes are '66'"),
        ({"sizes": [6, 0]}, r"sizes\[1\] is 0"),
        ({"sizes": [float("nan"), 6]}, r"sizes\[0\] is nan"),
        ({"sizes": [6, float("inf")]}, r"sizes\[1\] is inf"),
        ({"sizes": [6, True - 1j]}, r"sizes\[1\] is \(1-1j\)"),
        ({"sizes": [6, None]}, r"sizes\[1\] is None"),
        ({"sizes": [6, (6, 6, 3)]}, r"sizes\[1\] is \(6, 6, 3\)"),
        ({"scale": 3}, "The scale is 3.*knows 1, 2, 4"),
        ({"scale": 0}, "The scale is 0"),
        ({"scale": 2.0}, "The scale is 2.0"),
        ({"scale": True}, "The scale is True"),
        ({"scale": [2, 2]}, r"The scale is \[2, 2\]"),
    ],
)
def test_what_is_no_size_and_no_scale_is_refused(model, arguments, words):
    with pytest.raises(RequestError, match=f"(?s){words}"):
        model([FACE, FACE], **arguments)


class Grey(torch.nn.Module):
    """An extractor of grey pictures: two means of a picture are its feature."""

    classes, side, channels = ("dark", "bright"), 8, 1

    def __init__(self):
        super().__init__()
        self.head = Head()

    def embed(self, pictures):
        features = torch.stack([pictures.float().mean((1, 2, 3)), pictures[:, 0, 0].float().mean(1)], 1) / 255
        return features, *self.head(features)


class Head(torch.nn.Module):
    """Features are the embedding."""

    def __init__(self):
        super().__init__()
        self.classify = torch.nn.Linear(2, 2)

    def forward(self, features):
        return features, self.classify(features)


def test_colours_become_luma_for_a_network_of_grey_pictures(model):
    grey = make_extractor(Grey(), name="grey", digest="", preprocessing="", trainable=False)
    other = dataclasses.replace(model, extractor=grey, generator=torch.nn.Identity())
    colours = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    luma = np.stack([np.asarray(Image.fromarray(picture).convert("L")) for picture in colours])
    assert np.array_equal(other.features(colours), other.features(luma))
    assert set(other(colours).labels) <= {"dark", "bright"}


def test_colours_become_luma_where_the_training_faces_were_grey(copied, model, pictures):
    path = copied.run("default") / "generator.safetensors"
    tensors, record = read_weights(path, kind="generator")
    record["training"]["channels"] = 1
    write_weights(path, tensors, kind="generator", record=record)
    shutil.rmtree(copied.store)  # the generator's record tells
    grey = load(copied)
    luma = [np.asarray(Image.fromarray(picture).convert("L")) for picture in pictures[:3]]
    np.testing.assert_array_equal(grey(list(pictures[:3])).probabilities, model(luma).probabilities)
    assert (grey(list(pictures[:3])).probabilities != model(list(pictures[:3])).probabilities).any()


def test_a_batch_is_of_bounded_size(model):
    seen = []
    handle = model.generator.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
    try:
        faces = np.random.default_rng(0).integers(0, 256, (300, 4, 4), np.uint8)
        probabilities = model(faces).probabilities
    finally:
        handle.remove()
    assert seen == [128, 128, 44]
    np.testing.assert_allclose(probabilities[200:], model(faces[200:]).probabilities, atol=1e-5)


def settings():
    backends = torch.backends
    parts = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    return (
        [part.fp32_precision for part in parts], torch.get_num_threads(), torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(), torch.get_rng_state().tolist(),
    )  # fmt: skip


def test_threads_say_what_one_says_and_nothing_of_the_process_changes(model, pictures):
    before, kept = settings(), {name: one.clone() for name, one in model.generator.state_dict().items()}
    batches = [coarse(pictures, scale) for scale in (1, 2, 4)] * 8
    alone = [model(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(model, batches))
    for one, other in zip(alone, together, strict=True):
        assert one.labels == other.labels
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
    assert settings() == before
    assert not any(network.training for network in (model.extractor.module, model.generator))
    assert all(torch.equal(kept[name], one) for name, one in model.generator.state_dict().items())


def test_products_are_fp32_whatever_the_caller_computes_in(model, pictures):
    seen = []
    handle = model.generator.register_forward_pre_hook(
        lambda _, arguments: seen.append((settings()[0], torch.is_autocast_enabled("cpu"), arguments[0].dtype))
    )
    plain = model(pictures).probabilities
    try:
        with torch.autocast("cpu", torch.bfloat16):
            np.testing.assert_array_equal(model(pictures).probabilities, plain)
    finally:
        handle.remove()
    assert seen == [(["ieee"] * 4, False, torch.float32)] * 2


def test_the_setting_is_put_back_by_the_last_of_two_threads(model, pictures):
    """The first to enter leaves while the second computes, which goes on in fp32."""
    before = settings()
    inside, seen = [], []
    assert before[0][1] == "tf32"  # torch's default

    def enter(*_):
        if not inside:
            inside.append(True)
            with ThreadPoolExecutor(1) as pool:
                pool.submit(model, pictures).result()
            seen.append(settings()[0])

    handle = model.generator.register_forward_pre_hook(enter)
    try:
        model(pictures)
    finally:
        handle.remove()
    assert seen == [["ieee"] * 4]
    assert settings() == before


def test_what_is_shown(model, workspace, pictures):
    shown = repr(model)
    for words in (
        str(workspace.folder), "run default", "CovPoolFER, D 8, 24 x 24 pixels", "mlp, preset tiny with",
        "generator.width=16", "batch=16", "8 steps, seed 0", "scales     1, 2, 4", "surprise, fear", "cpu",
    ):  # fmt: skip
        assert words in shown
    predictions = repr(model(coarse(pictures, 2)[:1]))
    assert predictions.startswith("Predictions(1 face: ")
    assert predictions.endswith(" (x2))")
    assert repr(model(np.zeros((40, 4, 4), np.uint8))).endswith(", ...)")


def test_a_run_by_its_name_and_a_workspace_by_any_path(workspace, copied, pictures, monkeypatch):
    shutil.copytree(copied.run("default"), copied.run("other"))
    monkeypatch.chdir(copied.folder.parent)
    expected = load(workspace)(pictures)
    for model in (load(), load("fsr", "other"), load(copied.folder, run="other", device=CPU), load(copied)):
        np.testing.assert_array_equal(model(pictures).probabilities, expected.probabilities)


def test_a_workspace_without_its_store(copied, pictures, model):
    shutil.rmtree(copied.store)
    alone = load(copied)
    assert (alone.scales, alone.degradation, alone.channels) == ((1, 2, 4), DEGRADATION, 3)
    for scale in (1, 4):
        seen = coarse(pictures, scale)
        np.testing.assert_array_equal(alone(seen).probabilities, model(seen).probabilities)


def test_what_cannot_be_loaded_is_named(copied, tmp_path):
    with pytest.raises(RequestError, match=r"There is no workspace at .*nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"(?s)empty has no extractor.*fsrcache\.pretrain\('.*empty', data=PATH"):
        load(str(tmp_path / "empty"))
    shutil.copytree(copied.run("default"), copied.run("s1"))
    with pytest.raises(RequestError, match="no trained run 's2'; it has default, s1"):
        load(copied, run="s2")
    with pytest.raises(RequestError, match="is no name for a run"):
        load(copied, run="../s1")
    with pytest.raises(RequestError, match="run is 3"):
        load(copied, run=3)
    with pytest.raises(RequestError, match=r"workspace is 3\."):
        load(3)
    with pytest.raises(RequestError, match="There is no device"):
        load(copied, device="tpu")
    shutil.rmtree(copied.folder / "runs")
    with pytest.raises(RequestError, match=r"(?s)it has none.*fsrcache\.train\('.*fsr'\)"):
        load(copied)


def test_a_generator_of_other_features_is_refused(faces, copied):
    source = face_source(faces, copied.extractor, device=CPU, degradation=DEGRADATION)
    extract_features(source, store=copied.store, scales=[3], data="drawn faces")
    assert load(copied).scales == (1, 2, 4)  # its own, whatever the store has got since
    shutil.rmtree(copied.store)
    source = face_source(faces, copied.extractor, device=CPU)
    extract_features(source, store=copied.store, scales=[2, 4], data="drawn faces")
    with pytest.raises(
        FsrcacheError, match=r"was trained on another store than .*, of other preprocessing, recipe\.\n"
    ):
        load(copied)
    save_covpool(copied.extractor, CovPoolFER(EXTRACTOR, faces.classes), training={"seed": 1})
    with pytest.raises(FsrcacheError, match="was written with other weights of CovPoolFER"):
        load(copied)
    save_covpool(copied.extractor, CovPoolFER(dataclasses.replace(EXTRACTOR, spd_side=6), faces.classes), training={})
    with pytest.raises(FsrcacheError, match="is for features of 36 numbers; CovPoolFER has 21"):
        load(copied)


FIRST_ANSWER = """
import sys
import numpy as np
import fsrcache
fsrcache.load(sys.argv[1])(np.zeros((9, 9, 3), np.uint8))
print(*sorted({"sympy", "torch._dynamo", "torch._inductor"} & set(sys.modules)))
"""


def test_the_first_answer_waits_for_no_compiler(workspace):
    command = [sys.executable, "-c", FIRST_ANSWER, workspace.folder]
    assert not subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
