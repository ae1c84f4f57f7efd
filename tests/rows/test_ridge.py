"""The ridge rows: fitted as a naive computation says, interrupted or not, chosen on held-out pictures, in the table."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fsrcache.cli.main import group
from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.generators.form import super_resolve
from fsrcache.models.weights import read_weights, write_weights
from fsrcache.store.reader import FeatureStore
from fsrcache.training import ridge_fit
from fsrcache.training.ridge_fit import read_map
from fsrcache.verbs.baselines import baselines
from fsrcache.verbs.evaluate import evaluate
from fsrcache.verbs.extract import extract

ONE = ("penalties=0.01",)
ROWS = ["ridge", "ridge-per-scale"]


def fitted(workspace, **options):
    return baselines(workspace, **{"rows": ROWS, "settings": ONE, "device": "cpu", **options}).rows


def naive(x, y, penalty):
    """Return what the ridge map of pairs, early features behind x, makes of features, by least squares in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    length, width = y.shape[1], x.shape[1]
    variance = x.var(0)
    even = np.where(np.arange(width) < length, 1, np.sqrt(variance[:length].mean() / np.where(variance, variance, 1)))
    even[(variance == 0) & (np.arange(width) >= length)] = 1
    pull = np.sqrt(penalty * len(x) * variance[:length].mean()) * np.eye(width)
    target = np.vstack([y - y.mean(0), np.zeros((width, length))])
    weight = even[:, None] * np.linalg.lstsq(np.vstack([(x - x.mean(0)) * even, pull]), target, rcond=None)[0]
    return lambda features: (features.astype(np.float64) - x.mean(0)) @ weight + y.mean(0)


def read(store, split, scale, *, early=True):
    """Return what a map reads, float16 [n, P + Q]."""
    return np.hstack([store.features(split, scale)[:], *([store.early(split, scale)[:]] if early else [])])


def applied(function, store, values):
    """Return what a map makes of features with early features behind them, fp32 [n, P]."""
    length = store.spec.widths["features"]
    return super_resolve(function, *map(torch.from_numpy, np.split(values.astype(np.float32), [length], 1)))


def accuracies(table, row):
    return {score.scale: score.accuracy for score in table.rows if (score.row, score.head) == (row, "frozen")}


@pytest.mark.parametrize("early", [True, False])
def test_both_rows_are_least_squares_and_in_the_table(workspace, early):
    pooled, alone = fitted(workspace, settings=(*ONE, *([] if early else ["early=false"])))
    assert set(pooled.held_out) == {"x1", "x2", "x4"}
    assert set(alone.held_out) == {"x2", "x4"}
    table = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    store, extractor = FeatureStore(workspace.store), open_extractor(workspace.extractor)
    kept = ~store.held_out()
    fine, labels = store.features("train")[:], store.labels("test")
    coarse = {scale: read(store, "train", scale, early=early)[kept] for scale in store.scales}
    by_pooled = naive(np.concatenate(list(coarse.values())), np.tile(fine[kept], (3, 1)), 0.01)
    assert accuracies(table, "ridge-per-scale")[1] == accuracies(table, "bicubic")[1]
    for row, maps in (
        ("ridge", dict.fromkeys(store.scales, by_pooled)),
        ("ridge-per-scale", {scale: naive(coarse[scale], fine[kept], 0.01) for scale in (2, 4)}),
    ):
        for scale, by_hand in maps.items():
            folder = workspace.row(row, 0)
            file = folder / "map.safetensors" if row == "ridge" else folder / f"x{scale}/map.safetensors"
            seen = read(store, "test", scale, early=early)
            function, record = read_map(file)
            assert record["early"] == function.early == (store.spec.widths["early"] if early else 0)
            generated = applied(function, store, seen) if early else function(torch.from_numpy(seen).float())
            np.testing.assert_allclose(generated.numpy(), by_hand(seen), rtol=1e-4, atol=1e-4)
            features = torch.from_numpy(by_hand(seen).astype(np.float16)).float()
            answers = extractor.frozen_head()(features)[1].argmax(1).numpy()
            assert accuracies(table, row)[scale] == pytest.approx(100 * (answers == labels).mean(), abs=4)  # of 28
    assert table.order.index("ridge-per-scale") == table.order.index("ridge") + 1
    assert ("ridge: a linear map, early features read" in table.context.generator) == early
    assert "ridge: the penalty 0.01, the frozen head's best" in table.context.checkpoint
    assert "ridge-per-scale: the penalty x2 0.01, x4 0.01, " in table.context.checkpoint


