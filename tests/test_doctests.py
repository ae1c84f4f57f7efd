"""The examples in the docstrings run and print what they show."""

import doctest
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

import fsrcache
from fsrcache.drawn.face import draw_face
from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import StoreSpec
from fsrcache.store.writer import FeatureWriter

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join((*path.relative_to(ROOT).parent.parts, path.stem)): path
    for path in sorted((ROOT / "fsrcache").rglob("*.py"))
    if ">>>" in path.read_text()
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The store that the examples are about: 200 faces of train at two scales."""
    folder = tmp_path_factory.mktemp("examples")
    spec = StoreSpec.for_vectors(2080, rows={"train": 200}, classes=("a", "b"), scales=(1, 4), content={})
    labels, ids = {"train": np.arange(200) % 2}, {"train": [str(i) for i in range(200)]}
    with FeatureWriter(folder / "fsr/features.zarr", spec, labels=labels, ids=ids) as writer:
        for split, scale, block in writer.missing():
            rows = writer.rows(split, block)
            writer.write(split, scale, block=block, features=np.ones((rows.stop - rows.start, 2080), np.float32))
        writer.finish()
    return folder


def test_there_are_examples():
    assert {"fsrcache.model", "fsrcache.store.reader", "fsrcache.store.shuffle"} <= set(MODULES)
    assert all("+SKIP" not in path.read_text() for path in MODULES.values())


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module(name, store, request, monkeypatch):
    monkeypatch.chdir(request.getfixturevalue("trained") if name == "fsrcache.model" else store)
    module = import_module(name)
    face = draw_face(0, 0)
    names = {"fsrcache": fsrcache, "DataLoader": DataLoader, "face": face, "smaller_face": face[::2, ::2]}
    names |= {**vars(module), "store": FeatureStore(store / "fsr/features.zarr")}
    examples = doctest.DocTestFinder().find(module, name, globs=names)
    runner, printed = doctest.DocTestRunner(verbose=False), []
    for one in examples:
        runner.run(one, out=printed.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(printed)
