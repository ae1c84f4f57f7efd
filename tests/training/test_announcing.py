"""A training says once how long it takes: all its steps, scoring, and the work after it; a resumed one what is left."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsrcache.announce import FirstSeconds, Pace
from fsrcache.extraction.extract import following_extraction
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.faces.degrade import SCALE_FORM
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import TRAINING, ExtractorConfig, MLPConfig, PretrainConfig
from fsrcache.training.classifier import fit
from fsrcache.training.classifier.pictures import split_rows
from fsrcache.training.run import loop
from fsrcache.training.run.train import train_generator

CPU = torch.device("cpu")
SHAPE = ExtractorConfig(side=24, stages=((4,), (6,)), spd_side=4, hidden=8, embedding=4)
SCHEDULE = PretrainConfig(epochs=2, batch=16)
MLP = replace(TRAINING["best"], generator=MLPConfig(width=32, blocks=1), steps=48, batch=4, full_resolution=0.0)


class StopError(Exception):
    """Raised by a callback in place of Ctrl-C."""


@pytest.fixture(scope="module")
def faces():
    return usable_faces(list_faces(Path("drawn:140")), side=24)


@pytest.fixture
def announced(monkeypatch):
    """Have the third step tell that a step takes 100 s, and keep what is announced: seconds, work, by what."""
    made = []
    monkeypatch.setattr("fsrcache.training.run.due._REPORT_SECONDS", 0.0)
    monkeypatch.setattr(FirstSeconds, "measured", lambda _, pieces: Pace(2, 100.0) if pieces == 3 else None)
    for module in (fit, loop):
        monkeypatch.setattr(module, "announce", lambda _, *of, by: made.append((*of, by)))
    return made


@pytest.fixture
def pretrain(faces, tmp_path):
    """Return what trains a classifier, up to a step, and returns its weights."""

    def run(folder="run", *, stop=None, **options):
        def on_progress(progress):
            if progress.phase == "training" and stop is not None and progress.done >= stop:
                raise StopError

        model = CovPoolFER(SHAPE, faces.classes, generator=torch.Generator().manual_seed(0))
        fit.fit_classifier(
            extractor_of(model), faces, SCHEDULE, phase="training", folder=tmp_path / folder, settings={}, seed=5,
            on_progress=on_progress, **options,
        )  # fmt: skip
        return model.state_dict()

    return run


@pytest.mark.slow
def test_a_pretraining_counts_all_steps_scoring_and_what_follows(pretrain, faces, announced, monkeypatch):
    undisturbed = pretrain("undisturbed")
    announced.clear()
    monkeypatch.setattr(fit, "scoring_seconds", lambda *_: 1.0)
    following = following_extraction(faces, scales=(2, 4), degradation=SCALE_FORM)
    estimates = []

    def followed(extractor):
        estimates.append(following(extractor))
        return 5000.0, estimates[0][1]

    weights = pretrain(following=followed)
    count = {split: len(rows) for split, rows in split_rows(faces).items()}
    steps = count["train"] // SCHEDULE.batch
    scored = 3 * count["held-out"] + count["val"] + count["test"]
    work = f"2 epochs of {steps} steps and the extraction of 420 pictures on cpu ({torch.get_num_threads()} thread"
    assert len(announced) == 1
    seconds, text, by = announced[0]
    assert seconds == 100.0 * (2 * steps - 3) + scored + 5000
    assert text.startswith(work)
    assert by == "the first 2 steps"
    assert estimates[0][0] > 0
    assert all(torch.equal(weights[name], undisturbed[name]) for name in weights)  # looking ahead changes nothing


def test_a_resumed_pretraining_announces_the_rest(pretrain, faces, announced, monkeypatch):
    monkeypatch.setattr(fit, "scoring_seconds", lambda *_: 0.0)
    steps = len(split_rows(faces)["train"]) // SCHEDULE.batch
    with pytest.raises(StopError):
        pretrain(stop=2, checkpoint_seconds=0.0)
    assert not announced
    pretrain()
    seconds, text, _ = announced[0]
    assert text.startswith("the rest of 2 epochs of")
    assert seconds == 100.0 * (2 * steps - 4)  # one step was kept, and three are measured


@pytest.mark.parametrize("patience", [0, 2])
def test_a_training_counts_its_steps_and_scoring(store, extractor, tmp_path, announced, monkeypatch, patience):
    monkeypatch.setattr(loop._Run, "scoring_seconds", lambda _: 1.0)
    reports = []
    options = {"folder": tmp_path, "device": CPU, "on_progress": reports.append}
    train_generator(store, extractor, replace(MLP, patience=patience), **options)
    assert len(announced) == 1
    seconds, text, by = announced[0]
    assert seconds == 100.0 * (48 - 3) + 6  # it is scored every eighth step
    assert text.startswith(f"{'at most ' * bool(patience)}48 steps on cpu (")
    assert by == "the first 2"
    phases = dict.fromkeys(one.phase for one in reports if one.phase)
    wanted = ["reading features", "averaging features", "measuring their deviation", "training", "scoring"]
    assert list(phases) == wanted


def test_a_scoring_is_measured_at_one_scale(store, extractor, tmp_path, announced, monkeypatch):
    scored = []
    original = loop.score

    def score(*arguments):
        scored.append(len(arguments[3]))
        return original(*arguments)

    monkeypatch.setattr(loop, "score", score)
    train_generator(store, extractor, MLP, folder=tmp_path, device=CPU)
    assert sorted(set(scored)) == [1, 3]
    assert announced[0][0] > 4500


def test_a_training_reports_between_status_lines(store, extractor, tmp_path, monkeypatch):
    monkeypatch.setattr("fsrcache.training.run.due._REPORT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "MOST_STEPS", 24)
    monkeypatch.setattr(loop, "_STATUS_LINES", 2)
    reports = []
    train_generator(store, extractor, MLP, folder=tmp_path, device=CPU, on_progress=reports.append)
    assert {one.done for one in reports if one.phase == "training"} == set(range(49))
