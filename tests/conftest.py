"""A small store of two splits and two scales, with ragged last shards and a block of zeros; a small workspace."""

import os
import shutil
import signal

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: before NumPy and torch are imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from fsrcache.store.reader import FeatureStore
from fsrcache.store.spec import StoreSpec
from fsrcache.store.writer import FeatureWriter
from studies.program import run

# Programs that tests start inherit this: a suite that runs in a shell's background is deaf to Ctrl-C, and so were they.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROWS = {"train": 23, "val": 5}
SPEC = StoreSpec(
    digests={"pictures": "aa", "labels": "bb", "order": "cc", "weights": "dd", "preprocessing": "ee"},
    classes=("happiness", "anger"),
    scales=(1, 2),
    widths={"features": 6, "embeddings": 4, "probabilities": 2},
    recipe={"degradation": {"form": "scale", "border": "replicate", "jpeg": None}},
    data="a test",
    rows=ROWS,
    chunk=4,
    block=8,
)


class Example:
    """What the store is about, and how it, or one of another layout, is written."""

    spec = SPEC

    def columns(self, rows=ROWS):
        random = np.random.default_rng(0)
        return {
            "labels": {split: random.integers(0, 2, n).astype(np.uint8) for split, n in rows.items()},
            "ids": {split: [f"{split}/{i} ü.png" for i in range(n)] for split, n in rows.items()},
            "hashes": {split: random.integers(0, 256, (n, 16)).astype(np.uint8) for split, n in rows.items()},
        }

    def values(self, split, scale, rows, spec=SPEC):
        """Return what the rows of a split hold at a scale, by name; block 1 of train is all zeros."""
        random = np.random.default_rng([len(split), scale])
        found = {}
        for name, width in spec.widths.items():
            whole = random.standard_normal((spec.rows[split], width)).astype(np.float32)
            if split == "train":
                whole[spec.rows_of(split, 1)] = 0
            found[name] = whole[rows]
        return found

    def writer(self, place, *, spec=SPEC, **options):
        return FeatureWriter(place, spec, **self.columns(spec.rows), **options)

    def fill(self, writer, most=None):
        for split, scale, block in writer.missing()[:most]:
            values = self.values(split, scale, writer.rows(split, block), writer.spec)
            writer.write(split, scale, block=block, **values)

    def write(self, place, **options):
        """Write what is missing of a store; tell whether it is complete."""
        with self.writer(place, **options) as writer:
            self.fill(writer)
            return writer.finish()

    def written(self, place, *, storage_options=None, **options):
        assert self.write(place, storage_options=storage_options, **options)
        return FeatureStore(place, storage_options=storage_options)


@pytest.fixture(scope="session")
def example():
    return Example()


@pytest.fixture(scope="session")
def files():
    """Return a function that reads all files below a folder."""

    def read(folder):
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return read


@pytest.fixture(scope="session")
def stop_after():
    """Return a function that makes an ``on_progress`` which interrupts a phase when so much of it is done."""

    def make(phase, done):
        def on_progress(progress):
            if progress.phase == phase and progress.done >= done:
                raise KeyboardInterrupt

        return on_progress

    return make


@pytest.fixture(scope="session")
def pretrained_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained")
    done = run("pretrain", "--data", "drawn:140", "--side", 24, "--epochs", 1, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def trained(pretrained_once, tmp_path_factory):
    """A folder whose workspace has everything: an extractor, the store of its faces and a trained run; only read it."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(pretrained_once, folder, dirs_exist_ok=True)
    for words in (["extract", "--scales", "2"], ["train", "--steps", "2"]):
        done = run(*words, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def pretrained(pretrained_once, tmp_path):
    """A folder whose workspace has an extractor for its 140 drawn faces."""
    shutil.copytree(pretrained_once, tmp_path, dirs_exist_ok=True)
    return tmp_path
