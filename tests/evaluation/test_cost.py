"""Weights, multiplications and times of rows whose networks can be counted by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from fsrcache.evaluation.cost import Cost
from fsrcache.evaluation.formats import further_csvs, to_json, to_markdown
from fsrcache.evaluation.layout import COST, blocks
from fsrcache.evaluation.measured_cost import row_costs, with_costs
from fsrcache.evaluation.networks import Enlarger, Networks
from fsrcache.evaluation.predictor import Predictor
from fsrcache.extractors.covpool import CovPoolFER, extractor_of
from fsrcache.presets import ExtractorConfig
from fsrcache.spd import vech_length

CPU = torch.device("cpu")
CONFIG = ExtractorConfig(side=16, stages=((6,), (8,)), spd_side=5, hidden=12, embedding=7)
LENGTH, CLASSES = vech_length(5), ("a", "b", "c")
TRUNK = 16 * 16 * 9 * 3 * 6 + 8 * 8 * 9 * 6 * 8  # two convolutions, the second behind a pooling
POOLED = 64 * 5 * 8 + 64 * 5 * 5 + 5**3  # BiMap, covariance, and V log(e) V^T
HEAD = LENGTH * 12 + 12 * 7 + 7 * 3
MAP = LENGTH * LENGTH


class Store:
    """The scales of a store, and no more."""

    scales = (1, 2, 4)


def extractor():
    return extractor_of(CovPoolFER(CONFIG, CLASSES).eval())


@pytest.fixture(scope="module")
def frozen():
    return extractor()


def trained(row, seed, networks, spent=None, **others):
    return Predictor(
        row=row, name=f"{row}/{seed}", source={}, seed=seed, probabilities=lambda *_: np.zeros((1, 3)),
        networks=networks, spent=spent, **others,
    )  # fmt: skip


def costs(frozen, predictors, **arguments):
    return {one.label: one for one in row_costs(Store(), frozen, predictors, device=CPU, timed=False, **arguments)}


def weights(module):
    return sum(weight.numel() for weight in module.parameters())


def test_the_extractor_is_counted_by_hand(frozen):
    cost = costs(frozen, [trained("bicubic", None, lambda _: Networks(extractor=frozen))])["bicubic"]
    assert cost.gmac * 1e9 == TRUNK + POOLED + HEAD
    assert cost.parameters == weights(frozen.module)
    assert (cost.milliseconds, cost.device, cost.threads) == (None, "", 0)


def test_a_mean_of_three_generators_has_one_extractor(frozen):
    maps = [nn.Linear(LENGTH, LENGTH, bias=False) for _ in range(3)]
    of_row = [
        trained("map", seed, lambda _, one=one: Networks(extractor=frozen, generator=one), (10.0 * seed, 1.0))
        for seed, one in enumerate(maps)
    ]
    single, mean = (costs(frozen, of_row)[label] for label in ("map", "map, mean of 3"))
    assert single.gmac * 1e9 == TRUNK + POOLED + MAP + HEAD
    assert mean.gmac * 1e9 == TRUNK + POOLED + 3 * (MAP + HEAD)
    assert (single.parameters, mean.parameters) == tuple(weights(frozen.module) + n * MAP for n in (1, 3))
    assert (single.members, mean.members) == (1, 3)
    assert (single.training_seconds, mean.training_seconds) == (10.0, 30.0)
    assert (single.training_cpu_seconds, mean.training_cpu_seconds) == (1.0, 3.0)


def test_a_mean_of_three_extractors_has_all_of_them(frozen):
    tuned = [extractor() for _ in range(3)]
    of_row = [trained("tuned", seed, lambda _, one=one: Networks(extractor=one)) for seed, one in enumerate(tuned)]
    mean = costs(frozen, of_row)["tuned, mean of 3"]
    assert mean.gmac * 1e9 == 3 * (TRUNK + POOLED + HEAD)
    assert mean.parameters == 3 * weights(frozen.module)


def test_networks_of_scales_are_summed_and_their_multiplications_averaged(frozen):
    networks = {2: nn.Conv2d(1, 4, 3, padding=1, bias=False), 4: nn.Conv2d(1, 8, 3, padding=1, bias=False)}

    def of_scale(scale):
        side, network = 16 // scale, networks[scale]
        small = lambda faces: network(torch.from_numpy(faces).permute(0, 3, 1, 2).float())  # noqa: E731
        return Networks(Enlarger(network, (side, side, 1), small), frozen)

    cost = costs(frozen, [trained("enlarged", 0, of_scale)])["enlarged"]
    assert cost.gmac * 1e9 == TRUNK + POOLED + HEAD + (8 * 8 * 9 * 4 + 4 * 4 * 9 * 8) / 2
    assert cost.parameters == weights(frozen.module) + 9 * 4 + 9 * 8


def test_the_time_of_a_face_is_measured(frozen):
    networks = {"bicubic": Networks(extractor=frozen), "none": Networks()}
    of_rows = [trained(row, None, lambda _, one=one: one) for row, one in networks.items()]
    bicubic, none = row_costs(Store(), frozen, of_rows, device=CPU)
    assert 0 < bicubic.milliseconds < 1000
    assert (bicubic.device, bicubic.threads) == ("cpu", torch.get_num_threads())
    assert (none.parameters, none.gmac, none.milliseconds, none.device) == (0, 0, None, "")


def test_nothing_is_guessed(frozen):
    class Elsewhere(nn.Module):
        """A network whose weights are not PyTorch's, but for its head."""

        side, channels, classes = 16, 3, CLASSES

        def __init__(self):
            super().__init__()
            self.head = frozen.head

        def embed(self, pictures):
            return frozen.module.embed(pictures)

    foreign = extractor_of(frozen.module)
    object.__setattr__(foreign, "module", Elsewhere())
    of_row = [
        trained("foreign", None, lambda _: Networks(extractor=foreign)),
        trained("pictures", None, None),
        *(trained("half", seed, None, spent) for seed, spent in ((0, (1.0, 1.0)), (1, None))),
    ]
    for one in costs(frozen, of_row).values():
        assert (one.parameters, one.gmac, one.training_seconds, one.training_cpu_seconds) == (None,) * 4


