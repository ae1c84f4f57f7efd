"""A TensorFlow checkpoint, written here byte by byte, becomes the extractor that NumPy computes from its numbers."""

import json
import math
import struct
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors import covpool_checkpoint
from fsrcache.extractors.covpool import load_covpool
from fsrcache.extractors.tensor_bundle import bundle_tensors, read_tensor
from fsrcache.store.shard import crc32c
from fsrcache.verbs.import_tf import import_tf
from studies.program import run

CLASSES = ("joy", "grief", "rage")
WIDTHS, D, HIDDEN, EMBEDDING = (4, 6, 6), 5, 9, 7
MAGIC = 0xDB4775248B80FB57


def varint(value):
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def masked(data):
    checksum = crc32c(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def block(entries, *, interval=3, compression=0):
    """Return a block of a sorted table: keys without the prefix they share with the one before, and the restarts."""
    data, restarts, before = b"", [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % interval == 0:
            restarts.append(len(data))
        else:
            shared = next((i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), len(before))
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    data += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts)) + bytes([compression])
    return data + struct.pack("<I", masked(data))


def table(entries, *, of_block=4, **options):
    """Return a sorted table with several blocks."""
    data, index = b"", []

    def add(part):
        nonlocal data
        handle = varint(len(data)) + varint(len(part) - 5)
        data += part
        return handle

    for start in range(0, len(entries), of_block):
        part = entries[start : start + of_block]
        index.append((part[-1][0] + b"~", add(block(part, **options))))
    footer = add(block([])) + add(block(index))
    return data + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def bundle(prefix, tensors, *, dtype=1, **options):
    """Write a checkpoint of tensors by name, as TensorFlow 1's saver does."""
    data, entries = b"", [(b"", field(1, 1) + field(3, field(1, 1)))]
    for name in sorted(tensors):
        values = tensors[name].astype("<f4").tobytes()
        shape = b"".join(field(2, field(1, side)) for side in tensors[name].shape)
        entry = field(1, dtype) + field(2, shape) + field(4, len(data)) + field(5, len(values))
        entries.append((name.encode(), entry + varint(6 << 3 | 5) + struct.pack("<I", masked(values))))
        data += values
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(entries, **options))
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    return prefix


def layer(tensors, name, weights, rng, *, biases=False):
    tensors[f"{name}/weights"] = weights
    if biases:
        tensors[f"{name}/biases"] = rng.normal(size=weights.shape[-1])
        return
    width = weights.shape[-1]
    tensors[f"{name}/BatchNorm/beta"] = rng.normal(size=width)
    tensors[f"{name}/BatchNorm/moving_mean"] = rng.normal(size=width)
    tensors[f"{name}/BatchNorm/moving_variance"] = rng.uniform(0.5, 2, width)


@pytest.fixture
def tensors():
    rng = np.random.default_rng(0)
    made, incoming = {}, 3
    for name, width in zip(("Conv2d_1", "Conv2d_2", "Conv2dfo_3"), WIDTHS, strict=True):
        layer(made, f"CovPool2/{name}", rng.normal(size=(3, 3, incoming, width)), rng)
        incoming = width
    made["CovPool2/spdpooling1/orth_weight0"] = np.linalg.qr(rng.normal(size=(WIDTHS[-1], D)))[0]
    layer(made, "CovPool2/fc_1", rng.normal(size=(D * D, HIDDEN)), rng)
    layer(made, "CovPool2/Bottleneck", rng.normal(size=(HIDDEN, EMBEDDING)), rng)
    layer(made, "Logits", rng.normal(size=(EMBEDDING, len(CLASSES))), rng, biases=True)
    return {name: values.astype(np.float32) for name, values in made.items()}


