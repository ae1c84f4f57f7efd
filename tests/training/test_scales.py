"""A training on some of a store's scales: it is that of a store with these alone, and other scales are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fsrcache.cli.main import group
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.generators.forms import read_training
from fsrcache.store.reader import FeatureStore
from fsrcache.training.data.loader import load_cache
from fsrcache.verbs.sweep import sweep
from fsrcache.verbs.train import estimate_train, train

SETTINGS = ("generator.width=8", "generator.rank=0", "batch=16")


def trained(workspace, steps=4, **options):
    return train(workspace, preset="best", steps=steps, settings=SETTINGS, device="cpu", **options)


def test_a_store_at_some_of_its_scales(store):
    some = store.at_scales([4])
    assert (some.scales, store.scales) == ((1, 4), (1, 2, 4))
    assert some.spec.content_digests == store.spec.content_digests
    rows = np.arange(50)
    cache = load_cache(some, "train", rows=rows, device="cpu")
    assert cache.scales[:, 0].tolist() == [1, 4]
    for features, scale in zip(cache.features, (1, 4), strict=True):
        assert np.array_equal(features, store.features("train", scale)[rows])
    with pytest.raises(FsrcacheError, match=r"has no scale 2; it has 1, 4\."):
        some.features("train", 2)


@pytest.mark.parametrize("cache", ["ram", "stream"])
def test_training_at_one_scale(workspace, cache):
    result = trained(workspace, scales=[4], cache=cache)
    assert list(result.held_out_accuracy) == ["1", "4"]
    assert read_training(workspace.run("default") / "generator.safetensors")["scales"] == (1, 4)
    trained(workspace, cache=cache, name="all")
    one, every = ((workspace.run(name) / "generator.safetensors").read_bytes() for name in ("default", "all"))
    assert one != every
    assert trained(workspace, scales=[1, 4], cache=cache).resumed_from == 4
    assert trained(workspace, cache=cache).resumed_from == 4  # a run keeps its scales
    with pytest.raises(FsrcacheError, match="scales"):
        trained(workspace, scales=[2, 4], cache=cache)  # another run
    estimate = estimate_train(workspace, preset="best", settings=SETTINGS, scales=[4], name="new", device="cpu")
    cached = estimate.memory["cache"]
    whole = estimate_train(workspace, preset="best", settings=SETTINGS, name="new", device="cpu").memory["cache"]
    assert cached < whole


def test_a_run_goes_on_at_its_scales_when_the_store_gets_more(workspace, extractor, tmp_path, stop_after, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.due._CHECKPOINT_SECONDS", 0.0)
    whole = trained(workspace, name="whole", steps=40)
    with pytest.raises(KeyboardInterrupt):
        trained(workspace, steps=40, on_progress=stop_after("training", 12))
    swept = {"preset": "best", "steps": 40, "settings": SETTINGS, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        sweep(workspace, on_progress=stop_after("run 1 of 1: training", 12), **swept)
    shutil.copytree(workspace.store.resolve(), tmp_path / "store")
    source = face_source(usable_faces(list_faces(Path("drawn:280")), side=24), extractor, device=torch.device("cpu"))
    extract_features(source, store=tmp_path / "store", scales=[3], data="drawn faces")
    workspace.store.unlink()
    workspace.store.symlink_to(tmp_path / "store")
    assert FeatureStore(workspace.store).scales == (1, 2, 3, 4)
    assert 0 < trained(workspace, steps=40).resumed_from < 40
    (one,) = sweep(workspace, **swept).runs
    assert list(one.held_out_accuracy) == ["1", "2", "4"]
    with pytest.raises(RequestError) as refused:
        sweep(workspace, seeds=2, **swept)
    assert refused.value.what == (
        f"The runs of the sweep would learn from different parts of the store: {one.name} has scales 1, 2, 4; "
        f"{one.name[:-1]}1 has scales 1, 2, 3, 4. Nothing was trained."
    )
    assert not workspace.run(f"{one.name[:-1]}1").exists()
    two = sweep(workspace, seeds=2, name="two", **swept).runs
    assert [list(run.held_out_accuracy) for run in two] == [["1", "2", "3", "4"]] * 2
    expected = Path(whole.generator).read_bytes()
    assert all(
        (workspace.run(name) / "generator.safetensors").read_bytes() == expected for name in ("default", one.name)
    )


@pytest.mark.parametrize(
    ("scales", "error", "words"),
    [
        ([3], RequestError, r"has no scale 3; it has 1, 2, 4\."),
        ([1], RequestError, r"(?s)The scales to train on are \[1\].*scales=\[4\]"),
        ([], RequestError, r"The scales to train on are \[\]"),
        ("2", RequestError, r"scales\[0\] is '2'"),
        (2, RequestError, "scales is 2"),
    ],
)
def test_scales_that_are_refused(workspace, scales, error, words):
    with pytest.raises(error, match=words):
        trained(workspace, scales=scales)
    assert not workspace.run("default").exists()


def test_the_option(workspace):
    words = ["train", "--workspace", workspace.folder, "--preset", "best", "--steps", 2, "--scales", 2, "--json"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    done = CliRunner().invoke(group, list(map(str, words)))
    assert done.exit_code == 0, done.output
    assert list(json.loads(done.stdout)["held_out_accuracy"]) == ["1", "2"]
    assert FeatureStore(workspace.store).scales == (1, 2, 4)
