"""Generators and critic: what they return at first, their shapes, their files."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from fsrcache.errors import FsrcacheError
from fsrcache.models.critic import VGGCritic
from fsrcache.models.dense_block import DenseBlock
from fsrcache.models.form import FeatureForm
from fsrcache.models.generators.form import early_width, super_resolve
from fsrcache.models.generators.forms import load_generator, make_generator, save_generator
from fsrcache.presets import TRAINING, CriticConfig, MLPConfig, RRDBConfig
from fsrcache.spd import unvech

SIDE, LENGTH = 8, 36
MATRICES, VECTORS = FeatureForm(LENGTH, SIDE), FeatureForm(LENGTH)
MLP = MLPConfig(width=24, blocks=2, dropout=0.5, rank=0)
LOW_RANK = replace(MLP, rank=3)
RRDB = RRDBConfig(filters=4, growth=2, blocks=1)
TRAINING_RECORD = {
    "config": asdict(TRAINING["paper"]), "seed": 0, "store": {"pictures": "0a"}, "scales": [1, 2],
    "channels": 3, "degradation": None,
    "device": "cpu", "precision": "fp32", "threads": 1, "plain": False, "order": "drawn", "steps": 7,
}  # fmt: skip


def features(count=3):
    return torch.randn(count, LENGTH, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("config", "form"),
    [
        (MLP, MATRICES),
        (LOW_RANK, MATRICES),
        (RRDBConfig(filters=4, growth=2, blocks=1, global_skip=True, unshuffle=2), MATRICES),
        (MLP, VECTORS),
        (LOW_RANK, VECTORS),
    ],
)
def test_a_generator_with_a_skip_starts_as_bicubic(config, form):
    generator = make_generator(config, form)
    torch.testing.assert_close(generator(features()), features())
    # and it learns from its first step on
    optimiser = torch.optim.SGD(generator.parameters(), lr=0.1)
    torch.autograd.backward((generator(features()) - 1).square().sum())
    optimiser.step()
    assert (generator(features()) - features()).abs().max() > 1e-3


@pytest.mark.parametrize("kernel", [3, 8])
def test_the_papers_generator_returns_another_feature(kernel):
    generator = make_generator(RRDBConfig(filters=4, growth=2, blocks=2, tail_kernel=kernel), MATRICES)
    out = generator(features())
    assert out.shape == (3, LENGTH)
    assert (out - features()).abs().max() > 1e-2


def test_the_papers_generator_has_its_convolutions():
    generator = make_generator(RRDBConfig(), FeatureForm(128 * 129 // 2, 128))
    count = sum(isinstance(layer, torch.nn.Conv2d) for layer in generator.modules())
    assert count == 1 + 6 * 3 * 5 + 1 + 2


def test_standardising_is_undone():
    generator = make_generator(MLP, MATRICES).eval()
    generator.standardise_by(torch.full((LENGTH,), 3.0), torch.zeros(LENGTH))  # a dimension that never varies
    assert (generator.deviation == 1).all()
    deviation = torch.linspace(0.5, 2, LENGTH)
    generator.standardise_by(torch.full((LENGTH,), 3.0), deviation)
    torch.nn.init.constant_(generator.members[0][-1].bias, 1.0)
    torch.testing.assert_close(generator(features()), features() + deviation)


EARLY = replace(VECTORS, early=5)


def test_early_features_are_read_beside_the_feature():
    generator = make_generator(replace(MLP, members=2, noise=0.5), EARLY).eval()
    assert early_width(generator) == 5
    mean, deviation = torch.arange(LENGTH + 5.0), torch.linspace(1, 2, LENGTH + 5)
    generator.standardise_by(mean, deviation)
    for member in generator.members:
        torch.nn.init.normal_(member[-1].weight)
    early = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    whole = (torch.cat([features(), early], 1) - mean) / deviation
    residual = sum(member(whole) for member in generator.members) / 2
    torch.testing.assert_close(super_resolve(generator, features(), early), features() + residual * deviation[:LENGTH])
    other = super_resolve(generator, features(), early + 1)
    assert (other - super_resolve(generator, features(), early)).abs().max() > 1e-3
    for wrong, there in ((None, 0), (early[:, :4], 4)):
        with pytest.raises(FsrcacheError, match=f"reads 5 early features beside 36 .*; there are {there} beside 36"):
            super_resolve(generator, features(), wrong)
    with pytest.raises(FsrcacheError, match=r"reads 5 early features beside 36 .*; there are 5 beside 35"):
        generator(features()[:, 1:], early)


@pytest.mark.parametrize("config", [replace(MLP, early=False), RRDB])
def test_a_generator_without_early_features_is_given_none(config):
    generator = make_generator(config, replace(MATRICES, early=5)).eval()
    assert early_width(generator) == 0
    if config is not RRDB:
        generator.standardise_by(torch.ones(LENGTH + 5), torch.ones(LENGTH + 5))  # those of the features are taken
    with torch.inference_mode():
        assert torch.equal(super_resolve(generator, features(), torch.randn(3, 5)), generator(features()))


def test_the_residual_is_of_low_rank_and_of_the_hidden_vector():
    generator = make_generator(LOW_RANK, MATRICES).eval()
    output = generator.members[0][-1]
    torch.nn.init.normal_(output.weights.weight)
    residual = unvech(generator(features()) - features())
    assert (torch.linalg.matrix_rank(residual, rtol=1e-4) == LOW_RANK.rank).all()
    hidden = torch.randn(2, LOW_RANK.width)
    columns, weights = output.columns(hidden).view(2, SIDE, LOW_RANK.rank), output.weights(hidden)
    torch.testing.assert_close(unvech(output(hidden)), torch.einsum("bir,br,bjr->bij", columns, weights, columns))


def test_the_residuals_of_plain_vectors_span_few_dimensions():
    generator = make_generator(LOW_RANK, VECTORS).eval()
    weights, basis = generator.members[0][-1]
    torch.nn.init.normal_(weights.weight)
    residuals = generator(features(12)) - features(12)
    assert torch.linalg.matrix_rank(residuals, rtol=1e-4) == LOW_RANK.rank
    hidden = torch.randn(2, LOW_RANK.width)
    torch.testing.assert_close(generator.members[0][-1](hidden), weights(hidden) @ basis.weight.mT)
    assert basis.weight.shape == (LENGTH, LOW_RANK.rank)


def test_the_papers_networks_refuse_plain_vectors():
    reason = "works on symmetric matrices, and these features are plain vectors of 36 numbers"
    with pytest.raises(FsrcacheError, match=reason) as error:
        make_generator(RRDB, VECTORS)
    assert "MLP without a critic" in error.value.remedy
    with pytest.raises(FsrcacheError, match="critic judges symmetric matrices as pictures") as error:
        VGGCritic(CriticConfig(), None)
    assert "MLP without a critic" in error.value.remedy


def test_a_triangle_has_the_length_of_its_side():
    with pytest.raises(FsrcacheError, match="A feature of 36 numbers is no triangle of a 9 x 9 matrix"):
        FeatureForm(36, 9)


@pytest.mark.parametrize(
    ("config", "tensors", "last", "size"),
    [
        (MLP, 20, "members.0.4.bias", 387.4741426767796),
        (replace(LOW_RANK, members=2), 42, "members.1.4.weights.bias", 898.6437428996469),
        (RRDB, 38, "tail.4.bias", 190.80664803504624),
    ],
)
def test_a_seed_gives_the_weights_that_it_gave(config, tensors, last, size):
    """Or the files and numbers of earlier trainings were other ones."""
    torch.manual_seed(0)
    generator = make_generator(config, MATRICES)
    assert len(generator.state_dict()) == tensors
    assert list(generator.state_dict())[-1] == last
    assert sum(float(weight.detach().double().abs().sum()) for weight in generator.parameters()) == pytest.approx(
        size, rel=1e-6
    )


def test_noise_is_added_in_training_alone():
    """On a linear generator the result's deviation is the noise's, in units of each dimension's own deviation."""
    generator = make_generator(MLPConfig(width=LENGTH, blocks=0, dropout=0.0, noise=0.25, rank=0), MATRICES)
    deviation = torch.linspace(0.5, 2, LENGTH)
    generator.standardise_by(torch.zeros(LENGTH), deviation)
    generator.members[0] = torch.nn.Linear(LENGTH, LENGTH)
    torch.nn.init.eye_(generator.members[0].weight)
    same = torch.ones(20_000, LENGTH)
    spread = generator.train()(same).std(0)
    torch.testing.assert_close(spread / deviation, torch.full((LENGTH,), 0.25), rtol=0.05, atol=0)
    assert (generator.eval()(same).std(0) == 0).all()


