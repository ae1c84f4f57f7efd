"""Weights whose records are valid JSON and something else: refused by file and field, at once and without memory."""

import json
import os
import resource
import time
from dataclasses import asdict, replace

import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.extractors.covpool import CovPoolFER, load_covpool, save_covpool
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.forms import load_generator, make_generator, read_training, save_generator
from fsrcache.models.weights import read_weights, write_weights
from fsrcache.presets import TRAINING, ExtractorConfig, MLPConfig, RRDBConfig

SHAPE = ExtractorConfig(side=16, stages=((6,), (8,)), spd_side=4, hidden=12, embedding=5)
TRAINED = {
    "config": asdict(TRAINING["best"]), "seed": 0, "store": {"pictures": "0a"}, "scales": [1, 2],
    "channels": 3, "degradation": None,
    "device": "cpu", "precision": "fp32", "threads": 1, "plain": False, "order": "drawn", "steps": 7,
}  # fmt: skip
FORM = FeatureForm(36, 8)
MISSING = object()
LARGE = 2**20  # kilobytes


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forged")
    save_covpool(folder / "extractor", CovPoolFER(SHAPE, ("a", "b")).eval(), training={"epochs": 1, "seed": 3})
    for name, config in (
        ("mlp", MLPConfig(width=8, blocks=1, rank=2, members=2)),
        ("rrdb", RRDBConfig(filters=4, growth=2, blocks=1)),
    ):
        training = {**TRAINED, "config": asdict(replace(TRAINING["best"], generator=config))}
        save_generator(folder / name, make_generator(config, FORM), features=FORM, training=training)
    return folder


def forged(files, name, path, changes):
    """Write a file again with some fields of its record changed, each by its name with dots."""
    kind = "extractor" if name == "extractor" else "generator"
    tensors, record = read_weights(files / name, kind=kind)
    record = json.loads(json.dumps(record))
    for field, value in changes.items():
        *parents, last = field.split(".")
        inner = record
        for parent in parents:
            inner = inner[parent]
        if value is MISSING:
            del inner[last]
        else:
            inner[last] = value
    write_weights(path, tensors, kind=kind, record=record)
    return load_covpool if kind == "extractor" else load_generator


@pytest.mark.parametrize("name", ["extractor", "mlp", "rrdb"])
def test_what_is_not_changed_is_read(files, tmp_path, name):
    load = forged(files, name, tmp_path / "file", {})
    load(tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("extractor", "classes", MISSING, "classes is missing"),
        ("extractor", "classes", None, "classes is None"),
        ("extractor", "classes", "ab", "classes is 'ab'; it should be a list"),
        ("extractor", "classes", ["a", 3], r"classes\[1\] is 3; it should be text"),
        ("extractor", "classes", ["a", "a"], "classes are .'a', 'a'."),
        ("extractor", "classes", [], r"classes are \(\)"),
        ("extractor", "classes", ["a"] + [str(i) for i in range(10**5)], "tensors are not those of its record"),
        ("extractor", "classes", ["a", "\ud800"], r"classes\[1\] is '\\ud800'"),
        ("extractor", "config", MISSING, "config is missing"),
        ("extractor", "config", None, "config is None"),
        ("extractor", "config", [1], r"config is \[1\]"),
        ("extractor", "config.side", "16", "config.side is '16'"),
        ("extractor", "config.side", 10**9, "config.side is 1000000000"),
        ("extractor", "config.hidden", 10**9, "config.hidden is 1000000000"),
        ("extractor", "config.hidden", 60_000, "tensors are not those of its record: head.embed.0.weight is F32"),
        ("extractor", "config.hidden", -3, "config.hidden is -3"),
        ("extractor", "config.ridge", "x", "config.ridge is 'x'"),
        ("extractor", "config.stages", [[8] * 10**5], "stages has 100,000 convolutions"),
        ("extractor", "config.stages", [[8] * 100], "asks for 100 layers"),
        ("extractor", "config.stages", 5, "config.stages is 5"),
        ("extractor", "config.stages", [[6], 8], r"config.stages\[1\] is 8"),
        ("extractor", "config.spd_side", 9, "side is 9"),
        ("extractor", "config.depth", 3, "config.depth is unknown"),
        ("extractor", "preprocessing", "none", "prepared as 'none'"),
        ("extractor", "training", MISSING, "training is missing"),
        ("extractor", "training", None, "training is None"),
        ("extractor", "training.epochs", None, "training.epochs is None"),
        ("extractor", "training.seed", 2**64, "training.seed is 18446744073709551616"),
        ("extractor", "training.scales", 3, "training.scales is 3"),
        ("extractor", "training.more", 3, "training.more is unknown"),
        ("extractor", "more", {}, "more is unknown"),
        ("mlp", "training.config.generator", MISSING, "training.config.generator is missing"),
        ("mlp", "training.config.generator.form", MISSING, "training.config.generator.form is missing"),
        ("mlp", "training.config.generator.form", ["mlp"], r"training.config.generator.form is \['mlp'\]"),
        ("mlp", "training.config.generator.form", "rrdb", "training.config.generator.filters is missing"),
        ("mlp", "training.config.generator.blocks", 10**9, "training.config.generator.blocks is 1000000000"),
        ("mlp", "training.config.generator.blocks", 200, "asks for 402 layers"),
        ("mlp", "training.config.generator.members", 10**9, "training.config.generator.members is 1000000000"),
        ("mlp", "training.config.generator.members", 100, "asks for 200 layers"),
        ("mlp", "training.config.generator.members", 3, "tensors are not those of its record: members.2"),
        ("mlp", "training.config.generator.width", 2**16, "tensors are not those of its record"),
        ("mlp", "training.config.generator.dropout", -0.5, "training.config.generator.dropout is -0.5"),
        ("mlp", "length", MISSING, "length is missing"),
        ("mlp", "length", "36", "length is '36'"),
        ("mlp", "length", -1, "length is -1"),
        ("mlp", "length", 10**30, "length is 1000000000000000000000000000000"),
        ("mlp", "length", 35, "A feature of 35 numbers is no triangle of a 8 x 8 matrix"),
        ("mlp", "side", MISSING, "side is missing"),
        ("mlp", "side", "8", "side is '8'"),
        ("mlp", "side", 0, "side is 0"),
        ("mlp", "side", 10**9, "side is 1000000000"),
        ("mlp", "side", 9, "A feature of 36 numbers is no triangle of a 9 x 9 matrix"),
        ("mlp", "side", None, "tensors are not those of its record: members.0.3.0.bias is missing there and F32"),
        ("rrdb", "side", None, "The generator rrdb works on symmetric matrices"),
        ("mlp", "training", MISSING, "training is missing"),
        ("mlp", "training", "text", "training is 'text'"),
        ("mlp", "training.store", MISSING, "training.store is missing"),
        ("mlp", "training.seed", -1, "training.seed is -1"),
        ("mlp", "training.config", None, "training.config is None"),
        ("mlp", "training.config.critic", 3, "training.config.critic is 3"),
        ("mlp", "training.config.generator.members", 0, "training.config.generator.members is 0"),
        ("mlp", "training.config.averaging", "0", "training.config.averaging is '0'"),
        ("rrdb", "training.config.generator.blocks", 200, "asks for 201 layers"),
        ("rrdb", "training.config.generator.unshuffle", 3, "cannot be folded by 3"),
        ("rrdb", "training.config.generator.filters", 2**16, "tensors are not those of its record"),
    ],
)
def test_each_field_is_named(files, tmp_path, name, field, value, message):
    path = tmp_path / "file"
    load = forged(files, name, path, {field: value})
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(FsrcacheError, match=message) as error:
        load(path)
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < LARGE
    assert error.value.exit_code == 1
    assert str(path) in error.value.what
    assert len(str(error.value)) < 2000


