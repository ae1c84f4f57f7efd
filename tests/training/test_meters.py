"""Numbers counted on the device: means of what was counted, each from the last reading on; few operations for all."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fsrcache.training.step.finite import FiniteCheck
from fsrcache.training.step.meters import Meters


def test_means_are_of_what_was_counted_since_the_last_reading():
    meters = Meters(("l2", "critic", "penalty"), torch.device("cpu"))
    for value in (1.0, 2.0, 6.0):
        meters.add({"l2": torch.tensor(value)})
    meters.add({"critic": torch.tensor(4.0, dtype=torch.float64)})
    assert meters.means() == {"l2": 3.0, "critic": 4.0}
    assert meters.means() == {}
    meters.add({"l2": torch.tensor(5.0)})
    assert meters.means() == {"l2": 5.0}
    with pytest.raises(KeyError):
        meters.add({"other": torch.tensor(1.0)})


class Launches(TorchDispatchMode):
    """Counts what a GPU would launch."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += str(function) not in ("aten.detach.default", "aten.view.default", "aten.unsqueeze.default")
        return function(*args, **(kwargs or {}))


def test_all_terms_of_an_update_take_as_many_launches_as_one():
    names = ("l2", "critic", "penalty", "distillation")
    meters, bad = Meters(names, torch.device("cpu")), FiniteCheck(names, torch.device("cpu"))
    terms, step = {name: torch.rand(()) for name in names}, torch.tensor(7)
    for values in (terms, {"l2": terms["l2"]}):
        with Launches() as launches:
            meters.add(values)
            bad.add(step, values)
        assert launches.count <= 8
