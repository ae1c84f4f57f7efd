"""The way from faces to a table on a few drawn faces: each verb, resumed and refused."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation.evaluate import evaluate
from fsrcache.extraction.extract import extract as extract_from
from fsrcache.extraction.extract import sources
from fsrcache.extraction.features import features_of
from fsrcache.extractors.covpool import load_covpool
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.degrade import SCALE_FORM, Degradation, low_resolution_view
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.held_out import held_out
from fsrcache.models.weights import read_weights
from fsrcache.presets import TRAINING, CriticConfig, ExtractorConfig, MLPConfig, PretrainConfig, RRDBConfig, TrainConfig
from fsrcache.store.reader import FeatureStore
from fsrcache.store.verify import verify
from fsrcache.training.classifier.fine_tuning import fine_tune
from fsrcache.training.classifier.pretraining import pretrain
from fsrcache.training.run.checkpoint import run_lock
from fsrcache.training.run.train import train

CPU = torch.device("cpu")
EXTRACTOR = ExtractorConfig(side=24, stages=((8,), (12,)), spd_side=8, hidden=16, embedding=6)
SCHEDULE = PretrainConfig(epochs=2, batch=32)
MLP = replace(TRAINING["best"], generator=MLPConfig(width=32, blocks=1, members=2), steps=48, batch=16)
ADVERSARIAL = TrainConfig(
    generator=RRDBConfig(filters=4, growth=2, blocks=1, global_skip=True),
    critic=CriticConfig(filters=2),
    steps=12,
    batch=8,
)


def extract(faces, extractor, *, degradation=SCALE_FORM, **arguments):
    return extract_from(sources(faces, extractor, device=CPU, degradation=degradation), **arguments)


class StopError(Exception):
    """Raised by a on_progress in place of Ctrl-C."""


def stop_after(calls):
    """Return a on_progress that raises at its nth call."""
    seen = []

    def on_progress(progress):
        seen.append(progress)
        if len(seen) == calls:
            raise StopError

    return on_progress


@pytest.fixture(scope="module")
def faces():
    return usable_faces(list_faces(Path("drawn:280")), side=24)


@pytest.fixture(scope="module")
def workspace(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workspace")
    pretrain(faces, EXTRACTOR, SCHEDULE, target=folder / "extractor", folder=folder / "pre", device=CPU)
    extract(faces, folder / "extractor", store=folder / "store", scales=[2, 4], data="drawn faces")
    return folder


@pytest.fixture(scope="module")
def store(workspace):
    return FeatureStore(workspace / "store")


@pytest.mark.slow
def test_pretraining_resumed_is_pretraining_undisturbed(faces, workspace, tmp_path):
    def again(**more):
        return pretrain(faces, EXTRACTOR, SCHEDULE, target=tmp_path / "e", folder=tmp_path / "pre", device=CPU, **more)

    with pytest.raises(StopError):
        again(on_progress=stop_after(2))  # the first step of the second epoch
    record = again()
    assert record["resumed_from"] == 1
    assert record["epochs"] == 2
    assert (tmp_path / "e").read_bytes() == (workspace / "extractor").read_bytes()
    assert len((tmp_path / "pre/history.jsonl").read_text().splitlines()) == 2
    assert set(record["accuracy"]) == {"held-out", "val", "test"}
    with pytest.raises(FsrcacheError, match="seed is 0 there and 1 here"):
        again(seed=1)
    with pytest.raises(FsrcacheError, match=r"scales is \[1\] there and \[1, 4\] here"):
        again(scales=(1, 4))


def test_a_folder_has_one_training_at_a_time(faces, workspace, tmp_path):
    with run_lock(tmp_path):
        with pytest.raises(FsrcacheError, match="Another process is training in"):
            pretrain(faces, EXTRACTOR, SCHEDULE, target=tmp_path / "e", folder=tmp_path, device=CPU)
        with pytest.raises(FsrcacheError, match="Another process is training in"):
            fine_tune(faces, workspace / "extractor", target=tmp_path / "e", folder=tmp_path, scales=(1, 2),
                      degradation=SCALE_FORM, device=CPU, schedule=SCHEDULE)  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_pretraining_at_mixed_scales(faces, workspace, tmp_path):
    pretrain(faces, EXTRACTOR, SCHEDULE, target=tmp_path / "e", folder=tmp_path / "pre", device=CPU, scales=(1, 4))
    assert (tmp_path / "e").read_bytes() != (workspace / "extractor").read_bytes()
    assert read_weights(tmp_path / "e", kind="extractor")[1]["training"]["scales"] == [1, 4]


def test_the_map_is_orthonormal_after_training(workspace):
    bimap = load_covpool(workspace / "extractor").pool.bimap.weight
    assert (bimap @ bimap.mT - torch.eye(8)).abs().max() < 1e-5


def test_a_loss_that_is_not_finite_stops_pretraining(faces, tmp_path):
    wild = replace(SCHEDULE, learning_rate=1e30)
    with pytest.raises(FsrcacheError, match=r"cross-entropy became (nan|inf) in epoch"):
        pretrain(faces, EXTRACTOR, wild, target=tmp_path / "e", folder=tmp_path, device=CPU)
    assert not (tmp_path / "e").exists()


def test_a_row_of_the_store_is_the_extractors_answer(faces, workspace, store):
    model = open_extractor(workspace / "extractor")
    names = {name: row for row, name in enumerate(faces.names)}
    for row in (0, 5):
        face = names[store.ids("val")[row]]
        for scale in (1, 2, 4):
            answer = features_of(model, faces.batch(np.array([face])), scale=scale)
            # half precision, and a batch of one adds up in another order
            np.testing.assert_allclose(store.features("val", scale)[row], answer.features[0], rtol=1e-3, atol=2e-3)
            np.testing.assert_allclose(store.probabilities("val", scale)[row], answer.probabilities[0], atol=1e-4)
        assert store.labels("val")[row] == faces.labels[face]
    assert (store.features("val", 4)[:] != store.features("val", 1)[:]).any()
    assert 0 < store.held_out().sum() < 0.3 * len(store.labels("train"))


def test_an_extraction_goes_on_where_it_stopped(faces, workspace, store, tmp_path):
    arguments = {"store": tmp_path / "s", "data": "drawn faces"}
    with pytest.raises(StopError):
        extract(faces, workspace / "extractor", scales=[2, 4], on_progress=stop_after(6), **arguments)
    record = extract(faces, workspace / "extractor", scales=[2, 4], **arguments)
    assert 0 < record["resumed_from"] < record["blocks"]
    assert record["digest"] == store.digest
    for split in store.splits:
        for scale in store.scales:
            assert np.array_equal(
                FeatureStore(tmp_path / "s").features(split, scale)[:], store.features(split, scale)[:]
            )
    with pytest.raises(FsrcacheError, match=r"digests\.preprocessing"):
        extract(faces, workspace / "extractor", scales=[2], degradation=Degradation(jpeg=50), **arguments)


def test_threads_change_no_byte_and_a_picture_is_decoded_once(faces, workspace, files, tmp_path):
    before = torch.get_num_threads()
    for threads in (1, 3):
        loads = Counter()

        def load(i, loads=loads):
            loads[i] += 1
            return faces.listing.load(i)

        torch.set_num_threads(threads)
        try:
            watched = replace(faces, listing=replace(faces.listing, load=load))
            extract(watched, workspace / "extractor", scales=[2, 4], store=tmp_path / str(threads), data="drawn faces")
            with ThreadPoolExecutor(1) as pool:  # in a thread that begins afterwards as well as here
                assert {torch.get_num_threads(), pool.submit(torch.get_num_threads).result()} == {threads}
        finally:
            torch.set_num_threads(before)
        assert loads == Counter(faces.rows.tolist())
    assert files(tmp_path / "1") == files(tmp_path / "3")


def test_a_store_is_of_the_pictures_wherever_they_lie(workspace, faces, files, tmp_path):
    rows = np.concatenate([np.flatnonzero(faces.labels == label)[:6] for label in range(len(faces.classes))])
    for place, row in enumerate(rows):
        path = tmp_path / "here/train" / faces.classes[faces.labels[row]] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces.batch(np.array([row]))[0]).save(path)
    (tmp_path / "else").mkdir()
    for file in sorted((tmp_path / "here").rglob("*.png"), reverse=True):  # in another order of the directory
        target = tmp_path / "else/there" / file.relative_to(tmp_path / "here")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    for name, folder in (("one", "here"), ("two", "else/there")):
        moved = usable_faces(list_faces(tmp_path / folder), side=24)
        extract(moved, workspace / "extractor", store=tmp_path / name, scales=[2], data="faces")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert verify(tmp_path / "two").ok


@pytest.mark.parametrize("other", [{"form": "size"}, {"border": "mirror"}, {"jpeg": 30}])
def test_every_option_of_the_degradation_changes_the_view(faces, other):
    pictures = faces.batch(np.arange(2))
    plain = low_resolution_view(pictures, 5)
    view = low_resolution_view(pictures, 5, Degradation(**other))
    assert view.shape == plain.shape == pictures.shape
    assert (view != plain).any()


@pytest.mark.parametrize("config", [MLP, ADVERSARIAL], ids=["best", "adversarial"])
def test_training_resumed_is_training_undisturbed(workspace, store, tmp_path, config):
    whole = train(store, workspace / "extractor", config, folder=tmp_path / "a", device=CPU)
    with pytest.raises(StopError):
        train(
            store, workspace / "extractor", config,
            folder=tmp_path / "b", device=CPU, on_progress=stop_after(6), checkpoint_seconds=0.0,
        )  # fmt: skip
    resumed = train(store, workspace / "extractor", config, folder=tmp_path / "b", device=CPU)
    assert 0 < resumed["resumed_from"] < config.steps
    assert resumed["held_out_accuracy"] == whole["held_out_accuracy"]
    one, other = ((tmp_path / name / "generator.safetensors").read_bytes() for name in "ab")
    assert one == other
    histories = []
    for name in "ab":
        lines = [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        histories.append([{key: value for key, value in line.items() if key != "seconds"} for line in lines])
    assert histories[0] == histories[1]
    with pytest.raises(FsrcacheError, match=r"config\.batch is \d+ there and 7 here"):
        train(store, workspace / "extractor", replace(config, batch=7), folder=tmp_path / "b", device=CPU)


def test_training_lowers_its_loss(workspace, store, tmp_path):
    config = replace(MLP, perceptual_weight=0.0, distillation_weight=0.0, reweight="none", learning_rate=1e-2)
    train(store, workspace / "extractor", config, folder=tmp_path, device=CPU)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert sum(line["l2"] for line in lines[-5:]) < 0.9 * sum(line["l2"] for line in lines[:5])


@pytest.mark.parametrize("reweight", ["lr", "hr", "sr", "sr_grad", "none"])
def test_every_source_of_the_weights_trains_otherwise(workspace, store, tmp_path, reweight):
    config = replace(ADVERSARIAL, steps=2, reweight=reweight, reweight_critic=True, l2_steps=1)
    train(store, workspace / "extractor", config, folder=tmp_path, device=CPU)
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert set(lines[0]) == {"step", "l2", "learning_rate", "held_out_accuracy", "seconds"} - {"held_out_accuracy"}
    assert {"critic", "penalty", "adversarial", "perceptual", "l2"} <= set(lines[1])


def test_a_term_that_is_not_finite_stops_training_and_nothing_is_written(workspace, store, tmp_path):
    wild = replace(ADVERSARIAL, learning_rate=1e30, milestones=())
    with pytest.raises(FsrcacheError, match=r"term was not finite at step \d+"):
        train(store, workspace / "extractor", wild, folder=tmp_path, device=CPU)
    assert not (tmp_path / "generator.safetensors").exists()
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_training_with_other_weights_is_refused(faces, store, tmp_path):
    pretrain(faces, EXTRACTOR, replace(SCHEDULE, epochs=1), target=tmp_path / "e", folder=tmp_path, device=CPU, seed=3)
    with pytest.raises(FsrcacheError, match="was written with other weights"):
        train(store, tmp_path / "e", MLP, folder=tmp_path / "run", device=CPU)


@pytest.fixture(scope="module")
def trained(workspace, store):
    train(store, workspace / "extractor", MLP, folder=workspace / "run", device=CPU)
    return workspace / "run/generator.safetensors"


@pytest.fixture(scope="module")
def fine_tuned(faces, workspace, store):
    target = workspace / "tuned"
    schedule = PretrainConfig(epochs=1, batch=32, learning_rate=1e-3)
    record = fine_tune(
        faces, workspace / "extractor", target=target, folder=workspace / "tuning", scales=store.scales,
        device=CPU, schedule=schedule,
    )  # fmt: skip
    assert record["epochs"] == 1
    extract(faces, target, store=workspace / "tuned.zarr", scales=store.scales, data="drawn faces")
    return FeatureStore(workspace / "tuned.zarr"), target


def test_the_table(workspace, store, trained, fine_tuned):
    table = evaluate(store, workspace / "extractor", generator=trained, device=CPU, fine_tuned=fine_tuned)
    assert table.split == "test"
    keys = {(score.row, score.head, score.scale) for score in table.rows}
    rows, heads = ("bicubic", "fine-tuned", "FSR-FER"), ("frozen", "refit-mlp", "refit-linear")
    assert keys == {(row, head, scale) for row in rows for head in heads for scale in (1, 2, 4)}
    labels = store.labels("test")
    for score in table.rows:
        assert score.n == len(labels)
        if (score.row, score.head) == ("bicubic", "frozen"):  # the cached probabilities say the same
            cached = store.probabilities("test", score.scale)[:].argmax(1)
            assert score.accuracy == pytest.approx(100 * (cached == labels).mean(), abs=100 / len(labels))
    assert "held out" in table.context.data
    assert "last step" in table.context.checkpoint
    assert table.context.generator.startswith("mean of 2 MLPs, 48 steps of 16, no critic")
    assert table.context.extractor.endswith("pre-trained for 2 epochs at full resolution alone, seed 0")
    assert evaluate(
        store, workspace / "extractor", generator=trained, device=CPU, split="val", heads=["frozen"]
    ).split == "val"  # fmt: skip


def test_a_table_of_another_store_is_refused(faces, workspace, trained, tmp_path):
    extract(faces, workspace / "extractor", store=tmp_path / "s", scales=[3], data="drawn faces")
    with pytest.raises(FsrcacheError, match="trained on another store"):
        evaluate(FeatureStore(tmp_path / "s"), workspace / "extractor", generator=trained, device=CPU)


def test_the_held_out_tenth_is_of_the_picture_alone(faces):
    hashes = faces.hashes
    chosen = held_out(hashes)
    assert np.array_equal(held_out(hashes[::-1]), chosen[::-1])
    many = np.random.default_rng(0).integers(0, 256, (20000, 16)).astype(np.uint8)
    assert 0.09 < held_out(many).mean() < 0.11
