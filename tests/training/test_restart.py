"""Longer is another run: it is refused in words, and a run of ours is begun anew when asked, and nothing else is."""

import json

import pytest

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.models.weights import write_weights
from fsrcache.training.run.checkpoint import CHECKPOINT, previous
from fsrcache.training.run.features import open_features
from fsrcache.training.run.lock import run_lock
from fsrcache.training.run.restart import discard_runs
from fsrcache.verbs.train import estimate_train, train

SETTINGS = ("generator.width=8", "generator.rank=0", "batch=16")


@pytest.fixture
def finished(workspace):
    """The workspace with a finished run of 4 steps."""
    trained(workspace, 4)
    return workspace


def trained(workspace, steps, **options):
    return train(workspace, preset="best", steps=steps, settings=SETTINGS, device="cpu", **options)


def test_more_steps_are_refused_with_the_two_ways_and_restart_begins_anew(finished):
    folder = finished.run("default")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(FsrcacheError, match=r"settings: steps is 4 there and 1,200 here\.") as caught:
        trained(finished, 1200)
    assert caught.value.remedy == (
        "The learning rate follows the length: another length is another run. Use the same settings to go on, or begin "
        "anew: `restart=True`, or another name."
    )
    with pytest.raises(FsrcacheError, match=r"settings: steps is 4 there and 6 here\."):
        estimate_train(finished, preset="best", steps=6, settings=SETTINGS, device="cpu")
    with pytest.raises(FsrcacheError, match="seed is 0 there and 1 here"):
        estimate_train(finished, preset="best", steps=4, settings=SETTINGS, seed=1, device="cpu")
    estimate_train(finished, preset="best", steps=4, settings=SETTINGS, cache="stream", device="cpu")
    estimate_train(finished, preset="best", steps=6, settings=SETTINGS, restart=True, cache="stream", device="cpu")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    again = trained(finished, 6, restart=True)
    assert (again.steps, again.resumed_from) == (6, 0)
    assert [json.loads(line)["step"] for line in (folder / "history.jsonl").read_text().splitlines()] == list(
        range(1, 7)
    )
    assert json.loads((folder / "result.json").read_text())["steps"] == 6
    assert (folder / "generator.safetensors").read_bytes() != before["generator.safetensors"]
    elsewhere = trained(finished, 6, name="other", restart=True)  # nothing is there, and it begins
    assert elsewhere.resumed_from == 0
    one, other = (finished.run(name) / "generator.safetensors" for name in ("default", "other"))
    assert one.read_bytes() == other.read_bytes()


def test_an_ended_run_reads_no_features_unless_its_generator_is_missing_or_another_s(finished, monkeypatch):
    opened = []

    def counting(*arguments, **options):
        opened.append(1)
        return open_features(*arguments, **options)

    monkeypatch.setattr("fsrcache.training.run.train.open_features", counting)
    folder = finished.run("default")
    generator, checkpoint = folder / "generator.safetensors", folder / CHECKPOINT
    first = generator.read_bytes()
    assert (trained(finished, 4).resumed_from, len(opened)) == (4, 0)
    generator.unlink()
    assert (trained(finished, 4).resumed_from, len(opened)) == (4, 1)
    assert generator.read_bytes() == first
    trained(finished, 6, name="other")
    generator.write_bytes((finished.run("other") / generator.name).read_bytes())  # as killed after a restart
    assert (trained(finished, 4).resumed_from, len(opened)) == (4, 3)
    assert generator.read_bytes() == first
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"?")
    again = trained(finished, 4)
    assert again.fell_back
    assert len(opened) == 4
    assert generator.read_bytes() == first


def test_fewer_steps_than_were_taken_are_other_settings_and_no_damage(finished):
    with pytest.raises(FsrcacheError, match=r"settings: steps is 4 there and 2 here\."):
        trained(finished, 2)


def test_other_settings_are_refused_before_features_are_read(finished, monkeypatch):
    monkeypatch.delattr("fsrcache.training.run.train.open_features")
    with pytest.raises(FsrcacheError, match=r"settings: steps is 4 there and 5 here\."):
        trained(finished, 5)


def test_the_finished_generator_stays_while_the_new_run_is_under_way(finished):
    class StopError(Exception):
        pass

    def stop(progress):
        if progress.phase == "training" and progress.done:
            raise StopError

    generator = finished.run("default") / "generator.safetensors"
    before = generator.read_bytes()
    with pytest.raises(StopError):
        trained(finished, 6, restart=True, on_progress=stop)
    assert generator.read_bytes() == before
    assert not (finished.run("default") / "result.json").exists()


@pytest.mark.parametrize("damage", ["cut", "of another kind"])
def test_what_is_no_run_of_ours_stays(finished, damage):
    folder = finished.run("default")
    newest = folder / CHECKPOINT
    if damage == "cut":
        newest.write_bytes(newest.read_bytes()[:99])
    else:
        write_weights(newest, {}, kind="extractor", record={})
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(FsrcacheError, match=r"Nothing was removed\.") as caught:
        trained(finished, 6, restart=True)
    assert caught.value.remedy == f"Remove {newest} yourself to begin anew."
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_wrong_request_removes_nothing(finished):
    for wrong in ({"seed": -1}, {"cache": "disk"}, {"log": "wandb"}):
        with pytest.raises(RequestError):
            trained(finished, 6, restart=True, **wrong)
    finished.store.unlink()
    with pytest.raises(FsrcacheError, match="no feature store"):
        trained(finished, 6, restart=True)
    assert (finished.run("default") / CHECKPOINT).exists()


def test_a_run_under_way_is_not_discarded(finished):
    folder = finished.run("default")
    with run_lock(folder), pytest.raises(FsrcacheError, match="Another process is training"):
        discard_runs(folder)
    assert (folder / CHECKPOINT).exists()


def test_of_several_runs_all_are_discarded_or_none(finished):
    trained(finished, 4, name="other")
    one, other = (finished.run(name) / CHECKPOINT for name in ("default", "other"))
    before = other.read_bytes()
    other.write_bytes(before[:99])
    with pytest.raises(FsrcacheError, match=r"Nothing was removed\."):
        discard_runs(one.parent, other.parent)
    assert one.exists()
    other.write_bytes(before)
    discard_runs(one.parent, other.parent)
    assert not one.exists() | other.exists()


def test_a_folder_without_a_checkpoint_is_left_as_it_is(tmp_path):
    discard_runs(tmp_path / "nowhere")
    (tmp_path / "history.jsonl").write_text("mine")
    discard_runs(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["history.jsonl"]


def test_the_checkpoint_before_the_newest_goes_too(finished):
    folder = finished.run("default")
    (folder / CHECKPOINT).rename(previous(folder / CHECKPOINT))
    discard_runs(folder)
    assert sorted(file.name for file in folder.iterdir()) == ["generator.safetensors", "time.json"]