def test_views_and_faces_without_labels_are_fitted_to_as_well(workspace):
    extract(workspace, views=2, unlabelled="drawn:200", device="cpu")
    store, kept = FeatureStore(workspace.store), {}
    for split in ("train", "view-1", "view-2", "unlabelled"):
        kept[split] = ~store.held_out(split)
    splits = [["train"], list(kept)]
    for seed, settings in enumerate(["extra=false", "extra=true"]):
        (alone,) = fitted(workspace, rows=["ridge-per-scale"], settings=(*ONE, settings), seed=seed)
        assert set(alone.held_out) == {"x2", "x4"}
        pairs = [(read(store, one, 4)[kept[one]], store.features(one)[:][kept[one]]) for one in splits[seed]]
        by_hand = naive(*map(np.concatenate, zip(*pairs, strict=True)), 0.01)
        function, _ = read_map(workspace.row("ridge-per-scale", seed) / "x4/map.safetensors")
        seen = read(store, "test", 4)
        np.testing.assert_allclose(applied(function, store, seen).numpy(), by_hand(seen), rtol=1e-4, atol=1e-4)
    table = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    assert "early features read, fitted to train,view-1,view-2,unlabelled;" in table.context.generator
    assert len({score.row for score in table.rows if score.row.startswith("ridge-per-scale")}) == 2


def test_views_that_came_later_are_said_to_differ(workspace):
    fitted(workspace, rows=["ridge"])
    extract(workspace, views=1, device="cpu")
    with pytest.raises(FsrcacheError, match="it draws from view-1 here alone"):
        fitted(workspace, rows=["ridge"])


@pytest.mark.parametrize(("right", "best"), [([[3, 0, 0], [2, 2, 0], [1, 0, 2]], 0.1), ([[1, 2, 0]] * 3, 100.0)])
def test_the_mean_over_scales_of_the_held_out_tenth_chooses_the_penalty(workspace, monkeypatch, right, best):
    held_out = int(FeatureStore(workspace.store).held_out().sum())
    monkeypatch.setattr(ridge_fit, "_right", lambda *_: np.array(right))
    (result,) = fitted(workspace, rows=["ridge"], settings=("penalties=0.001,0.1,100",))
    _, written = read_map(workspace.row("ridge", 0) / "map.safetensors")
    assert written["penalty"] == best
    tried = dict(zip(("0.001", "0.1", "100"), (100 / held_out * np.mean(right, 1)).tolist(), strict=True))
    assert written["tried"] == pytest.approx(tried)
    assert sum(result.held_out.values()) / 3 == pytest.approx(max(tried.values()))


def test_held_out_pictures_are_scored_by_the_frozen_head(workspace):
    (result,) = fitted(workspace, rows=["ridge"])
    store, extractor = FeatureStore(workspace.store), open_extractor(workspace.extractor)
    function, _ = read_map(workspace.row("ridge", 0) / "map.safetensors")
    held_out = store.held_out()
    for scale in store.scales:
        generated = applied(function, store, read(store, "train", scale)[held_out])
        answers = extractor.frozen_head()(generated.half().float())[1].argmax(1).numpy()
        right = 100 * (answers == store.labels("train")[held_out]).mean()
        assert result.held_out[f"x{scale}"] == pytest.approx(right)


@pytest.mark.parametrize("row", ROWS)
def test_interrupted_it_ends_in_the_same_bytes(workspace, monkeypatch, row):
    monkeypatch.setattr(ridge_fit, "_PART", 16)
    fitted(workspace, rows=[row], seed=1)
    monkeypatch.setattr("fsrcache.training.run.due._CHECKPOINT_SECONDS", 0.0)
    original, added = ridge_fit.Moments.add, []

    def add(self, x, y):
        added.append(len(x))
        if len(added) == 9:
            raise KeyboardInterrupt
        original(self, x, y)

    monkeypatch.setattr(ridge_fit.Moments, "add", add)
    with pytest.raises(KeyboardInterrupt):
        fitted(workspace, rows=[row])
    assert not list(workspace.row(row, 0).glob("map.safetensors"))
    fitted(workspace, rows=[row])
    whole = len(list(range(0, FeatureStore(workspace.store).spec.rows["train"], 16)))
    assert len(added) == 1 + whole * (3 if row == "ridge" else 2)  # the interrupted part alone was read twice
    files = {seed: sorted(workspace.row(row, seed).rglob("*.safetensors")) for seed in (0, 1)}
    assert [file.name for file in files[0]] == ["map.safetensors"] * (1 if row == "ridge" else 2)  # no checkpoint
    assert [one.read_bytes() for one in files[0]] == [one.read_bytes() for one in files[1]]
    assert [one.seeds for one in evaluate(workspace, names=["a"], heads=["frozen"], device="cpu").rows
            if one.row == row] == [(0, 1)] * 3  # fmt: skip