COSTS = (
    Cost(row="bicubic", label="bicubic", members=1, parameters=4_830_000, gmac=0.1269, training_seconds=None,
         training_cpu_seconds=None, milliseconds=6.063, device="cpu", threads=2),
    Cost(row="FSR-FER", label="FSR-FER", members=3, parameters=14_400_000, gmac=0.137, training_seconds=12_345.6,
         training_cpu_seconds=99.96, milliseconds=None),
    Cost(row="other", label="other", members=1, parameters=None, gmac=None, training_seconds=None,
         training_cpu_seconds=None),
)  # fmt: skip


def test_a_table_shows_costs(table):
    shown = with_costs(table, COSTS)
    assert [one.label for one in shown.cost] == ["bicubic", "FSR-FER"]  # the third is in no table
    (block,) = [one for one in blocks(shown, measures=[COST]) if one.title == "Cost"]
    lines = [(line.group, line.row, [cell.text for cell in line.cells]) for line in block.lines]
    assert block.columns == ("weights", "GMAC", "train s", "CPU s", "ms")
    assert lines == [
        ("1 network", "bicubic", ["4.83M", "0.127", "–", "–", "6.06"]),
        ("3 networks", "FSR-FER", ["14.4M", "0.137", "12.3k", "100", "–"]),
    ]
    assert "on cpu, 2 threads" in block.legend
    assert "| 3 networks | FSR-FER | 14.4M |" in to_markdown(shown, measures=[COST])
    assert [one["parameters"] for one in to_json(shown)["cost"]] == [4_830_000, 14_400_000]
    assert further_csvs(shown)["cost.csv"].splitlines()[2] == "FSR-FER,FSR-FER,3,14400000,0.137,12345.6,99.96,,,0"


def test_a_table_without_costs_has_no_block(table):
    assert not [one for one in blocks(table, measures=[COST]) if one.title == "Cost"]
    assert to_json(table)["cost"] == []
