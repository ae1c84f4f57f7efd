"""A scale that is added to a store: what was trained before keeps its own, is scored at them, and is told of it."""

from pathlib import Path

import pytest

from fsrcache.errors import FsrcacheError
from fsrcache.evaluation import scoring
from fsrcache.evaluation.formats import to_markdown
from fsrcache.store.reader import FeatureStore
from fsrcache.training.run.train import train_generator
from fsrcache.verbs.baselines import baselines
from fsrcache.verbs.evaluate import evaluate
from fsrcache.verbs.extract import extract

QUICK = ("epochs=1", "batch=32")
HEADS = ("frozen", "refit-linear")


def scores(table, row):
    return {(score.head, score.scale): score.accuracy for score in table.rows if score.row == row}


def add_scale(workspace):
    notes = []
    extract(workspace, scales=[3], device="cpu", on_progress=lambda progress: notes.append(progress.note))
    return [note for note in notes if note and not note.startswith("Nothing to do")]


def test_a_run_is_scored_at_the_scales_that_it_was_trained_at(workspace, monkeypatch):
    before = evaluate(workspace, names=["a", "b"], heads=HEADS, device="cpu")
    unknown = "No row specialists: how CovPoolFER was pre-trained is not known."
    assert before.context.notes == (unknown,)
    assert add_scale(workspace) == [
        "The store gets x3. What was trained keeps the scales that it was trained at, and is scored at those: run a, "
        "run b, run other."
    ]
    assert add_scale(workspace) == []  # it is there by now
    computed = []
    original = scoring.probabilities_of
    monkeypatch.setattr(scoring, "probabilities_of", lambda *given: computed.append(1) or original(*given))
    after = evaluate(workspace, names=["a", "b"], heads=HEADS, device="cpu")
    assert len(computed) == 2 * 4  # bicubic alone, with its new scale
    assert scores(after, "FSR-FER") == scores(before, "FSR-FER")
    assert {scale for _, scale in scores(after, "bicubic")} == {1, 2, 3, 4}
    assert after.context.notes == (
        unknown,
        "FSR-FER was trained without x3: it has no scores there, and its heads are re-fitted on its own scales.",
    )
    (line,) = (line for line in to_markdown(after).splitlines() if line.startswith("| frozen | FSR-FER | "))
    assert line.split(" | ")[4] == "–"


def test_a_run_at_more_scales_is_another_row(workspace, prepared_runs):
    add_scale(workspace)
    config, seed = prepared_runs["b"]
    train_generator(
        FeatureStore(workspace.store), workspace.extractor, config,
        folder=workspace.run("wide"), seed=seed, device=prepared_runs["device"],
    )  # fmt: skip
    table = evaluate(workspace, names=["a", "wide"], heads=["frozen"], device="cpu")
    assert table.context.seeds == "FSR-FER 0; FSR-FER (wide) 1; re-fitted heads 0"
    assert {scale for _, scale in scores(table, "FSR-FER")} == {1, 2, 4}
    assert {scale for _, scale in scores(table, "FSR-FER (wide)")} == {1, 2, 3, 4}


@pytest.mark.slow
def test_going_on_at_other_scales_is_refused_by_their_name(workspace, prepared_runs):
    add_scale(workspace)
    config, seed = prepared_runs["a"]
    options = {"folder": workspace.run("a"), "seed": seed, "device": prepared_runs["device"]}
    store = FeatureStore(workspace.store)
    assert list(train_generator(store, workspace.extractor, config, **options).held_out_accuracy) == ["1", "2", "4"]
    with pytest.raises(
        FsrcacheError, match=r"settings: scales is \[1, 2, 4\] there and \[1, 2, 3, 4\] here\."
    ) as caught:
        train_generator(store, workspace.extractor, config, scales=[2, 3, 4], **options)
    assert caught.value.remedy == "Use the same settings to go on, or begin anew: `restart=True`, or another name."


@pytest.mark.slow
def test_a_fine_tuned_extractor_keeps_its_scales_until_it_begins_anew(tuned):
    before = evaluate(tuned, names=["a"], heads=["frozen"], device="cpu")
    assert add_scale(tuned)[0].endswith("run other, fine-tuned seed-0.")
    after = evaluate(tuned, names=["a"], heads=["frozen"], device="cpu")
    assert scores(after, "fine-tuned") == scores(before, "fine-tuned")
    assert {scale for _, scale in scores(after, "fine-tuned")} == {1, 2, 4}
    assert any(note.startswith("fine-tuned was trained without x3") for note in after.context.notes)
    with pytest.raises(FsrcacheError, match=r": scales is \[1, 2, 4\] there and \[1, 2, 3, 4\] here\.") as caught:
        baselines(tuned, settings=QUICK, device="cpu")
    assert "`restart=True`, or another workspace" in caught.value.remedy
    result = baselines(tuned, settings=QUICK, seed=1, device="cpu").rows[0]
    assert result.extraction["scales"] == (1, 2, 3, 4)
    both = evaluate(tuned, names=["a"], heads=["frozen"], device="cpu")
    assert both.context.seeds == "fine-tuned 0; fine-tuned (seed-1) 1; FSR-FER 0; re-fitted heads 0"
    again = baselines(tuned, settings=("epochs=2", "batch=32"), restart=True, device="cpu").rows[0]
    assert (again.epochs, again.resumed_from, again.extraction["resumed_from"]) == (2, 0, 0)
    anew = evaluate(tuned, names=["a"], heads=["frozen"], device="cpu")
    assert {scale for _, scale in scores(anew, "fine-tuned")} == {1, 2, 3, 4}
    assert anew.context.seeds == "fine-tuned 0; fine-tuned (seed-1) 1; FSR-FER 0; re-fitted heads 0"
    changes = "default with epochs={}, batch=32"
    settings = f"fine-tuned: {changes.format(2)}; fine-tuned (seed-1): {changes.format(1)}; FSR-FER: "
    assert anew.context.settings.startswith(settings)  # of the same scales, and not averaged


def test_what_is_no_store_is_not_removed(tuned):
    store = tuned.row("fine-tuned", 0) / "features.zarr"
    (store / "zarr.json").write_text("{}")
    with pytest.raises(FsrcacheError):
        baselines(tuned, settings=QUICK, restart=True, device="cpu")
    assert (store / "train").is_dir()
    assert Path(store / "zarr.json").read_text() == "{}"