def test_each_member_learns_from_its_share_of_the_batch_and_their_mean_is_what_counts():
    generator = make_generator(replace(MLP, dropout=0.0, members=2), MATRICES)
    for number, member in enumerate(generator.members):
        torch.nn.init.constant_(member[-1].bias, number + 1.0)
    added = generator.train()(features(5)) - features(5)
    torch.testing.assert_close(added, torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0])[:, None].expand(5, LENGTH))
    assert generator.train()(features(1)).shape == (1, LENGTH)  # too few for all of them
    torch.testing.assert_close(generator.eval()(features(5)) - features(5), torch.full((5, LENGTH), 1.5))
    first, second = (next(iter(member.parameters())) for member in generator.members)
    assert not torch.equal(first, second)  # or their mean were worth no more than one


@pytest.mark.parametrize(
    ("config", "form"),
    [
        (MLP, MATRICES),
        (LOW_RANK, MATRICES),
        (replace(LOW_RANK, members=2), MATRICES),
        (RRDB, MATRICES),
        (MLP, VECTORS),
        (LOW_RANK, VECTORS),
    ],
)
def test_files_give_the_generator_back(tmp_path, config, form):
    generator = make_generator(config, form).eval()
    torch.nn.init.normal_(next(iter(generator.parameters())))
    training = {**TRAINING_RECORD, "config": asdict(replace(TRAINING["paper"], generator=config))}
    save_generator(tmp_path / "g", generator, features=form, training=training)
    again, record = load_generator(tmp_path / "g")
    assert record == json.loads(json.dumps(training))
    assert not again.training
    assert torch.equal(again(features()), generator(features()))


