"""The table of a workspace: rows over their seeds, predictions that are computed once, and what is refused."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.evaluation import scoring
from fsrcache.evaluation.evaluate import evaluate_predictors
from fsrcache.evaluation.formats import to_csv
from fsrcache.evaluation.predictions import KIND, VERSION, read_predictions, write_predictions
from fsrcache.evaluation.predictor import Predictor
from fsrcache.extraction.extract import extract_features
from fsrcache.extraction.source import face_source
from fsrcache.extractors.covpool import CovPoolFER, load_covpool, save_covpool
from fsrcache.extractors.opening import open_extractor
from fsrcache.faces.degrade import Degradation
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.models.generators.forms import load_generator
from fsrcache.models.weights import read_weights, write_weights
from fsrcache.rows import generated
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.train import train_generator
from fsrcache.verbs.evaluate import evaluate

ONE = "FSR-FER, one of 2"
HEADS = ("frozen", "refit-mlp", "refit-linear")


def accuracies(table, row, head="frozen"):
    return {score.scale: score.accuracy for score in table.rows if (score.row, score.head) == (row, head)}


@pytest.fixture
def computed(monkeypatch):
    """Count the heads whose probabilities are computed, and the heads that are fitted."""
    calls = []
    for name in ("probabilities_of", "refit_linear", "refit_mlp"):
        original = getattr(scoring, name)

        def counted(*arguments, name=name, original=original, **options):
            calls.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(scoring, name, counted)
    return calls


def test_every_row_head_and_scale(workspace):
    table = evaluate(workspace, names=["a"], device="cpu")
    keys = [(score.head, score.row, score.scale) for score in table.rows]
    rows = dict.fromkeys(HEADS, ("bicubic", "FSR-FER", ONE)) | {"frozen": ("majority", "bicubic", "FSR-FER", ONE)}
    assert keys == [(head, row, scale) for head in HEADS for row in rows[head] for scale in (1, 2, 4)]
    assert (table.split, len(table.classes), table.side) == ("test", 7, 16)
    store = FeatureStore(workspace.store)
    labels = store.labels("test")
    for scale, accuracy in accuracies(table, "bicubic").items():  # the cached probabilities say the same
        cached = store.probabilities("test", scale)[:].argmax(1)
        assert accuracy == pytest.approx(100 * (cached == labels).mean(), abs=100 / len(labels))
    assert "held out" in table.context.data
    assert table.context.extractor.endswith("pre-trained for 0 epochs at unknown scales, seed 4")
    assert "last step" in table.context.checkpoint
    assert (
        table.context.generator
        == "mean of 2 MLPs, 6 steps of 8, no critic, weights from coarse faces, early features read"
    )
    assert table.context.seeds == "FSR-FER 0; re-fitted heads 0"
    changes = "generator.rank=2, generator.dropout=0.1, generator.noise=0.0, steps=6, batch=8, learning_rate=0.05"
    assert table.context.settings == f"preset tiny with generator.width=16, {changes}"
    assert f"settings: {table.context.settings}" in to_csv(table)
    assert set(table.context.rows) == {"majority", "bicubic", "FSR-FER", ONE}
    assert {score.row: score.members for score in table.rows} == {"majority": 1, "bicubic": 1, "FSR-FER": 2, ONE: 1}
    score = next(score for score in table.rows if score.row == "FSR-FER")
    assert (score.seed, score.seeds, score.deviation) == (0, (0,), None)
    assert evaluate(workspace, names=["a"], split="val", heads=["frozen"], device="cpu").split == "val"


def test_a_run_that_went_on_under_other_threads_is_said(workspace):
    file = workspace.run("a") / "generator.safetensors"
    tensors, record = read_weights(file, kind="generator")
    record["training"] |= {"threads": 2, "earlier_threads": [4, 1]}
    write_weights(file, tensors, kind="generator", record=record)
    table = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    assert table.context.checkpoint.endswith(
        "; trained on 4, then 1, then 2 threads, so not the bytes of an uninterrupted run"
    )


def test_runs_that_differ_in_their_seed_alone_are_one_row(workspace):
    single = [evaluate(workspace, names=[name], device="cpu") for name in ("a", "b", "other")]
    table = evaluate(workspace, names=["a", "b", "other"], device="cpu")
    assert table.order[:2] == ("majority", "bicubic")
    assert table.order[-2:] == ("FSR-FER", "FSR-FER (other)")
    assert table.context.seeds == "FSR-FER 0, 1; FSR-FER (other) 0; re-fitted heads 0"
    differing = 0
    for head in HEADS:
        for scale, accuracy in accuracies(table, "FSR-FER", head).items():
            both = [accuracies(one, "FSR-FER", head)[scale] for one in single[:2]]
            score = next(
                one for one in table.rows if (one.row, one.head, one.scale) == ("FSR-FER", head, scale)
            )  # fmt: skip
            assert accuracy == pytest.approx(mean(both))
            assert score.deviation == pytest.approx(stdev(both))
            assert (score.seed, score.seeds) == (None, (0, 1))
            differing += both[0] != both[1]
        assert accuracies(table, "FSR-FER (other)", head) == accuracies(single[2], "FSR-FER", head)
    assert differing
    first = evaluate(workspace, names=["other", "b"], heads=["frozen"], device="cpu")
    assert accuracies(first, "FSR-FER") == accuracies(single[2], "FSR-FER")
    assert "FSR-FER (b)" in {score.row for score in first.rows}


def test_one_of_a_generators_networks_is_a_row_of_its_own(workspace):
    table = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    generator, _ = load_generator(workspace.run("a") / "generator.safetensors")
    store, head = FeatureStore(workspace.store), load_covpool(workspace.extractor).head
    labels = store.labels("test")
    whole, alone = (
        read_weights(workspace.predictions / f"FSR-FER/{name}/test-frozen.safetensors", kind=KIND)[0]
        for name in ("a", "a/one")
    )
    for scale, accuracy in accuracies(table, ONE).items():
        features, early = (torch.from_numpy(one("test", scale)[:]).float() for one in (store.features, store.early))
        with torch.no_grad():
            residual = generator.members[0]((torch.cat([features, early], 1) - generator.mean) / generator.deviation)
            deviation = generator.deviation[: features.shape[1]]
            expected = head((features + residual * deviation).half().float())[1].softmax(1)
        torch.testing.assert_close(alone[f"x{scale}"], expected, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(whole[f"x{scale}"], expected, rtol=1e-3, atol=1e-4)
        assert accuracy == pytest.approx(100 * (alone[f"x{scale}"].argmax(1).numpy() == labels).mean())
    assert ONE not in table.context.seeds


def test_three_seeds_of_one_network_are_also_shown_as_their_mean(workspace, prepared_runs):
    config = replace(prepared_runs["a"][0], generator=replace(prepared_runs["a"][0].generator, members=1))
    for seed in (0, 1, 2):
        train_generator(
            FeatureStore(workspace.store), workspace.extractor, config, folder=workspace.run(f"s{seed}"), seed=seed,
            device=torch.device("cpu"),
        )  # fmt: skip
    table = evaluate(workspace, names=["s0", "s1", "s2"], heads=["frozen", "refit-linear"], device="cpu")
    labels = FeatureStore(workspace.store).labels("test")
    for head, file in (("frozen", "test-frozen"), ("refit-linear", "test-refit-linear-seed-0")):
        kept = [read_weights(workspace.predictions / f"FSR-FER/s{seed}/{file}.safetensors", kind=KIND)[0]
                for seed in (0, 1, 2)]  # fmt: skip
        for scale in (1, 2, 4):
            mean = sum(one[f"x{scale}"] for one in kept) / 3
            score = next(
                one for one in table.rows
                if (one.label, one.head, one.scale) == ("FSR-FER, mean of 3", head, scale)
            )  # fmt: skip
            assert score.accuracy == pytest.approx(100 * (mean.argmax(1).numpy() == labels).mean())
            assert (score.row, score.members, score.seeds, score.seed) == ("FSR-FER", 3, (0, 1, 2), None)
    against = evaluate(
        workspace, names=["s0", "s1", "s2"], heads=["frozen"], against="FSR-FER, mean of 3", device="cpu"
    )  # fmt: skip
    p_values = {score.label: score.mcnemar_p for score in against.rows}
    assert p_values["FSR-FER, mean of 3"] is None
    assert p_values["bicubic"] is not None


def test_a_table_without_a_generator(workspace):
    table = evaluate(workspace, heads=["frozen"], device="cpu")
    assert {score.row for score in table.rows} == {"majority", "bicubic"}
    assert table.context.generator == "none"
    assert table.context.notes[-1] == "No row FSR-FER: no run was named, and there is no run default, but a, b, other."
    with pytest.raises(RequestError, match="no trained generator 'default'"):
        evaluate(workspace, names=["default"], heads=["frozen"], device="cpu")
    shutil.move(workspace.run("a"), workspace.run("default"))
    table = evaluate(workspace, heads=["frozen"], device="cpu")
    assert {score.row for score in table.rows} == {"majority", "bicubic", "FSR-FER", ONE}


def test_a_row_to_compare_with_that_is_not_there_is_refused_before_any_work(workspace, computed):
    with pytest.raises(RequestError, match="no row 'ridge'") as caught:
        evaluate(workspace, names=["a"], against="ridge", device="cpu")
    assert caught.value.remedy == f"Choose from majority; bicubic; FSR-FER; {ONE}."
    assert not computed


def test_two_runs_of_one_seed_are_refused(workspace):
    shutil.copytree(workspace.run("a"), workspace.run("again"))
    with pytest.raises(RequestError, match="a and again have the same settings and the same seed, 0"):
        evaluate(workspace, names=["a", "again"], device="cpu")
    assert evaluate(workspace, names=["a", "a"], heads=["frozen"], device="cpu").rows  # named twice is named once


def test_a_second_call_computes_nothing(workspace, computed):
    first = evaluate(workspace, names=["a", "b"], device="cpu")
    assert computed.count("probabilities_of") == 5 * 3 * 3  # rows, heads, scales
    assert (computed.count("refit_mlp"), computed.count("refit_linear")) == (5, 5)
    computed.clear()
    assert evaluate(workspace, names=["a", "b"], device="cpu") == first
    assert not computed
    evaluate(workspace, names=["a", "b", "other"], device="cpu")
    assert computed.count("probabilities_of") == 2 * 3 * 3


@pytest.mark.parametrize(
    ("changes", "heads"),
    [({"seed": 1}, {"refit-mlp", "refit-linear"}), ({"split": "val"}, set(HEADS))],
)  # fmt: skip
def test_another_seed_or_split_is_another_prediction(workspace, computed, changes, heads):
    evaluate(workspace, names=["a"], device="cpu")
    computed.clear()
    evaluate(workspace, names=["a"], device="cpu", **changes)
    assert computed.count("probabilities_of") == 3 * 3 * len(heads)
    computed.clear()
    evaluate(workspace, names=["a"], device="cpu")
    assert not computed


def test_other_weights_of_a_generator_are_computed_again(workspace, computed):
    before = evaluate(workspace, names=["a"], device="cpu")
    file = workspace.run("a") / "generator.safetensors"
    tensors, record = read_weights(file, kind="generator")
    tensors["deviation"] *= 9  # the record, its seed among it, stays
    write_weights(file, tensors, kind="generator", record=record)
    computed.clear()
    after = evaluate(workspace, names=["a"], device="cpu")
    assert computed.count("probabilities_of") == 2 * 3 * 3
    assert after.rows[:3] == before.rows[:3]
    assert after.rows != before.rows


@pytest.mark.parametrize("damage", ["cut", "flipped", "no file of ours"])
def test_a_damaged_prediction_is_computed_again_with_a_note(workspace, computed, damage):
    notes = []
    first = evaluate(workspace, names=["a"], device="cpu")
    file = workspace.predictions / "FSR-FER/a/test-frozen.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        data[-3] ^= 1
    file.write_bytes({"cut": data[:-9], "flipped": data, "no file of ours": b"x" * 100}[damage])
    computed.clear()
    again = evaluate(
        workspace, names=["a"], device="cpu", on_progress=lambda progress: notes.append(progress.note)
    )  # fmt: skip
    assert again == first
    assert computed == ["probabilities_of"] * 3
    assert [note for note in notes if note] == [note for note in notes if "test-frozen" in note]
    assert sum("It is computed again." in note for note in notes) == 1
    computed.clear()
    evaluate(workspace, names=["a"], device="cpu")
    assert not computed


def test_probabilities_are_kept_and_not_the_winner_alone(workspace):
    table = evaluate(workspace, names=["a"], device="cpu")
    store = FeatureStore(workspace.store)
    labels = store.labels("test")
    for head in ("frozen", "refit-mlp-seed-0", "refit-linear-seed-0"):
        tensors, record = read_weights(workspace.predictions / f"FSR-FER/a/test-{head}.safetensors", kind=KIND)
        assert set(tensors) == {"x1", "x2", "x4"}
        assert record["source"]["version"] == VERSION
        for scale in store.scales:
            kept = tensors[f"x{scale}"]
            assert (kept.dtype, tuple(kept.shape)) == (torch.float32, (len(labels), 7))
            assert torch.allclose(kept.sum(1), torch.ones(len(labels)))
            accuracy = 100 * (kept.argmax(1).numpy() == labels).mean()
            assert accuracy == accuracies(table, "FSR-FER", head.removesuffix("-seed-0"))[scale]


def test_another_version_is_computed_again(tmp_path, monkeypatch):
    file, values = tmp_path / "p", {1: np.eye(2, dtype=np.float32)}
    write_predictions(file, values, source={"store": "a"})
    read = read_predictions(file, source={"store": "a"}, scales=(1,), shape=(2, 2))
    assert np.array_equal(read[1], values[1])
    assert read_predictions(file, source={"store": "b"}, scales=(1,), shape=(2, 2)) is None
    with pytest.raises(FsrcacheError, match="is damaged"):
        read_predictions(file, source={"store": "a"}, scales=(1, 2), shape=(2, 2))
    monkeypatch.setattr("fsrcache.evaluation.predictions.VERSION", VERSION + 1)
    assert read_predictions(file, source={"store": "a"}, scales=(1,), shape=(2, 2)) is None


def test_a_table_of_another_store_or_extractor_is_refused(workspace):
    faces = usable_faces(list_faces(Path("drawn:140")), side=16)
    border = Degradation(border="mirror")
    source = face_source(faces, workspace.extractor, device=torch.device("cpu"), degradation=border)
    elsewhere = workspace.folder / "other.zarr"
    extract_features(source, store=elsewhere, scales=[2, 4], data="drawn faces")
    with pytest.raises(
        FsrcacheError,
        match=r"a/generator\.safetensors was trained on another store than .*zarr, of other preprocessing, recipe\.\n",
    ):
        evaluate(workspace, store=elsewhere, names=["a"], device="cpu")
    model = load_covpool(workspace.extractor)
    other = CovPoolFER(model.config, model.classes, generator=torch.Generator().manual_seed(9)).eval()
    save_covpool(workspace.extractor, other, training={})
    with pytest.raises(FsrcacheError, match="was written with other weights of CovPoolFER"):
        evaluate(workspace, names=["a"], device="cpu")


def test_what_was_not_trained_is_named(workspace):
    with pytest.raises(RequestError, match=r"no trained generator 'c'.*there is a, b, other"):
        evaluate(workspace, names=["a", "c"], device="cpu")


@pytest.mark.parametrize("split", ["train", "nope"])
def test_any_split_but_val_and_test_is_a_wrong_request(workspace, split):
    with pytest.raises(RequestError, match=rf"(?s)The split is '{split}'\..*Choose from test, val"):
        evaluate(workspace, names=["a"], split=split, device="cpu")


def test_what_to_do_where_a_run_has_no_generator(workspace):
    def remedy(name):
        with pytest.raises(RequestError) as caught:
            evaluate(workspace, names=[name], device="cpu")
        return caught.value.remedy

    assert remedy("c") == "Name one of these: `names=['a']`."  # which may be a slip of the pen
    Path(workspace.run("a") / "generator.safetensors").unlink()
    begun = remedy("a")
    assert begun.startswith(f"Train it to its end by the command that began it; `fsrcache.runs('{workspace.folder}')`")
    assert begun.endswith("Name one of these: `names=['b']`.")
    shutil.rmtree(workspace.folder / "runs")
    assert remedy("c") == f"Train one first: `fsrcache.train('{workspace.folder}')`."


def test_seeds_of_other_settings_are_not_averaged(workspace):
    store, extractor = FeatureStore(workspace.store), open_extractor(workspace.extractor_source)
    shape = len(store.labels("test")), 7

    def predictor(seed, settings):
        return Predictor(
            row="r", name=f"r/{seed}", source={}, seed=seed, probabilities=lambda *_: np.ones(shape, np.float32),
            facts={"settings": settings},
        )  # fmt: skip

    same = [predictor(0, "preset best"), predictor(1, "preset best")]
    table = evaluate_predictors(store, extractor, same, device=torch.device("cpu"))
    assert table.context.settings == "preset best"
    other = [same[0], predictor(1, "preset best with steps=7")]
    message = "The row r has trainings of different settings: r/0 has preset best, r/1 preset best with steps=7."
    with pytest.raises(RequestError, match=re.escape(message)):
        evaluate_predictors(store, extractor, other, device=torch.device("cpu"))


def test_a_predictor_has_features_or_probabilities(workspace):
    extractor = open_extractor(workspace.extractor_source)

    def outputs(*_):
        return np.ones((3, 7), np.float32)

    whole = {"row": "r", "name": "r", "source": {}}
    Predictor(**whole, probabilities=outputs)
    Predictor(**whole, features=outputs, extractor=extractor)
    for wrong in (
        {},
        {"features": outputs},
        {"extractor": extractor},
        {"probabilities": outputs, "extractor": extractor},
        {"probabilities": outputs, "features": outputs, "extractor": extractor},
    ):
        with pytest.raises(RequestError, match="The predictor r has"):
            Predictor(**whole, **wrong)


def test_heads_are_not_re_fitted_on_more_features_than_the_memory_takes(workspace, computed, monkeypatch):
    shutil.rmtree(workspace.predictions, ignore_errors=True)
    monkeypatch.setattr("fsrcache.evaluation.evaluate.free_memory", lambda: 1000)
    with pytest.raises(FsrcacheError, match=r"re-fitted with [0-9.]+ MB .* and 0\.0 MB are free") as refused:
        evaluate(workspace, names=["a"], device="cpu")
    assert "heads=['frozen']" in refused.value.remedy
    assert computed == []
    assert {score.head for score in evaluate(workspace, names=["a"], heads=["frozen"], device="cpu").rows} == {"frozen"}


def test_without_the_frozen_head_no_face_is_an_example_and_nothing_is_calibrated(workspace):
    table = evaluate(workspace, heads=["refit-linear"], calibration=True, device="cpu")
    assert table.examples == ()
    assert table.calibration == "the frozen head was not scored"


def test_a_store_without_train_has_the_frozen_head_alone(workspace, monkeypatch):
    for path in (workspace.folder / "runs", workspace.predictions):
        shutil.rmtree(path, ignore_errors=True)
    monkeypatch.setattr(FeatureStore, "splits", ("test",))
    table = evaluate(workspace, device="cpu")
    assert {score.head for score in table.rows} == {"frozen"}
    assert "No re-fitted heads: the store has no train." in table.context.notes


def test_a_generator_that_is_replaced_while_it_is_scored_is_refused(workspace, monkeypatch):
    path = workspace.run("a") / "generator.safetensors"

    def replacing(*arguments, **options):
        path.write_bytes((workspace.run("b") / path.name).read_bytes())
        return load_generator(*arguments, **options)

    monkeypatch.setattr(generated, "load_generator", replacing)
    with pytest.raises(FsrcacheError, match="was trained anew while it was scored"):
        evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    assert not list(workspace.predictions.glob("FSR-FER/*"))


def test_predictions_that_do_not_fit_the_split_are_refused(workspace):
    store, extractor = FeatureStore(workspace.store), open_extractor(workspace.extractor_source)
    one = Predictor(row="r", name="r", source={}, probabilities=lambda *_: np.ones((3, 7), np.float32))
    with pytest.raises(FsrcacheError, match=r"r predicts \[3, 7\] at scale 1"):
        evaluate_predictors(store, extractor, [one], device=torch.device("cpu"))
    count = len(store.labels("test"))
    bad = replace(one, probabilities=lambda *_: np.full((count, 7), np.nan, np.float32))
    with pytest.raises(FsrcacheError, match="not finite"):
        evaluate_predictors(store, extractor, [bad], device=torch.device("cpu"))
    with pytest.raises(FsrcacheError, match="no predictions"):  # its one head is the frozen one
        evaluate_predictors(store, extractor, [one], heads=["refit-mlp"], device=torch.device("cpu"))
