"""Every way to train is the same training: caches, plain twins, captured steps; and nothing waits inside a step."""

import copy
import gc
import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from fsrcache.errors import FsrcacheError, RequestError
from fsrcache.extractors.opening import open_extractor
from fsrcache.models.dense_block import DenseBlock
from fsrcache.models.generators.forms import load_generator
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig, RRDBConfig, TrainConfig
from fsrcache.training.data.batches import plan_steps
from fsrcache.training.run.features import choose_location, open_features
from fsrcache.training.run.loop import score
from fsrcache.training.run.networks import make_trainer
from fsrcache.training.run.train import train_generator
from fsrcache.training.step.capture import Repeated
from fsrcache.training.step.losses import distillation_loss
from fsrcache.training.step.trainer import Trainer
from fsrcache.training.step.updates import TERMS, critic_update

CPU = torch.device("cpu")
TWO = MLPConfig(width=32, blocks=1, rank=8, members=2)
MLP = replace(TRAINING["best"], generator=TWO, steps=24, batch=16, precision="fp32")
MLP_AGAINST_A_CRITIC = replace(MLP, critic=CriticConfig(filters=2), steps=12, learning_rate=1e-3)
PAPER = TrainConfig(
    generator=RRDBConfig(filters=4, growth=2, blocks=1, global_skip=True), critic=CriticConfig(filters=2), steps=12,
    batch=8, critic_steps=2,
)  # fmt: skip
AUTHORS = replace(
    TRAINING["authors"], generator=RRDBConfig(filters=4, growth=2, blocks=1, tail_kernel=8), steps=12, batch=8,
    critic=CriticConfig(filters=2, bias=False), l2_steps=4,
)  # fmt: skip
MIXED = replace(
    MLP_AGAINST_A_CRITIC, generator=MLPConfig(width=32, blocks=1, rank=8, noise=0.1), mixing=0.5,
    classification_weight=1.0, reweight="sr_grad",
)  # fmt: skip
CONFIGS = {
    "best": MLP, "best against a critic": MLP_AGAINST_A_CRITIC, "mixed": MIXED, "paper": PAPER, "authors": AUTHORS,
}  # fmt: skip


def history(folder):
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def make(store, extractor, config, *, cache="device", plain=False):
    features = opened(store, config, cache=cache)
    return make_trainer(features, open_extractor(extractor), config, seed=0, plain=plain)


def opened(store, config, *, cache):
    location = choose_location(store, cache, device=CPU)
    return open_features(store, config, location=location, device=CPU, seed=0)


def take(trainer, steps):
    trainer.batches.prepare(0, steps)
    for step in range(steps):
        trainer.step(step)
    return {name: module.state_dict() for name, module in trainer.modules.items()}


