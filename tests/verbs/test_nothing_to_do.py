"""A command that had come to its end says so, and gives its result again."""

import json
from dataclasses import asdict, replace

import pytest

import fsrcache

SETTINGS = ["generator.width=16", "generator.members=1", "generator.rank=0", "batch=16"]


class Listener:
    """Notes that begin with "Nothing to do"."""

    def __init__(self):
        self.notes = []

    def __call__(self, progress):
        if progress.note.startswith("Nothing to do"):
            self.notes.append(progress.note)


@pytest.fixture
def store(networks):
    listener = Listener()
    fsrcache.extract(
        extractor="somebodys:vectors", data="drawn:140", scales=[10, 2], device="cpu", on_progress=listener
    )
    assert not listener.notes
    return networks


def twice(work):
    """Return both results of the same work, whose second call alone has nothing to do, and what it says."""
    listener = Listener()
    first = work(on_progress=listener)
    assert not listener.notes
    second = work(on_progress=listener)
    assert len(listener.notes) == 1
    return first, second, listener.notes[0]


def is_recorded(result, folder):
    """Tell whether a run's folder keeps this result."""
    return json.loads((folder / "result.json").read_text()) == json.loads(json.dumps(asdict(result)))


def test_extract_and_train_and_scales_in_numeric_order(store):
    listener = Listener()
    there = fsrcache.extract(scales=[2, 10], device="cpu", on_progress=listener)
    assert listener.notes == [f"Nothing to do: all {there.blocks} blocks were in {store / 'fsr/features.zarr'}."]

    def train(**options):
        return fsrcache.train(preset="best", steps=4, settings=SETTINGS, device="cpu", **options)

    first, second, said = twice(train)
    assert said == "Nothing to do: run default had ended after 4 steps."
    assert second == replace(
        first, resumed_from=4, seconds=second.seconds, samples_per_second=None, data_wait_share=None
    )
    assert is_recorded(first, store / "fsr/runs/default")
    for result in (first, second):  # the second one's is read from a checkpoint
        assert list(result.held_out_accuracy) == ["1", "2", "10"]


def test_pretrain(tmp_path):
    shape = ("stages=4/6", "spd_side=4", "hidden=8", "embedding=4")

    def pretrain(**options):
        return fsrcache.pretrain(
            tmp_path / "fsr", data="drawn:140", preset="tiny", epochs=2, settings=shape, side=16, device="cpu",
            **options,
        )  # fmt: skip

    first, second, said = twice(pretrain)
    assert said == "Nothing to do: the pre-training had ended after 2 epochs."
    assert second == replace(first, resumed_from=2, seconds=second.seconds)
    assert is_recorded(first, tmp_path / "fsr/pretraining")


def test_sweep(store):
    def sweep(**options):
        return fsrcache.sweep(preset="best", steps=4, settings=SETTINGS, device="cpu", **options)

    swept = sweep()
    file = store / "fsr/runs" / swept.runs[0].name / "result.json"
    before = file.read_text()
    assert sweep().rows == swept.rows
    assert file.read_text() == before
    file.unlink()
    sweep()
    assert json.loads(file.read_text())["resumed_from"] == 4  # better than none


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_baselines():
    def baselines(**options):
        return fsrcache.baselines(settings=["epochs=1", "batch=16"], seed=3, device="cpu", **options)

    first, second, said = twice(baselines)
    assert said == "Nothing to do: fine-tuned with the seed 3 was there."
    assert second.rows[0].accuracy == first.rows[0].accuracy
