"""Schedules, augmentation, checkpoints, histories and draws: what makes a resumed run equal an undisturbed one."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.presets import PretrainConfig
from fsrcache.training.classifier.augment import augment
from fsrcache.training.data.loader import FeatureCache, draw_pairs
from fsrcache.training.data.mixing import mixed
from fsrcache.training.run.checkpoint import Checkpoints, previous, refuse_other_run
from fsrcache.training.run.history import append_history, cut_history
from fsrcache.training.step.finite import FiniteCheck
from fsrcache.training.step.schedules import halved, halved_by_fifths, one_cycle


def test_one_cycle_is_torchs_without_momentum():
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.3, total_steps=50, cycle_momentum=False)
    for step in range(50):
        assert one_cycle(step, steps=50, top=0.3) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-6)
        optimiser.step()
        if step < 49:
            theirs.step()


def test_milestones_halve():
    assert [halved(step, milestones=(10, 20), top=1.0) for step in (0, 9, 10, 19, 20)] == [1, 1, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    ("steps", "halvings"), [(1, [0]), (3, [0, 1, 3]), (5, [0, 1, 2, 3, 4]), (10, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4])]
)
def test_the_rate_is_halved_after_every_fifth(steps, halvings):
    rates = [halved_by_fifths(step, steps=steps, top=1.0) for step in range(steps)]
    assert rates == [0.5**number for number in halvings]


def test_augmentation_mirrors_and_shifts_whole_pixels():
    pictures = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(50, 1, 8, 8)
    changed = augment(pictures, PretrainConfig(epochs=1, shift=2), random=np.random.default_rng(0))
    assert torch.allclose(changed, changed.round(), atol=1e-3)  # whole pixels: nothing is interpolated
    row = changed[:, 0, 4].round()
    assert {bool(value) for value in (row.diff(dim=1) > 0).any(dim=1)} == {True, False}  # mirrored and not
    still = augment(pictures, PretrainConfig(epochs=1, shift=0, flip=False), random=np.random.default_rng(0))
    torch.testing.assert_close(still, pictures.float(), atol=1e-3, rtol=0)
    turned = augment(pictures, PretrainConfig(epochs=1, rotation=10.0), random=np.random.default_rng(0))
    assert not torch.allclose(turned, turned.round(), atol=1e-2)


def trained(steps, module, optimiser):
    for step in range(steps):
        torch.manual_seed(step)
        optimiser.zero_grad()
        torch.autograd.backward(module(torch.randn(4, 3)).square().sum())
        optimiser.step()


def as_it_is(state, _file):
    return state


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path):
    def fresh():
        torch.manual_seed(0)
        module = torch.nn.Linear(3, 2)
        return module, torch.optim.AdamW(module.parameters(), 0.1)

    module, optimiser = fresh()
    trained(3, module, optimiser)
    Checkpoints(tmp_path / "c", {}, modules={"net": module}, optimisers={"a": optimiser}).save({"step": 3})
    again, its_optimiser = fresh()
    resumed = Checkpoints(tmp_path / "c", {}, modules={"net": again}, optimisers={"a": its_optimiser}).resume(as_it_is)
    assert resumed == ({"step": 3}, "", "")
    trained(2, module, optimiser)
    trained(2, again, its_optimiser)
    assert torch.equal(module.weight, again.weight)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    Checkpoints(tmp_path / "c", {}, modules={"net": torch.nn.Linear(3, 2)}, optimisers={}).save({})
    with pytest.raises(FsrcacheError, match="does not fit"):
        Checkpoints(tmp_path / "c", {}, modules={"net": torch.nn.Linear(4, 2)}, optimisers={}).resume(as_it_is)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1  # a weight's lowest bits: the file is as readable as before
    path.write_bytes(data)


def blank(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip, blank])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    path, module = tmp_path / "checkpoint.safetensors", torch.nn.Linear(3, 2)
    checkpoints = Checkpoints(path, {}, modules={"net": module}, optimisers={})
    assert checkpoints.resume(as_it_is) is None
    for step in (1, 2, 3):
        torch.nn.init.constant_(module.weight, step)
        checkpoints.save({"step": step})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.previous.safetensors", path.name]
    damage(path)
    resumed = checkpoints.resume(as_it_is)
    assert resumed.state["step"] == 2
    assert (module.weight == 2).all()
    assert str(path) in resumed.fell_back
    assert "The checkpoint before it is used" in resumed.fell_back
    damage(previous(path))
    assert resumed.note == resumed.fell_back
    with pytest.raises(FsrcacheError, match="Remove the damaged files"):
        checkpoints.resume(as_it_is)


def test_a_kill_between_two_names_leaves_the_previous_checkpoint(tmp_path):
    path, module = tmp_path / "checkpoint.safetensors", torch.nn.Linear(3, 2)
    checkpoints = Checkpoints(path, {}, modules={"net": module}, optimisers={})
    checkpoints.save({"step": 1})
    path.replace(previous(path))
    assert checkpoints.resume(as_it_is) == ({"step": 1}, "", "")


def test_other_settings_are_named(tmp_path):
    refuse_other_run(tmp_path, {"a": {"b": [1, 2]}, "c": 3}, {"a": {"b": (1, 2)}, "c": 3}, anew="another name")
    with pytest.raises(FsrcacheError, match=r"a\.b is 1 there and 2 here; c is None there and 5 here") as caught:
        refuse_other_run(tmp_path, {"a": {"b": 1}}, {"a": {"b": 2}, "c": 5}, anew="another name")
    assert caught.value.remedy == "Use the same settings to go on, or begin anew: `restart=True`, or another name."


def test_digests_that_differ_are_named_without_their_digits(tmp_path):
    there, here = ({"store": {"labels": c * 64, "recipe": "a" * 64}, "data": c * 64} for c in "bc")
    with pytest.raises(FsrcacheError, match=r"settings: data is another; the store has other labels\.\n"):
        refuse_other_run(tmp_path, there, here, anew="another name")


def test_a_history_is_cut_where_the_run_goes_on(tmp_path):
    path = tmp_path / "history.jsonl"
    cut_history(path, step=0)
    for step in (10, 20, 30):
        append_history(path, {"step": step, "loss": 1.5})
    with path.open("a") as file:
        file.write('{"step": 40, "lo')
    cut_history(path, step=20)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20]


def test_the_first_bad_step_and_term_are_named():
    bad = FiniteCheck(("l2", "penalty"), torch.device("cpu"))
    bad.add(0, {"l2": torch.tensor(1.0)})
    bad.check()
    bad.add(3, {"penalty": torch.tensor(torch.inf), "l2": torch.tensor(1.0)})
    bad.add(4, {"l2": torch.tensor(torch.nan)})
    with pytest.raises(FsrcacheError, match="penalty term was not finite at step 4"):
        bad.check()


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_the_first_of_the_terms_is_named_where_two_are_bad_at_once(value):
    bad = FiniteCheck(("l2", "penalty"), torch.device("cpu"))
    bad.add(torch.tensor(5), {"penalty": torch.tensor(value), "l2": torch.tensor(-value)})
    with pytest.raises(FsrcacheError, match="l2 term was not finite at step 6"):
        bad.check()


def cache():
    values = torch.arange(3 * 5 * 2, dtype=torch.float16).reshape(3, 5, 2)
    return FeatureCache(
        features=values,
        early=values[..., :1] + 0.5,
        embeddings=values[0] * 10,
        probabilities=torch.arange(15.0).reshape(3, 5) / 15,
        labels=torch.arange(5),
        labelled=torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0]),
        scales=torch.tensor([1, 2, 4])[:, None].expand(3, 5),
    )


def draw(count, *, full_resolution):
    random = np.random.default_rng(0)
    return torch.from_numpy(draw_pairs(random, count, faces=5, scales=3, full_resolution=full_resolution))


def test_a_pair_is_the_same_face():
    batch = cache().pairs(draw(64, full_resolution=0.25))
    index_of = {1: 0, 2: 1, 4: 2}
    for i in range(64):
        face, scale = int(batch.labels[i]), int(batch.scales[i])
        first = index_of[scale] * 10.0 + 2 * face
        assert batch.lr_features[i].tolist() == [first, first + 1]
        assert batch.hr_features[i].tolist() == [2.0 * face, 2.0 * face + 1]
        assert batch.lr_early[i].tolist() == [first + 0.5]
        assert batch.hr_embeddings[i].tolist() == [20.0 * face, 20.0 * face + 10]
        assert batch.lr_probabilities[i].item() == pytest.approx((index_of[scale] * 5 + face) / 15)
        assert batch.hr_probabilities[i].item() == pytest.approx(face / 15)
    share = float((batch.scales == 1).double().mean())
    assert 0.1 < share < 0.4
    none = cache().pairs(draw(64, full_resolution=0.0))
    assert (none.scales > 1).all()


def test_mixed_samples_lie_between_neighbours():
    batch = cache().pairs(draw(64, full_resolution=0.25))
    torch.manual_seed(0)
    got = mixed(batch, 0.5, classes=5)
    own = got.labels[torch.arange(64), batch.labels]
    alike = batch.labels == batch.labels.roll(1)
    expected = torch.nn.functional.one_hot(batch.labels, 5).float()
    assert torch.equal(got.labels[alike], expected[alike])
    assert torch.allclose(got.labels.sum(1), torch.ones(64))
    assert 0.3 < float((own[~alike] < 1).double().mean()) < 0.7
    assert own.min() < 0.2
    for name in ("lr_features", "hr_features", "lr_early", "hr_embeddings", "lr_probabilities", "hr_probabilities"):
        values, share = getattr(batch, name), own.view(-1, *[1] * (getattr(batch, name).ndim - 1))
        between = share * values + (1 - share) * values.roll(1, 0)
        torch.testing.assert_close(getattr(got, name)[~alike], between[~alike])
    assert torch.equal(got.scales, batch.scales)
    untouched = mixed(batch, 0.0, classes=5)
    assert torch.equal(untouched.lr_features, batch.lr_features)
    assert torch.equal(untouched.labels, expected)


def test_moments_are_numpys():
    mean, deviation = cache().moments()
    values = torch.cat([cache().features, cache().early], 2).double().numpy().reshape(15, 3)
    np.testing.assert_allclose(mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation, values.std(0), rtol=1e-6)


MEMORY = """
import resource
import torch
from fsrcache.device import keep_freed_memory
from fsrcache.training.data.loader import FeatureCache
keep_freed_memory()  # as a training does
for threads, length in (1, 2_080), (2, 2_080), (1, 2_016), (2, 1_953):
    torch.set_num_threads(threads)
    features = torch.ones(3, 5_000, length, dtype=torch.float16)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    FeatureCache(features, features[:, :, :0], *[torch.empty(0)] * 5).moments()
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1_024 / features.nbytes)
"""


def test_moments_take_little_memory_beside_the_features():
    completed = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert max(map(float, completed.stdout.split())) < 0.8  # as doubles the features would be four times as large
