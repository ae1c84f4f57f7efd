"""The plan of large stores: what it counts is what the loaders ask for, and its prices are those it is called with."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from zarr.storage import MemoryStore

from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import StoreSpec
from fsrcache.store.writer import FeatureWriter
from fsrcache.training.data.loader import true_probabilities
from studies import scale
from studies.big_store import Assumed
from studies.bookkeeping import measured

ROWS = {"train": 2_600, "val": 300}
RATES = {"core": 100.0, "h200": 40_000.0, "h200_one_thread": 8_000.0}


class Counting(MemoryStore):
    """A store in memory that keeps the keys that are read."""

    def __init__(self):
        super().__init__()
        self.reads = []

    async def get(self, key, *arguments, **options):
        self.reads.append(key)
        return await super().get(key, *arguments, **options)


def test_requests_of_a_cache_are_those_of_the_loader():
    whole = scale.spec_of("small", ROWS)
    spec = StoreSpec.from_dict({**whole.to_dict(), "scales": [1, 3], "chunk": 16, "block": 128})
    place = Counting()
    random = np.random.default_rng(0)
    columns = {
        "labels": {split: random.integers(0, 8, n).astype(np.uint8) for split, n in ROWS.items()},
        "ids": {split: [f"{split}/{i}" for i in range(n)] for split, n in ROWS.items()},
    }
    with FeatureWriter(place, spec, **columns) as writer:
        for split, of_scale, block in writer.missing():
            count = len(range(*writer.rows(split, block).indices(ROWS[split])))
            values = {name: np.zeros((count, width), np.float32) for name, width in spec.widths.items()}
            writer.write(split, of_scale, block=block, **values)
        writer.finish()
    store = FeatureStore(place)
    array = scale.outputs(spec, "train", scale=1)["probabilities"]
    kept = np.flatnonzero(random.random(ROWS["train"]) > 0.1)
    place.reads.clear()
    true_probabilities(store, "train", rows=kept, labels=store.labels("train").astype(np.int64)[kept])
    asked = sum(key.startswith("train/x1/probabilities/c/") for key in place.reads)
    counted = scale._reads(array, kept)
    assert counted - array.files <= asked <= counted  # a seal comes by itself where a shard's last chunk is not read
    assert asked <= 2 * array.files + 3  # chunks that are neighbours come together


def test_what_a_plan_adds_up():
    spec, prices = scale.spec_of("small", ROWS), scale.Prices()
    plan = scale.planned(spec, RATES, prices, Assumed())
    pictures = sum(ROWS.values()) * len(scale.SCALES)
    assert plan["core_hours"] == pytest.approx(pictures / 100 / 3600)
    assert plan["h200_hours_one_thread"] == pytest.approx(5 * plan["h200_hours"])
    dear = scale.planned(spec, RATES, replace(prices, core_hour=1.0, write=0.0, read=0.0), Assumed())
    assert dear["dollars_on_cores"] == pytest.approx(plan["core_hours"])
    assert dear["objects"] == plan["objects"]
    assert plan["cache_bytes"] == pytest.approx(0.9 * 2 * 8 * ROWS["train"] * 2080, rel=0.02)
    slow = scale.planned(spec, RATES, prices, Assumed(latency=1.0))
    assert slow["moments_seconds"] > plan["moments_seconds"]


def test_what_the_metadata_cost():
    one, two = measured(2_000), measured(20_000)
    assert two["root_bytes"] > one["root_bytes"] > 0
    assert two["peak_bytes"] >= two["imported_bytes"] > 0


@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "PRESETS", ("small",))
    words = ["--quick", "--out", str(tmp_path / "scale.json"), "--gpu-hour", "7"]
    done = CliRunner().invoke(scale.main, words)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "scale.json").read_text())
    assert [(plan["data"], plan["extractor"]) for plan in record["planned"]] == [
        ("AffectNet", "small"), ("ten million", "small")
    ]  # fmt: skip
    assert record["prices"]["gpu_hour"] == 7
    assert record["bookkeeping"][0]["faces"] == 20_000
    tables = done.output.split("\n\n")
    assert len(tables) == 3
    for table in tables:
        assert len({line.count("|") for line in table.strip().splitlines()}) == 1