def test_a_length_beyond_the_tensors_is_refused(files, tmp_path):
    load = forged(files, "mlp", tmp_path / "file", {"length": 2048 * 2049 // 2, "side": 2048})
    with pytest.raises(
        FsrcacheError, match=r"tensors are not those of its record: deviation is F32 .36. there and F32"
    ):
        load(tmp_path / "file")


def test_a_training_at_no_scale_is_refused(files, tmp_path):
    tensors, record = read_weights(files / "mlp", kind="generator")
    record["training"]["scales"] = []
    write_weights(tmp_path / "f", tensors, kind="generator", record=record)
    with pytest.raises(FsrcacheError, match=r"f: training\.scales has no scale"):
        read_training(tmp_path / "f")


def test_a_record_nested_deep_is_refused(files, tmp_path):
    deep = []
    for _ in range(500):
        deep = [deep]
    load = forged(files, "mlp", tmp_path / "file", {"training": deep})
    with pytest.raises(FsrcacheError, match="file cannot be read: it is nested deeper than 32"):
        load(tmp_path / "file")


def test_a_tensor_of_another_type_is_refused(files, tmp_path):
    tensors, record = read_weights(files / "mlp", kind="generator")
    tensors["mean"] = tensors["mean"].double()
    write_weights(tmp_path / "file", tensors, kind="generator", record=record)
    with pytest.raises(FsrcacheError, match=r"mean is F64 \[36\] there and F32 \[36\] in its record"):
        load_generator(tmp_path / "file")


def test_loading_draws_no_chance_and_keeps_layouts(files):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model = load_covpool(files / "extractor")
    load_generator(files / "rrdb")
    assert torch.equal(torch.get_rng_state(), before)
    weights = model.trunk[0].weight
    assert weights.is_contiguous(memory_format=torch.channels_last)
    assert not model.trunk[1].weight.requires_grad
    assert weights.requires_grad


@pytest.mark.parametrize("what", ["pipe", "folder"])
def test_a_pipe_or_a_folder_is_no_file(tmp_path, what):
    os.mkfifo(tmp_path / what) if what == "pipe" else (tmp_path / what).mkdir()
    with pytest.raises(FsrcacheError, match=r"There is no extractor at .*; something else stands there"):
        load_covpool(tmp_path / what)


def test_tensors_that_share_memory_are_written_each_for_itself(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    tensors = {"whole": whole, "same": whole, "row": whole[1], "transposed": whole.T, "empty": whole[:0]}
    write_weights(tmp_path / "w", tensors, kind="network", record={})
    read, _ = read_weights(tmp_path / "w", kind="network")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