def forward(tensors, picture):
    """Return the embedding and the logits of a picture [S, S, 3], by NumPy in float64 from the tensors' own layout."""
    tensors = {name: values.astype(np.float64) for name, values in tensors.items()}

    def norm(x, name):
        beta, mean, variance = (
            tensors[f"{name}/BatchNorm/{part}"] for part in ("beta", "moving_mean", "moving_variance")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) + beta

    def convolution(x, name, *, pool):
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))  # [S, S, C, 3, 3]
        x = norm(np.einsum("hwcij,ijco->hwo", windows, tensors[f"{name}/weights"]), name).clip(0)
        if pool:
            side = len(x) // 2 * 2
            x = x[:side, :side].reshape(side // 2, 2, side // 2, 2, -1).max((1, 3))
        return x

    x = picture.astype(np.float64)
    x = (x - x.mean()) / max(x.std(), 1 / sqrt(x.size))
    x = convolution(x, "CovPool2/Conv2d_1", pool=True)
    x = convolution(x, "CovPool2/Conv2d_2", pool=False)
    x = convolution(x, "CovPool2/Conv2dfo_3", pool=False).reshape(-1, WIDTHS[-1])
    covariance = np.cov(x.T)
    covariance += 1e-4 * np.trace(covariance) * np.eye(len(covariance))
    weight = tensors["CovPool2/spdpooling1/orth_weight0"]
    values, vectors = np.linalg.eigh(weight.T @ covariance @ weight)
    logarithm = vectors * np.log(values.clip(1e-4, 1e4)) @ vectors.T
    hidden = norm(logarithm.reshape(-1) @ tensors["CovPool2/fc_1/weights"], "CovPool2/fc_1").clip(0)
    embedding = norm(hidden @ tensors["CovPool2/Bottleneck/weights"], "CovPool2/Bottleneck")
    return embedding, embedding @ tensors["Logits/weights"] + tensors["Logits/biases"]


def test_the_extractor_computes_what_the_checkpoint_says(tensors, tmp_path):
    result = import_tf(bundle(tmp_path / "model.ckpt-7", tensors), classes=CLASSES, out=tmp_path / "out.safetensors")
    model = load_covpool(result.extractor).eval()
    assert model.config.stages == ((4,), (6, 6))
    assert (model.classes, result.layers) == (CLASSES, 7)
    assert result.parameters == sum(values.size for values in tensors.values()) - HIDDEN * D * (D - 1) // 2 + sum(
        (*WIDTHS, HIDDEN, EMBEDDING)  # the norms' factors, which are 1; one half of the symmetric weights is left out
    )
    picture = np.random.default_rng(1).integers(0, 256, (100, 100, 3), np.uint8)
    taps = model.embed(torch.from_numpy(picture).permute(2, 0, 1)[None])
    embedding, logits = forward(tensors, picture)
    np.testing.assert_allclose(taps.embedding[0].detach().numpy(), embedding, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(taps.logits[0].detach().numpy(), logits, rtol=1e-4, atol=1e-4)
    assert embedding.min() < 0  # it has no ReLU


def test_tensors_are_read_bit_for_bit_from_any_blocks(tensors, tmp_path):
    for number, (of_block, interval) in enumerate(((1, 1), (4, 3), (100, 16))):
        prefix = bundle(tmp_path / f"model-{number}", tensors, of_block=of_block, interval=interval)
        found = bundle_tensors(prefix)
        assert found.keys() == tensors.keys()
        for name, values in tensors.items():
            assert read_tensor(prefix, name, found[name]).tobytes() == values.tobytes()


def test_every_broken_byte_is_found(tensors, tmp_path):
    prefix = bundle(tmp_path / "model", tensors)
    index = tmp_path / "model.index"
    whole = index.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 7, 47, len(whole) // 2, len(whole) - 1):
        index.write_bytes(whole[:cut])
        with pytest.raises(FsrcacheError, match=r"model.index"):
            bundle_tensors(prefix)
    for at in rng.integers(0, len(whole) - 48, 200):
        index.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :])
        try:  # bits of the table's own properties are read by nobody
            assert bundle_tensors(prefix).keys() == tensors.keys()
        except FsrcacheError as error:
            assert "model.index" in error.what  # noqa: PT017  # either of the two
    index.write_bytes(rng.bytes(4000) + whole[-48:])
    with pytest.raises(FsrcacheError, match=r"model.index is no index of a TensorFlow checkpoint"):
        bundle_tensors(prefix)
    index.write_bytes(whole)
    data = tmp_path / "model.data-00000-of-00001"
    values = bytearray(data.read_bytes())
    values[40] ^= 1
    data.write_bytes(values)
    with pytest.raises(FsrcacheError, match="are not those that were written"):
        import_tf(prefix, classes=CLASSES, out=tmp_path / "out.safetensors")
    data.write_bytes(b"")
    with pytest.raises(FsrcacheError, match="it has 0 bytes, and tensors of its index take "):
        import_tf(prefix, classes=CLASSES, out=tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_no_memory_is_taken_for_more_than_the_data_file_has(tensors, tmp_path, monkeypatch):
    """A small index may speak of layers of any width, all at one offset: the largest alone would be there."""
    prefix = bundle(tmp_path / "model", tensors)
    data, largest = tmp_path / "model.data-00000-of-00001", max(values.nbytes for values in tensors.values())
    data.write_bytes(data.read_bytes()[:largest])
    monkeypatch.setattr(covpool_checkpoint, "CovPoolFER", None)
    for words in ("it has 1,296 bytes, and tensors of its index take 3,948", "There is no .*data-00000-of-00001"):
        with pytest.raises(FsrcacheError, match=words):
            import_tf(prefix, classes=CLASSES, out=tmp_path / "out.safetensors")
        data.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda made: made.pop("CovPool2/fc_1/weights"), "the first dense layer of 25 numbers is there 0 times"),
        (lambda made: made.pop("Logits/biases"), "there is no Logits/biases"),
        (lambda made: made.pop("CovPool2/spdpooling1/orth_weight0"), "the orthonormal map is there 0 times"),
        (lambda made: made.update({"CovPool2/Conv2d_2/weights": np.zeros((3, 3, 5, 6))}), r"3 x 3 x 4"),
        (lambda made: made.update({"Logits/biases": np.zeros(1)}), r"Logits/biases is \[1\], for weights of \[3\]"),
        (
            lambda made: made.update({"CovPool2/fc_1/BatchNorm/moving_mean": np.zeros((1, HIDDEN))}),
            r"CovPool2/fc_1/BatchNorm/moving_mean is \[1, 9\], for weights of \[9\]",
        ),
        (
            lambda made: made.update({"Other/weights": np.zeros((HIDDEN, 2))}),
            "the embedding of 9 numbers is there 2 times",
        ),
    ],
)
def test_what_is_missing_or_of_another_shape_is_named(tensors, tmp_path, change, why):
    change(tensors)
    with pytest.raises(FsrcacheError, match=f"no checkpoint of CovPoolFER's Model-2: .*{why}") as error:
        import_tf(bundle(tmp_path / "model", tensors), classes=CLASSES, out=tmp_path / "out.safetensors")
    assert "CovPool2/Bottleneck/weights [9, 7]" in error.value.remedy