def same(one, other):
    return all(torch.equal(one[name][key], other[name][key]) for name in one for key in one[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_device_and_ram_give_the_same_bytes(store, extractor, tmp_path, name):
    files = []
    for cache in ("device", "ram", "auto"):
        record = train_generator(store, extractor, CONFIGS[name], folder=tmp_path / cache, device=CPU, cache=cache)
        assert record.cache == {"auto": "ram"}.get(cache, cache)
        files.append((tmp_path / cache / "generator.safetensors").read_bytes())
    assert files[0] == files[1] == files[2]
    assert history(tmp_path / "device") == history(tmp_path / "ram")
    other = train_generator(store, extractor, CONFIGS[name], folder=tmp_path / "device", device=CPU, cache="ram")
    assert other.resumed_from == CONFIGS[name].steps  # which is the same run
    with pytest.raises(FsrcacheError, match="plain is False there and True here"):
        train_generator(
            store, extractor, CONFIGS[name], folder=tmp_path / "device", device=CPU, cache="device", plain=True
        )


def in_float64(trainer):
    """Give a trainer networks and batches in float64: what is left of a difference is not rounding."""
    for module in trainer.networks:
        if module is not None:
            module.double()
    draw = trainer.batches.batch

    def doubled(*arguments, **forms):
        return type(batch := draw(*arguments, **forms))(*(
            tensor.double() if tensor.is_floating_point() else tensor for tensor in batch
        ))  # fmt: skip

    trainer.batches.batch = doubled
    return trainer


@pytest.mark.parametrize("power", [6.0, 2.0])
@pytest.mark.parametrize("name", CONFIGS)
def test_the_plain_twin_takes_the_same_steps(store, extractor, name, power):
    # The penalty of a young critic is some 1e-9 with the power 6; with 2 it has a say.
    config = CONFIGS[name]
    if config.critic is not None:
        config = replace(config, penalty_power=power, penalty_weight=10.0)
    histories = []
    for plain in (False, True):
        trainer = in_float64(make(store, extractor, config, plain=plain))
        trainer.batches.prepare(0, config.steps)
        histories.append([])
        for step in range(config.steps):
            trainer.step(step)
            histories[-1].append(trainer.meters.means())
    for term, values in _columns(histories[1]).items():  # some cross zero: a term is measured by its largest value
        assert _columns(histories[0])[term] == pytest.approx(values, rel=0, abs=1e-5 * max(map(abs, values)))
    if config.critic is not None:
        assert histories[0][-1]["penalty"] > 0


def _columns(lines):
    return {term: [line.get(term, 0.0) for line in lines] for term in {term for line in lines for term in line}}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_plain_twin_loses_alike(store, extractor, name):
    """In fp32, from the same state each time: terms to 1e-5 of the largest, gradients to 2e-5 of their norm.

    A critic's gradient jumps where a ReLU has its kink, and now and then a value lies so near that rounding takes it
    across: 3e-8 one way and -1.5e-8 the other changed a step's gradient by 7 %. So two steps of twelve may differ where
    there is a critic; the test above, in float64, excuses none.
    """
    config = CONFIGS[name]
    ways = [make(store, extractor, config, plain=plain) for plain in (False, True)]
    terms, gradients = [], []
    for trainer in ways:
        trainer.batches.prepare(0, config.steps)
    for step in range(config.steps):
        for part in ("modules", "optimisers") if step else ():
            for key, one in getattr(ways[0], part).items():
                getattr(ways[1], part)[key].load_state_dict(copy.deepcopy(one.state_dict()))
        for trainer in ways:
            trainer.step(step)
        means = [trainer.meters.means() for trainer in ways]
        terms.append([[one.get(term, 0.0) for term in TERMS] for one in means])
        for network in ways[0].modules:
            fast, defined = (_gradient(way.modules[network]) for way in ways)
            gradients.append((step, (fast - defined).norm() / defined.norm().clamp_min(1e-30)))
    fast, defined = np.array(terms).swapaxes(0, 1)  # [steps, terms]
    differing = ~(np.abs(fast - defined) <= 1e-5 * np.abs(defined).max(0)).all(1)
    differing[[step for step, apart in gradients if not apart <= 2e-5]] = True
    assert differing.sum() <= (0 if config.critic is None else 2)


def _gradient(network):
    """Return it as one vector, empty where there was no update."""
    return torch.cat([torch.zeros(0), *(w.grad.flatten() for w in network.parameters() if w.grad is not None)])


@pytest.mark.parametrize(("plain", "other"), [(True, "closed_form_critic"), (False, "gradient_penalty")])
def test_each_way_is_its_own(store, extractor, monkeypatch, plain, other):
    monkeypatch.delattr(f"fsrcache.training.step.updates.{other}")
    trainer = make(store, extractor, PAPER, plain=plain)
    take(trainer, 1)
    blocks = [module for module in trainer.networks.generator.modules() if isinstance(module, DenseBlock)]
    assert {block.plain for block in blocks} == {plain}


class Recorder:
    """A capturer that records what it is asked for; its replay does the work."""

    def __init__(self):
        self.calls = []

    def warm(self, work):
        self.calls.append("warm")
        work()

    def capture(self, work):
        self.calls.append("capture")

        def replay():
            self.calls.append("replay")
            work()

        return replay


@pytest.mark.parametrize("name", ["best", "authors"])
def test_a_captured_training_takes_every_step_once(store, extractor, name):
    config = replace(CONFIGS[name], l2_steps=5)
    eager = make(store, extractor, config)
    recorder = Recorder()
    captured = make(store, extractor, config)
    captured = Trainer(captured.networks, captured.batches, config, capturer=recorder)
    assert same(take(eager, 12), take(captured, 12))
    alone = ["warm"] * 3 + ["capture"] + ["replay"] * 2
    assert recorder.calls == alone + ["warm"] * 3 + ["capture"] + ["replay"] * 4


def test_optimisers_know_of_captures_where_there_are_any(store, extractor):
    eager = make(store, extractor, PAPER)
    captured = Trainer(eager.networks, eager.batches, PAPER, capturer=Recorder())
    for trainer, expected in ((eager, False), (captured, True)):
        groups = [group for optimiser in trainer.optimisers.values() for group in optimiser.param_groups]
        assert [group["capturable"] for group in groups] == [expected] * 2


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_step_has_the_precision_of_its_config_and_scoring_is_fp32(store, extractor, monkeypatch, precision):
    config = replace(PAPER, precision=precision)
    features = opened(store, config, cache="ram")
    trainer = make_trainer(features, open_extractor(extractor), config, seed=0)
    networks, precisions = trainer.networks, []

    def look(*_):
        precisions.append((torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision))

    def judge(*arguments, **options):
        look()
        return critic_update(*arguments, **options)

    networks.generator.register_forward_pre_hook(look)
    monkeypatch.setattr("fsrcache.training.step.trainer.critic_update", judge)
    take(trainer, 1)
    assert len(precisions) == PAPER.critic_steps * 2
    assert set(precisions) == {("tf32", "tf32") if precision == "tf32" else ("ieee", "ieee")}
    precisions.clear()
    score(networks.generator, networks.head, features.held_out, store.scales)
    assert set(precisions) == {("ieee", "ieee")}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_computes_generator_and_head_in_bf16_and_its_losses_in_fp32(store, extractor, monkeypatch, precision):
    monkeypatch.setattr("fsrcache.device.computes_bf16", lambda _: True)
    config = replace(CONFIGS["best"], precision=precision)
    features = opened(store, config, cache="ram")
    trainer = make_trainer(features, open_extractor(extractor), config, seed=0)
    networks, reduced, types = trainer.networks, {"generator": [], "head": []}, set()

    def look(name):
        return lambda *_: reduced[name].append(torch.is_autocast_enabled("cpu"))

    def lose(first, second, **options):
        types.update((first.dtype, second.dtype))
        return distillation_loss(first, second, **options)

    networks.generator.register_forward_pre_hook(look("generator"))
    networks.head.register_forward_pre_hook(look("head"))
    monkeypatch.setattr("fsrcache.training.step.updates.distillation_loss", lose)
    take(trainer, 1)
    assert types == {torch.float32}
    assert reduced == {"generator": [precision == "bf16"], "head": [precision == "bf16"]}
    score(networks.generator, networks.head, features.held_out, store.scales)
    assert not any(any(passes[1:]) for passes in reduced.values())
    assert all(len(passes) > 1 for passes in reduced.values())


def test_on_a_cpu_tf32_is_fp32(store, extractor):
    states = [take(make(store, extractor, replace(PAPER, precision=name)), 3) for name in ("fp32", "tf32")]
    assert same(*states)


class Recording:
    """Captures as a GPU does: the tensor operations of a step, and not the Python around them, with their tensors.

    Recording does the step, so that whatever it changed is put back.
    """

    def __init__(self, trainer):
        self.trainer = trainer

    def warm(self, work):
        work()

    def capture(self, work):
        kept = [(tensor, tensor.detach().clone()) for tensor in self.state()]
        chance = torch.get_rng_state()
        recorded = make_fx(lambda: (work(), torch.zeros(()))[1])()
        with torch.no_grad():
            for tensor, value in kept:
                tensor.copy_(value)
        torch.set_rng_state(chance)

        def replay():
            with torch.no_grad():
                recorded()

        return replay

    def state(self):
        trainer = self.trainer
        yield trainer.meters.sums
        yield trainer.finite.steps
        for module in trainer.modules.values():
            yield from module.parameters()
        for optimiser in trainer.optimisers.values():
            for moments in optimiser.state.values():
                yield from moments.values()


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["device", "ram"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_replayed_step_is_the_step(store, extractor, name, cache):
    """Draws, counters, rates and weights are found in tensors that stay where they are; the bytes are the same."""
    config = replace(CONFIGS[name], averaging=0.9, l2_steps=0, steps=12)
    states, numbers = [], []
    for captured in (False, True):
        trainer = make(store, extractor, config, cache=cache)
        for optimiser in trainer.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = torch.tensor(group["lr"])  # as on a GPU
        if captured:
            recording = Recording(trainer)
            trainer.repeated = {False: Repeated(recording)}
        trainer.batches.prepare(0, 13)
        for step in range(12):
            trainer.step(step)
        states.append(copy.deepcopy({name: module.state_dict() for name, module in trainer.modules.items()}))
        numbers.append(trainer.meters.means())
        with torch.no_grad():
            next(trainer.networks.head.parameters()).fill_(torch.nan)
        trainer.step(12)
        with pytest.raises(FsrcacheError, match="term was not finite at step 13"):
            trainer.finite.check()
    assert same(*states)
    assert numbers[0] == numbers[1]


def test_repeated_work_without_a_capturer_is_done_as_it_is():
    done = []
    repeated = Repeated(None)
    for _ in range(6):
        repeated(lambda: done.append(1))
    assert len(done) == 6


class Unwaiting(TorchDispatchMode):
    """Refuses what would wait for a device or bring data from Python: neither can be captured."""

    refused = ("aten._local_scalar_dense", "aten.nonzero", "aten.lift_fresh", "aten.item", "aten.is_nonzero")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert not str(function).startswith(self.refused), f"{function} inside a step"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("cache", ["device", "ram", "stream"])
@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_waits_inside_a_step(store, extractor, name, cache):
    trainer = make(store, extractor, replace(CONFIGS[name], averaging=0.9), cache=cache)
    trainer.measured = True
    take(trainer, 1)
    trainer.batches.prepare(1, 3)
    trainer.batches.begin(2)
    with Unwaiting():
        trainer._work(l2_alone=False)
        trainer._work(l2_alone=True)
    with pytest.raises(AssertionError, match="inside a step"), Unwaiting():
        float(trainer.meters.sums[0, 0])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_training_frees_its_memory_at_once(store, extractor, name):
    """No cycle holds the caches until some collection of garbage, which counts objects and not bytes."""
    gc.disable()
    try:
        trainer = make(store, extractor, replace(CONFIGS[name], averaging=0.9), cache="ram")
        take(trainer, 2)
        kept = [weakref.ref(one) for one in (trainer, trainer.batches, trainer.networks.generator)]
        del trainer
        assert [one() for one in kept] == [None, None, None]
    finally:
        gc.enable()


def test_batches_are_functions_of_seed_and_step(store, extractor):
    shape = make(store, extractor, PAPER).batches.shape
    whole = plan_steps(shape, PAPER, seed=3, first=0, count=20)
    part = plan_steps(shape, PAPER, seed=3, first=13, count=2)
    assert torch.equal(whole.chosen[13:15], part.chosen)
    assert whole.seeds[13:15] == part.seeds
    assert not torch.equal(plan_steps(shape, PAPER, seed=4, first=13, count=2).chosen, part.chosen)
    assert whole.chosen.shape == (20, 2, 2, 8)  # two for the critic, the second for the generator too
    assert len(torch.unique(whole.chosen[:, :, 1])) == 2  # every scale but full resolution


@pytest.mark.parametrize("cache", ["device", "ram"])
def test_a_batch_is_what_the_plan_says(store, extractor, cache):
    batches = make(store, extractor, PAPER, cache=cache).batches
    batches.prepare(5, 4)
    batches.begin(7)
    kept = np.flatnonzero(~store.held_out())
    face, scale_index = batches.plan.chosen[2, 1].numpy()
    batch = batches.batch(1)
    for row in range(PAPER.batch):
        scale = store.scales[scale_index[row]]
        expected = np.asarray(store.features("train", scale))[kept[face[row]]]
        assert np.array_equal(batch.lr_features[row], expected)
        assert int(batch.scales[row]) == scale
        label = store.labels("train")[kept[face[row]]]
        assert int(batch.labels[row]) == label
        probabilities = np.asarray(store.probabilities("train", scale))[kept[face[row]]]
        assert float(batch.lr_probabilities[row]) == probabilities[label]
    assert batches.waited > 0


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("critic_steps", "generator_steps"), [(1, 1), (3, 1), (1, 2)])
def test_any_ratio_of_steps(store, extractor, critic_steps, generator_steps, plain):
    """The generator's first batch is the critic's last, and generated for both at once but by the plain twin."""
    config = replace(PAPER, critic_steps=critic_steps, generator_steps=generator_steps)
    trainer = make(store, extractor, config, plain=plain)
    seen = []
    trainer.networks.generator.register_forward_pre_hook(lambda _, inputs: seen.append(float(inputs[0].double().sum())))
    take(trainer, 5)
    drawn = critic_steps + generator_steps - 1
    assert len(seen) == 5 * (drawn + plain)
    assert len(set(seen)) == 5 * drawn
    counts = {name: int(next(iter(optimiser.state.values()))["step"]) for name, optimiser in trainer.optimisers.items()}
    assert counts == {"critic_optimiser": 5 * critic_steps, "generator_optimiser": 5 * generator_steps}


def test_a_step_keeps_no_gradient_of_the_one_before(store, extractor):
    trainer = make(store, extractor, MLP_AGAINST_A_CRITIC)
    trainer.batches.prepare(0, 2)
    trainer.step(0)
    weights = [weight for module in trainer.modules.values() for weight in module.parameters()]
    assert all(weight.grad is not None for weight in weights)
    kept = []
    trainer.networks.generator.register_forward_hook(lambda *_: kept.extend(weight.grad for weight in weights))
    trainer.step(1)
    assert kept
    assert all(gradient is None for gradient in kept)


@pytest.mark.slow
def test_averaging_is_of_the_weights_and_is_what_is_kept(store, extractor, tmp_path):
    config = replace(MLP, averaging=0.75, steps=6, schedule="milestones")
    trainer = make(store, extractor, config)
    trainer.batches.prepare(0, 6)
    expected = [weight.detach().clone() for weight in trainer.networks.generator.parameters()]
    for step in range(6):
        trainer.step(step)
        for mean, weight in zip(expected, trainer.networks.generator.parameters(), strict=True):
            mean.mul_(0.75).add_(weight.detach(), alpha=0.25)
    for mean, weight in zip(expected, trainer.kept.parameters(), strict=True):
        torch.testing.assert_close(weight, mean)
    record = train_generator(store, extractor, config, folder=tmp_path, device=CPU)
    kept, _ = load_generator(tmp_path / "generator.safetensors")
    assert same({"": kept.state_dict()}, {"": trainer.kept.state_dict()})
    assert not same({"": kept.state_dict()}, {"": trainer.networks.generator.state_dict()})
    again = train_generator(store, extractor, config, folder=tmp_path, device=CPU)
    assert (record.resumed_from, again.resumed_from) == (0, 6)


def test_an_unknown_cache_is_refused(store, extractor, tmp_path):
    with pytest.raises(RequestError, match="no cache 'disk'"):
        train_generator(store, extractor, MLP, folder=tmp_path, device=CPU, cache="disk")
