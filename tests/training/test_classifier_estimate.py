"""The estimate of a pre-training: its counts are those of the real one, and nothing is left behind."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.faces.faces import usable_faces
from fsrcache.faces.index import list_faces
from fsrcache.presets import ExtractorConfig, PretrainConfig
from fsrcache.training.classifier import fit
from fsrcache.training.classifier.estimate import estimate_pretraining
from fsrcache.training.classifier.fit import fit_classifier
from fsrcache.training.classifier.pictures import read_splits, split_rows

CPU = torch.device("cpu")
SHAPE = ExtractorConfig(side=24, stages=((4,), (6,)), spd_side=4, hidden=8, embedding=4)
SCHEDULE = PretrainConfig(epochs=2, batch=32)


@pytest.fixture(scope="module")
def faces():
    return usable_faces(list_faces(Path("drawn:140")), side=24)


@pytest.mark.slow
def test_it_counts_as_the_training_does(faces, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.random.get_rng_state()
    estimate = estimate_pretraining(faces, SHAPE, SCHEDULE, device=CPU, scales=(1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not list(tmp_path.iterdir())
    reports, optimisers = [], []
    made = fit.make_optimiser
    monkeypatch.setattr(fit, "make_optimiser", lambda *of: optimisers.append(made(*of)) or optimisers[-1])
    model = CovPoolFER(SHAPE, faces.classes)
    fit_classifier(extractor_of(model), faces, SCHEDULE, phase="training", folder=tmp_path, settings={}, seed=0,
                   on_progress=reports.append)  # fmt: skip
    total = next(one.total for one in reports if one.phase == "training")
    assert estimate.epochs == SCHEDULE.epochs
    assert estimate.steps_per_epoch * estimate.epochs == total
    assert estimate.parameters == sum(weight.numel() for weight in model.parameters())
    splits = read_splits(faces, split_rows(faces), on_progress=lambda _: None)
    assert estimate.memory["pictures"] == sum(pictures.nbytes for pictures, _ in splits.values())
    assert estimate.memory["weights"] == sum(tensor.nbytes for tensor in model.state_dict().values())
    moments = [moment for moments in optimisers[0].state.values() for moment in moments.values()]
    assert estimate.memory["optimiser"] == sum(moment.nbytes for moment in moments)
    assert estimate.memory["total"] == sum(estimate.memory[name] for name in ("pictures", "weights", "optimiser"))


def test_its_times_are_those_of_steps_and_scoring(faces, monkeypatch):
    def two_seconds(work, _):
        work()
        return 2.0

    scoring = 2.0 / SCHEDULE.batch
    monkeypatch.setattr("fsrcache.training.classifier.estimate._seconds", two_seconds)
    monkeypatch.setattr("fsrcache.training.classifier.estimate.scoring_seconds", lambda *_: scoring)
    reports = []
    estimate = estimate_pretraining(faces, SHAPE, SCHEDULE, device=CPU, on_progress=reports.append)
    count = {split: len(rows) for split, rows in split_rows(faces).items()}
    assert estimate.measured_steps == 2  # beyond three seconds
    assert estimate.pictures_per_second == SCHEDULE.batch / 2
    assert estimate.seconds_per_epoch == pytest.approx(2 * estimate.steps_per_epoch + scoring * count["held-out"])
    rest = scoring * (count["held-out"] + count["val"] + count["test"])
    assert estimate.seconds == pytest.approx(SCHEDULE.epochs * estimate.seconds_per_epoch + rest)
    assert [one.done for one in reports if one.phase == "measuring"] == [0, 0, 2]


def test_a_batch_larger_than_the_data_is_all_of_them(faces):
    estimate = estimate_pretraining(faces, SHAPE, replace(SCHEDULE, batch=4096), device=CPU)
    assert estimate.steps_per_epoch == 1


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"seed": -1}, RequestError, "seed is -1"),
        ({"scales": ()}, RequestError, "There are no scales"),
        ({"device": "cpu"}, RequestError, "The device is"),
        ({"config": {}}, RequestError, "config is {}"),
        ({"schedule": 3}, RequestError, "schedule is 3"),
        ({"faces": "none"}, FsrcacheError, "held out"),
    ],
)
def test_wrong_arguments_are_refused(faces, options, error, told):
    arguments = {"faces": faces, "config": SHAPE, "schedule": SCHEDULE, "device": CPU, **options}
    if arguments["faces"] == "none":
        arguments["faces"] = replace(faces, rows=faces.rows[:1])
    with pytest.raises(error, match=told):
        estimate_pretraining(arguments.pop("faces"), arguments.pop("config"), arguments.pop("schedule"), **arguments)
