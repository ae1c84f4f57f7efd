"""Numbers counted on the device: means of what was counted, each from the last reading on."""

import pytest
import torch

from fsrcache.training.tally import Tally


def test_means_are_of_what_was_counted_since_the_last_reading():
    tally = Tally(("l2", "critic", "penalty"), torch.device("cpu"))
    for value in (1.0, 2.0, 6.0):
        tally.add({"l2": torch.tensor(value)})
    tally.add({"critic": torch.tensor(4.0, dtype=torch.float64)})
    assert tally.take() == {"l2": 3.0, "critic": 4.0}
    assert tally.take() == {}
    tally.add({"l2": torch.tensor(5.0)})
    assert tally.take() == {"l2": 5.0}
    with pytest.raises(KeyError):
        tally.add({"other": torch.tensor(1.0)})