def test_classes_are_as_many_as_logits(tensors, tmp_path):
    with pytest.raises(FsrcacheError, match="6 channels and 3 classes"):
        import_tf(bundle(tmp_path / "model", tensors), classes=("joy", "grief"), out=tmp_path / "out.safetensors")


def test_compressed_and_other_tables_are_refused(tensors, tmp_path):
    with pytest.raises(FsrcacheError, match="compressed"):
        bundle_tensors(bundle(tmp_path / "model", tensors, compression=1))
    with pytest.raises(FsrcacheError, match="no fp32 tensor"):
        import_tf(bundle(tmp_path / "half", tensors, dtype=19), classes=CLASSES, out=tmp_path / "out.safetensors")


def test_names_that_repeat_each_other_take_no_memory(tmp_path):
    """Entries of five bytes, each the whole name before it and a letter more."""
    name = b"a" * 4000
    entries = [(name + b"b" * count, b"") for count in range(1000)]
    index = tmp_path / "model.index"
    index.write_bytes(table([(b"", field(1, 1)), *entries], of_block=2000, interval=5000))
    assert index.stat().st_size < 20_000
    with pytest.raises(FsrcacheError, match="a name has more than 4,096 bytes"):
        bundle_tensors(tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "words"), [({"offset": 2**64}, "are not those"), ({"shape": (0, 2**70)}, "no fp32")]
)
def test_numbers_beyond_those_of_the_machine_are_damage(tensors, tmp_path, change, words):
    prefix = bundle(tmp_path / "model", tensors)
    tensor = replace(bundle_tensors(prefix)["Logits/biases"], **{"size": 0, "checksum": masked(b""), **change})
    tensor = replace(tensor, size=4 * math.prod(tensor.shape))
    with pytest.raises(FsrcacheError, match=words):
        read_tensor(prefix, "Logits/biases", tensor)


@pytest.mark.parametrize("prefix", [".", "/"])
def test_a_folder_is_no_prefix(prefix):
    with pytest.raises(RequestError, match="prefix is"):
        bundle_tensors(prefix)


def test_the_command(tensors, tmp_path):
    prefix, out = bundle(tmp_path / "model.ckpt-7", tensors), tmp_path / "out.safetensors"
    arguments = ("import-tf", prefix, "--classes", ",".join(CLASSES), "--out", out)
    done = run(*arguments, "--json")
    assert json.loads(done.stdout)["classes"] == list(CLASSES)
    again = run(*arguments)
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    elsewhere = run("import-tf", tmp_path / "none", "--classes", "a,b", "--out", tmp_path / "b.safetensors")
    assert (elsewhere.returncode, "none.index" in elsewhere.stderr) == (1, True)
    with pytest.raises(RequestError, match="safetensors"):
        import_tf(prefix, classes=CLASSES, out=tmp_path / "out.bin")