def test_an_unshuffle_that_does_not_divide_is_refused():
    with pytest.raises(FsrcacheError, match="8 x 8 feature cannot be folded by 3"):
        make_generator(RRDBConfig(unshuffle=3), MATRICES)


@pytest.mark.parametrize(("side", "halvings"), [(8, 1), (32, 3), (64, 4), (128, 5), (50, 3)])
def test_the_critic_fits_every_side(side, halvings):
    critic = VGGCritic(CriticConfig(filters=2), side)
    assert critic(torch.zeros(3, 1, side, side)).shape == (3,)
    assert sum(isinstance(layer, torch.nn.Conv2d) and layer.stride == (2, 2) for layer in critic.modules()) == halvings
    assert not any("Norm" in type(layer).__name__ for layer in critic.modules())


def test_too_small_a_feature_is_refused():
    with pytest.raises(FsrcacheError, match="side 8 at least, and these have side 7") as caught:
        VGGCritic(CriticConfig(), 7)
    assert "`settings=['critic=none']`" in caught.value.remedy


def test_the_generators_matrix_is_symmetric():
    matrix = unvech(make_generator(RRDB, MATRICES)(features()))
    assert torch.equal(matrix, matrix.mT)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("filters", "growth", "side"), [(32, 16, 16), (5, 3, 7), (4, 1, 1)])
def test_a_dense_block_without_concatenation_is_the_same_block(dtype, error, filters, growth, side):
    torch.manual_seed(0)
    block, plain = DenseBlock(filters, growth).to(dtype), DenseBlock(filters, growth, plain=True).to(dtype)
    plain.load_state_dict(block.state_dict())
    maps = torch.randn(2, filters, side, side, dtype=dtype, requires_grad=True)
    direction = torch.randn(2, filters, side, side, dtype=dtype)
    answers = []
    for form in (block, plain):
        out = form(maps)
        answers.append([out, *torch.autograd.grad((out * direction).sum(), [maps, *form.parameters()])])
    assert not torch.equal(answers[0][0], maps)
    for ours, defined in zip(*answers, strict=True):
        assert (ours - defined).norm() <= error * defined.norm()


@pytest.mark.parametrize("skip", [True, False])
def test_pictures_and_vectors_are_generated_alike(skip):
    torch.manual_seed(0)
    generator = make_generator(RRDBConfig(filters=4, growth=2, blocks=1, global_skip=skip), MATRICES)
    torch.nn.init.normal_(generator.tail[-1].weight)
    pictures = generator(unvech(features())[:, None])
    torch.testing.assert_close(pictures, unvech(generator(features()))[:, None])
    assert torch.equal(pictures, pictures.mT)


def test_plain_or_not_the_weights_are_the_same():
    made = []
    for plain in (True, False):
        torch.manual_seed(0)
        made.append(make_generator(RRDB, MATRICES, plain=plain))
    assert all(torch.equal(*pair) for pair in zip(*(one.state_dict().values() for one in made), strict=True))
    torch.testing.assert_close(made[0](features()), made[1](features()))


@torch.no_grad()
def test_a_dense_block_in_bf16_is_no_worse_than_its_twin():
    torch.manual_seed(0)
    exact = DenseBlock(32, 16, plain=True).double()
    maps = torch.randn(2, 32, 16, 16)
    expected = exact(maps.double()) - maps  # the residual: the maps themselves are not computed
    distances = []
    for plain in (False, True):
        block = DenseBlock(32, 16, plain=plain)
        block.load_state_dict(exact.state_dict())
        with torch.autocast("cpu", torch.bfloat16):
            distances.append(float((block(maps).double() - maps - expected).norm() / expected.norm()))
    assert 1e-4 < distances[0] < 2 * distances[1] < 2e-2