def test_what_was_there_is_not_fitted_again(workspace, monkeypatch):
    first = fitted(workspace)
    assert [one.was_there for one in first] == [False, False]
    notes = []
    with monkeypatch.context() as patch:
        patch.setattr(ridge_fit.Moments, "add", None)
        patch.setattr(ridge_fit, "torch_threads", lambda _: 7)  # nothing is computed under them
        again = fitted(workspace, on_progress=lambda one: notes.append(one.note))
    assert [replace(one, seconds=0, was_there=False) for one in again] == [replace(one, seconds=0) for one in first]
    assert [note for note in notes if note] == [f"Nothing to do: {row} with the seed 0 was there." for row in ROWS]
    for row in ROWS:
        with pytest.raises(FsrcacheError, match=r"other settings: penalties is \[0\.01\] there and \[0\.5\] here"):
            fitted(workspace, rows=[row], settings=("penalties=0.5",))
    fitted(workspace, settings=("penalties=0.5",), seed=1)
    table = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    assert "ridge: default with penalties=0.01; ridge (seed-1): default with penalties=0.5;" in table.context.settings
    fitted(workspace, settings=("penalties=0.5",), restart=True)
    assert accuracies(evaluate(workspace, names=["a"], heads=["frozen"], device="cpu"), "ridge") == accuracies(
        table, "ridge (seed-1)"
    )


def test_maps_stay_until_a_new_one_is_fitted(workspace, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    fitted(workspace)
    before = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    again = {"settings": ("penalties=0.5",), "restart": True}
    with monkeypatch.context() as patch:
        patch.setattr(ridge_fit, "_linear", interrupted)
        for row in ROWS:
            with pytest.raises(KeyboardInterrupt):
                fitted(workspace, rows=[row], **again)
    after = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    assert [accuracies(after, row) for row in ROWS] == [accuracies(before, row) for row in ROWS]
    fit_map = ridge_fit._fit_map
    monkeypatch.setattr(ridge_fit, "_fit_map", lambda *of: interrupted() if of[2] == (4,) else fit_map(*of))
    with pytest.raises(KeyboardInterrupt):
        fitted(workspace, rows=["ridge-per-scale"], **again)
    assert not (workspace.row("ridge-per-scale", 0) / "x4/map.safetensors").exists()
    monkeypatch.undo()
    assert not fitted(workspace, rows=["ridge-per-scale"], settings=again["settings"])[0].was_there


def test_a_map_of_another_store_or_a_damaged_one_is_refused(workspace):
    fitted(workspace, rows=["ridge"])
    file = workspace.row("ridge", 0) / "map.safetensors"
    whole = file.read_bytes()
    tensors, record = read_weights(file, kind="ridge map")
    record["settings"]["store"]["weights"] = "0" * 64
    write_weights(file, tensors, kind="ridge map", record=record)
    with pytest.raises(FsrcacheError, match=r"fitted to another store than .*, of other weights") as caught:
        evaluate(workspace, names=["a"], device="cpu")
    assert "rows=['ridge'], seed=0, restart=True" in caught.value.remedy
    file.write_bytes(whole[:-9])
    with pytest.raises(FsrcacheError, match=r"map\.safetensors cannot be read"):
        evaluate(workspace, names=["a"], device="cpu")


def test_a_scale_more_is_fitted_alone_and_a_pooled_map_keeps_its_scales(workspace):
    fitted(workspace)
    notes = []
    extract(workspace, scales=[3], device="cpu", on_progress=lambda one: notes.append(one.note))
    assert any("run other, ridge seed-0, ridge-per-scale seed-0." in note for note in notes)
    before = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    assert set(accuracies(before, "ridge")) == set(accuracies(before, "ridge-per-scale")) == {1, 2, 4}
    with pytest.raises(FsrcacheError, match=r"scales is \[1, 2, 4\] there and \[1, 2, 3, 4\] here"):
        fitted(workspace, rows=["ridge"])
    (result,) = fitted(workspace, rows=["ridge-per-scale"])
    assert set(result.held_out) == {"x2", "x3", "x4"}
    after = evaluate(workspace, names=["a"], heads=["frozen"], device="cpu")
    assert set(accuracies(after, "ridge-per-scale")) == {1, 2, 3, 4}


def test_each_row_takes_the_settings_that_it_has(workspace):
    with pytest.raises(RequestError, match="'penalty' is unknown"):
        fitted(workspace, settings=("penalty=1",))
    words = ["baselines", "--workspace", str(workspace.folder), "--rows", "ridge,ridge-per-scale", "--json"]
    done = CliRunner().invoke(group, [*words, "--device", "cpu", "--seed", "2", "--set", "penalties=1"])
    assert done.exit_code == 0, done.output
    assert [(row["row"], row["seed"]) for row in json.loads(done.stdout)["rows"]] == [(row, 2) for row in ROWS]
    assert not workspace.row("ridge", 0).exists()
