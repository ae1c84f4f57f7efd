"""Training from a store that is streamed: true pairs, every face once an epoch, resumed anywhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig
from fsrcache.training.data.loader import load_cache
from fsrcache.training.data.stream import Stream
from fsrcache.training.run.estimate import estimate_training
from fsrcache.training.run.train import train_generator

CPU = torch.device("cpu")
CONFIG = replace(
    TRAINING["best"], generator=MLPConfig(width=32, blocks=1), critic=CriticConfig(filters=2), steps=48, batch=7,
    precision="fp32",
)  # fmt: skip


@pytest.fixture
def stream(store):
    made = Stream(store, {"train": ~store.held_out()}, count=11, seed=0)
    yield made
    made.close()


def test_pairs_are_the_stores(store, stream):
    kept = ~store.held_out()
    features = np.stack([store.features("train", scale)[:] for scale in store.scales])  # [S, n, P]
    early = np.stack([store.early("train", scale)[:] for scale in store.scales])
    embeddings, labels = store.embeddings("train")[:], store.labels("train")
    probabilities = np.stack([store.probabilities("train", scale)[:] for scale in store.scales])
    seen = []
    for step in range(3 * stream.shape[1] // 11):
        chosen = torch.from_numpy(np.random.default_rng(step).integers(0, 3, 11))
        pairs = stream.pairs(step, chosen)
        for i, scale_index in enumerate(chosen.tolist()):
            (row,) = np.flatnonzero((features[0] == pairs.features[0, i].numpy()).all(1) & kept)
            seen.append(row)
            assert np.array_equal(pairs.features[1, i], features[scale_index, row])
            assert np.array_equal(pairs.early[:, i], early[[0, scale_index], row])
            assert np.array_equal(pairs.embeddings[i], embeddings[row])
            assert int(pairs.labels[i]) == labels[row]
            assert pairs.probabilities[:, i].tolist() == probabilities[[0, scale_index], row, labels[row]].tolist()
            assert pairs.scales[:, i].tolist() == [1, store.scales[scale_index]]
    faces = stream.shape[1]
    assert sorted(seen[:faces]) == sorted(seen[faces : 2 * faces]) == np.flatnonzero(kept).tolist()
    assert seen[:faces] != seen[faces : 2 * faces]


def test_a_stream_goes_on_anywhere(stream):
    second = torch.ones(11, dtype=torch.int64)
    whole = [stream.pairs(step, second).features for step in range(60)]
    for step in (0, 33, 34, 16, 59):
        assert torch.equal(stream.pairs(step, second).features, whole[step])


def test_moments_are_those_of_a_cache(store, stream):
    cache = load_cache(store, "train", rows=np.flatnonzero(~store.held_out()), device=CPU)
    for streamed, cached in zip(stream.moments(), cache.moments(), strict=True):
        torch.testing.assert_close(streamed, cached)


def test_a_store_without_early_features_is_streamed_without(store, stream):
    without = Stream(store.without_early(), {"train": ~store.held_out()}, count=11, seed=0)
    chosen = torch.ones(11, dtype=torch.int64)
    pairs, wanted = without.pairs(0, chosen), stream.pairs(0, chosen)
    without.close()
    assert pairs.early.shape == (2, 11, 0)
    assert wanted.early.shape == (2, 11, store.spec.widths["early"])
    assert torch.equal(pairs.features, wanted.features)


def test_a_streamed_training_resumed_is_undisturbed(store, extractor, tmp_path, stop_after):
    whole = train_generator(store, extractor, CONFIG, folder=tmp_path / "a", device=CPU, cache="stream")
    assert whole.cache == "stream"
    with pytest.raises(KeyboardInterrupt):
        train_generator(
            store,
            extractor,
            CONFIG,
            folder=tmp_path / "b",
            device=CPU,
            cache="stream",
            checkpoint_seconds=0.0,
            on_progress=stop_after("training", 20),
        )
    with pytest.raises(FsrcacheError, match=r"batches are streamed, .*; the cache ram gives them in another order"):
        train_generator(store, extractor, CONFIG, folder=tmp_path / "b", device=CPU, cache="ram")
    resumed = train_generator(store, extractor, CONFIG, folder=tmp_path / "b", device=CPU, cache="stream")
    assert 0 < resumed.resumed_from < 48
    assert (tmp_path / "a/generator.safetensors").read_bytes() == (tmp_path / "b/generator.safetensors").read_bytes()
    ended = train_generator(store, extractor, CONFIG, folder=tmp_path / "b", device=CPU, cache="ram")
    assert ended.resumed_from == 48  # nothing is drawn, and so in no other order


def test_a_dry_run_streams_too(store, extractor):
    assert estimate_training(store, extractor, CONFIG, device=CPU, cache="stream").cache == "stream"
