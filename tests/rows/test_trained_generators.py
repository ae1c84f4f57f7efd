"""FSR and the paper's own system as rows: trained by baselines, scored by evaluate, refused where there can be none."""

from dataclasses import replace

import pytest

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.forms import read_training
from fsrcache.models.weights import read_weights, write_weights
from fsrcache.presets import TRAINING
from fsrcache.rows import fsr, fsr_fer, fsr_fer_unweighted, fsr_fer_without_critic
from fsrcache.rows.index import PAPER, rows_to_train
from fsrcache.settings import differences
from fsrcache.verbs.baselines import _settings as row_settings
from fsrcache.verbs.baselines import baselines
from fsrcache.verbs.evaluate import evaluate

NAMES = ["fsr", "fsr-fer", "fsr-fer-unweighted", "fsr-fer-without-critic"]
QUICK = ("steps=2", "batch=8")


@pytest.fixture
def trained(workspace):
    baselines(workspace, rows=NAMES, settings=QUICK, seed=3, device="cpu")
    return workspace


def test_they_are_trained_with_their_own_settings_and_scored(trained):
    for row in (fsr, fsr_fer, fsr_fer_unweighted, fsr_fer_without_critic):
        training = read_training(trained.row(row.NAME, 3) / "generator.safetensors")
        assert training["config"] == replace(row.SETTINGS, steps=2, batch=8)
    table = evaluate(trained, heads=["frozen", "refit-linear"], device="cpu")
    scores = {(score.row, score.head, score.scale): score for score in table.rows}
    for name in NAMES:
        for head in ("frozen", "refit-linear"):
            assert {scale for row, one, scale in scores if (row, one) == (name, head)} == {1, 2, 4}
        assert (scores[name, "frozen", 2].seed, scores[name, "frozen", 2].members) == (3, 1)
    assert table.order[5:9] == tuple(NAMES)
    assert "fsr: default with steps=2, batch=8" in table.context.settings
    assert "fsr: FSR, 2 steps of 8, with a WGAN-div critic, equal weights" in table.context.generator
    assert "fsr-fer-without-critic: RRDB, 2 steps of 8, no critic, weights from coarse faces" in table.context.generator


def test_trained_again_there_is_nothing_to_do(trained):
    notes = []
    results = baselines(
        trained, rows=NAMES, settings=QUICK, seed=3, device="cpu", on_progress=lambda one: notes.append(one.note)
    ).rows
    assert all(result.was_there for result in results)
    assert set(results[0].held_out) == {"x1", "x2", "x4"}
    assert "Nothing to do: fsr-fer with the seed 3 was there." in notes


def test_what_tells_them_apart():
    assert fsr_fer.SETTINGS.reweight == TRAINING["paper"].reweight == "lr"
    assert replace(fsr_fer.SETTINGS, reweight="none") == fsr_fer_unweighted.SETTINGS
    assert replace(fsr_fer.SETTINGS, critic=None) == fsr_fer_without_critic.SETTINGS
    terms = ("adversarial_weight", "perceptual_weight", "l2_weight", "penalty_weight", "penalty_power", "reduction")
    for name in (*terms, "sigma", "exponent", "learning_rate", "betas", "batch", "critic_steps"):
        assert getattr(fsr_fer.SETTINGS, name) == getattr(TRAINING["paper"], name)
    assert fsr.SETTINGS.perceptual_weight == fsr.SETTINGS.classification_weight == 0


@pytest.mark.parametrize(
    ("row", "setting"), [("fsr-fer-without-critic", "critic.filters=8"), ("fsr-fer-unweighted", "reweight=sr")]
)
def test_a_variant_is_what_its_name_says(workspace, row, setting):
    name = setting.partition("=")[0].partition(".")[0]
    for rows in ([row], [row, "fine-tuned"]):
        with pytest.raises(RequestError, match=rf"The row {row} is fsr-fer with {name}=none, and {name} is set") as one:
            baselines(workspace, rows=rows, settings=[setting], device="cpu")
        assert one.value.remedy.endswith("`rows=['fsr-fer']` may have it.")
    assert not (workspace.folder / "rows").exists()


def test_a_setting_goes_to_the_rows_that_can_have_it():
    rows = rows_to_train(["fsr-fer", "fsr-fer-without-critic", "fsr", "fine-tuned", "ridge"])

    def differing(*assignments):
        return {row.NAME: differences(config, row.SETTINGS) for row in rows
                if (config := row_settings(rows, assignments)[row.NAME]) != row.SETTINGS}  # fmt: skip

    assert differing("critic=none") == {"fsr-fer": ["critic=none"], "fsr": ["critic=none"]}
    assert differing("critic.filters=4") == {"fsr-fer": ["critic.filters=4"], "fsr": ["critic.filters=4"]}
    assert differing("generator.growth=4") == {
        name: ["generator.growth=4"] for name in ("fsr-fer", "fsr-fer-without-critic")
    }
    assert set(differing("generator.form=mlp", "generator.width=8")) == {"fsr-fer", "fsr-fer-without-critic", "fsr"}


def test_the_rows_of_the_paper_by_one_name():
    assert rows_to_train(["paper"]) == list(PAPER)
    assert [row.NAME for row in PAPER] == ["rcan", "meta-sr", "meta-sr-retrained", *NAMES]
    with pytest.raises(RequestError, match="no row 'paper'") as caught:
        rows_to_train(["paper", "ridge"])
    assert caught.value.remedy.endswith("or paper or all alone.")


def test_plain_vectors_have_no_such_row(workspace):
    extractor = replace(open_extractor(workspace.extractor), form=FeatureForm(12))
    for row in (fsr, fsr_fer, fsr_fer_unweighted, fsr_fer_without_critic):
        assert "these features are plain vectors" in row.obstacle(extractor, (1, 2))
        assert row.obstacle(open_extractor(workspace.extractor), (1, 2)) == ""


def test_a_generator_of_another_store_is_refused(trained):
    file = trained.row("fsr", 3) / "generator.safetensors"
    tensors, record = read_weights(file, kind="generator")
    record["training"]["store"] |= {"pictures": "0" * 64}
    write_weights(file, tensors, kind="generator", record=record)
    with pytest.raises(FsrcacheError, match="of other pictures") as caught:
        evaluate(trained, heads=["frozen"], device="cpu")
    assert "rows=['fsr'], seed=3, restart=True" in caught.value.remedy


def test_a_training_that_was_interrupted_is_not_scored_and_goes_on(workspace, stop_after):
    with pytest.raises(KeyboardInterrupt):
        baselines(
            workspace, rows=["fsr"], settings=("steps=40", "batch=8"), device="cpu",
            on_progress=stop_after("fsr: training", 3),
        )  # fmt: skip
    assert not [score for score in evaluate(workspace, heads=["frozen"], device="cpu").rows if score.row == "fsr"]
    assert not baselines(workspace, rows=["fsr"], settings=("steps=40", "batch=8"), device="cpu").rows[0].was_there
    assert [score for score in evaluate(workspace, heads=["frozen"], device="cpu").rows if score.row == "fsr"]
